package reports

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

func TestWhatIsSaidOfAFault(t *testing.T) {
	sec := func(s float64) *time.Duration { return new(time.Duration(s * float64(time.Second))) }
	lasting := timeline.Fault{Fault: record.Fault{Name: "pause", Kind: "pause", For: 4 * time.Second, Target: "the oldest instance"}}
	atOnce := timeline.Fault{Fault: record.Fault{Name: "kill", Kind: "kill", Target: "one instance"}}
	shared := timeline.Fault{Fault: record.Fault{Name: "outage", Kind: "outage", For: 4 * time.Second, Target: "upstream", How: "refuse"}}
	checked := &record.Trial{LabBalancer: true, Checks: record.Checks{Every: 200 * time.Millisecond, Fall: 2}}
	for _, tc := range []struct {
		name     string
		f        judge.Fault
		why, act string
	}{
		{"noticed", judge.Fault{Fault: lasting, Instances: []judge.InstanceFault{{ID: "a", Routed: true, Detection: sec(1.2), Return: sec(0.6)}}},
			"The fault pause (the oldest instance) was there: the runtime took it out after 1.20 s, and it was back 600 ms after the fault was over.",
			"Ask more often, or believe fewer failures, to notice it sooner than after 2 checks x 200 ms; what is lost until then only a client that repeats saves."},
		{"never noticed", judge.Fault{Fault: lasting, Instances: []judge.InstanceFault{{ID: "a", Routed: true, Return: sec(0)}}},
			"The fault pause (the oldest instance) was there: the runtime never noticed, and routed to it all along.",
			"Let the probe ask for what a request needs, and have a timeout: one that only asks whether the port answers never fails here."},
		{"one of two", judge.Fault{Fault: lasting, Instances: []judge.InstanceFault{{ID: "a", Routed: true, Detection: sec(1)}, {ID: "b", Routed: true}}},
			"The fault pause (the oldest instance) was there: the runtime did not notice all 2 instances.", ""},
		{"restarted", judge.Fault{Fault: atOnce, Instances: []judge.InstanceFault{{ID: "a", Routed: true, Detection: sec(0.4), Return: sec(1.5), Restarts: 1}}},
			"The fault kill (one instance) was there: the runtime took it out after 400 ms, and it was back, or replaced, after 1.50 s; it restarted what the fault was done to once.", ""},
		{"gone for good", judge.Fault{Fault: atOnce, Instances: []judge.InstanceFault{{ID: "a", Routed: true, Detection: sec(0.4)}, {ID: "b", Routed: true, Detection: sec(0.3)}}},
			"The fault kill (one instance) was there: the runtime took them out after 400 ms, and they were not back when the window ended.", ""},
		{"nobody was touched", judge.Fault{Fault: shared},
			"The fault outage (upstream, refuse) was there: the runtime took nobody out.",
			"No probe mends what all instances share: have a deadline for it, and something to answer without it."},
		{"the fleet was taken out", judge.Fault{Fault: shared, Evicted: []string{"a", "b", "c"}},
			"The fault outage (upstream, refuse) was there: the runtime evicted 3 instances for it, which could do nothing about it (a, b, c).",
			"Let neither readiness nor liveness ask for what all instances share: say that it is degraded, and go on being routed to."},
		{"busy ones were restarted", judge.Fault{Fault: lasting, Instances: []judge.InstanceFault{{ID: "a", Routed: true, Detection: sec(1), Return: sec(0)}}, Evicted: []string{"a"}},
			"The fault pause (the oldest instance) was there: the runtime took it out after 1.00 s, and it was back 0 ms after the fault was over; it evicted 1 instance for nothing (a).",
			"Let liveness ask only whether work goes on, and readiness only for what this instance alone lacks, with time enough for a busy one to answer."},
	} {
		c := judge.CauseCount{Cause: judge.BrokenWhileReady, Count: 10, DuringFault: 10, Instances: []string{"a"}, Class: record.Timeout, Fault: &tc.f}
		got := adviseOn(c, 10, checked)
		if !strings.HasSuffix(got.Why, tc.why) || tc.act != "" && got.Do != tc.act {
			t.Errorf("%s:\n got %q, %q\nwant %q, %q", tc.name, got.Why, got.Do, tc.why, tc.act)
		}
	}
	some := judge.CauseCount{Cause: judge.TooSlow, Count: 10, DuringFault: 4, Fault: &judge.Fault{Fault: shared}}
	if got := adviseOn(some, 10, checked); !strings.Contains(got.Why, "For 4 of them the fault outage (upstream, refuse) was there: ") {
		t.Errorf("got %q", got.Why)
	}
}
