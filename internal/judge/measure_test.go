package judge

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

// rollout is a valid trial of a rollout without a failure: 20 s at 1,000 hits a second,
// baseline from 1 s to 4 s, a window of 10 s from 4 s on, three instances that are replaced.
func rollout() *record.TrialData {
	d := &record.TrialData{
		Folder: "trials/rollout-process-rollout-good-1",
		Trial: record.Trial{
			Scenario: "rollout", Driver: "process", Action: "rollout", Design: "good", N: 1,
			Rate: 1000, Planned: 20_000, Timeout: 2 * s, LoadTo: 20 * s, BaselineFrom: s, BaselineTo: 4 * s, WindowFrom: 4 * s, WindowTo: 14 * s,
			Streams:        []record.Stream{{Name: "get", Share: 0.5, Reuse: true, Connections: 40}, {Name: "post", Share: 0.5}},
			ReplicasBefore: 3, ReplicasAfter: 3, ProbeEvery: 50 * ms,
		},
		End: &record.End{At: 20 * s, Sent: 20_000},
	}
	instance := func(at time.Duration, n int) (id, revision string) {
		if at < 6*s {
			return fmt.Sprint("old-", n), "v1"
		}
		return fmt.Sprint("new-", n), "v2"
	}
	for k := range d.Trial.Planned {
		at := time.Duration(k+1) * ms
		id, revision := instance(at, int(k%3))
		smp := record.Sample{
			Seq: k, Stream: "get", Expect: record.Serve, Intended: at, Sent: at + 100*time.Microsecond, Done: at + 2*ms,
			Class: record.OK, Status: 200, Attempts: 1, Instance: id, Revision: revision,
		}
		if k%2 == 1 {
			smp.Stream = "post"
		}
		if k%50 == 7 {
			smp.Expect, smp.Status = record.Deny, 403
		}
		d.Samples = append(d.Samples, smp)
		if k%50 == 0 {
			w := smp
			w.Seq, w.Stream = k/50, []string{"get", "post"}[k/50%2]
			d.Reference = append(d.Reference, w)
		}
	}
	event := func(at time.Duration, kind record.EventKind, id, revision string) {
		d.Events = append(d.Events, record.Event{At: at, Kind: kind, Instance: id, Revision: revision})
	}
	for n := range 3 {
		event(-5*s, record.Started, fmt.Sprint("old-", n), "v1")
		event(-s, record.Ready, fmt.Sprint("old-", n), "v1")
	}
	event(0, record.LoadStarted, "", "")
	event(4*s, record.ActionStarted, "", "")
	for n := range 3 {
		event(4*s, record.Started, fmt.Sprint("new-", n), "v2")
	}
	for n := range 3 {
		event(6*s, record.Ready, fmt.Sprint("new-", n), "v2")
		event(6*s, record.Terminating, fmt.Sprint("old-", n), "v1")
		event(6*s, record.Unready, fmt.Sprint("old-", n), "v1")
	}
	for n := range 3 {
		event(7*s, record.Gone, fmt.Sprint("old-", n), "v1")
	}
	event(7*s, record.ActionDone, "", "")
	event(20*s, record.LoadEnded, "", "")
	for at := -s; at < 20*s; at += 50 * ms {
		for n := range 3 {
			if at < 7*s {
				d.Probes = append(d.Probes, record.ProbeResult{At: at, Took: ms, Instance: fmt.Sprint("old-", n), OK: true})
			}
			if at >= 4*s {
				d.Probes = append(d.Probes, record.ProbeResult{At: at, Took: ms, Instance: fmt.Sprint("new-", n), OK: at >= 5900*ms})
			}
		}
	}
	return d
}

// fail makes the hits intended in [from, to) failures.
func fail(d *record.TrialData, from, to time.Duration) {
	for i := range d.Samples {
		if smp := &d.Samples[i]; smp.Intended >= from && smp.Intended < to {
			smp.Class, smp.Status, smp.Instance, smp.Revision, smp.Reason = record.Refused, 0, "", "", "connect refused"
		}
	}
	for i := range d.Reference {
		if smp := &d.Reference[i]; smp.Intended >= from && smp.Intended < to {
			smp.Class = record.Other
		}
	}
}

// unnamed makes nobody say who answers, as a foreign program behind a runtime's own balancer.
func unnamed(d *record.TrialData) {
	for i := range d.Samples {
		d.Samples[i].Instance = ""
	}
}

func at(d time.Duration) *time.Duration { return &d }

func TestMeasureAValidTrial(t *testing.T) {
	got := Measure(rollout())
	if !got.Valid || got.Partial {
		t.Fatalf("valid %v, partial %v: %q", got.Valid, got.Partial, got.InvalidReasons)
	}
	want := Trial{
		Window:  timeline.Span{From: 4 * s, To: 14 * s},
		Planned: 10_000, Sent: 10_000, OK: 10_000, SuccessRate: 1,
		Recovery: at(0), Convergence: at(3 * s), Sync: at(1900 * ms),
		FalseUnready: 300 * ms, // three instances that served from 5.9 s and were called ready at 6 s
		Denials:      400,
		Streams:      []StreamCount{{"get", 40, 5000, 5000}, {"post", 0, 5000, 5000}},
		Baseline:     BaselinePhase{Planned: 3000, Instances: 3, P99: 2 * ms},
	}
	compare := func(name string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	compare("window", got.Window, want.Window)
	compare("counts", []uint64{got.Planned, got.Sent, got.OK, got.Failed, got.Denials, got.Breaches, got.HiddenRetries, got.SentToUnready},
		[]uint64{10_000, 10_000, 10_000, 0, 400, 0, 0, 0})
	compare("disruption lag", got.DisruptionLag, want.DisruptionLag)
	compare("recovery", got.Recovery, want.Recovery)
	compare("convergence", got.Convergence, want.Convergence)
	compare("sync", got.Sync, want.Sync)
	compare("drift", []time.Duration{got.FalseReady, got.FalseUnready}, []time.Duration{0, want.FalseUnready})
	compare("streams", got.Streams, want.Streams)
	compare("baseline phase", got.Baseline, want.Baseline)
	compare("instances", len(got.Instances), 6)
	compare("errors", got.Errors, []ErrorCount(nil))
	compare("latency", got.Latency, Percentiles{N: 10_000, P50: 2 * ms, P90: 2 * ms, P99: 2 * ms, P999: 2 * ms, Max: 2 * ms})
	compare("uncorrected", got.LatencyUncorrected.P50, 1900*time.Microsecond)
	compare("lag", got.ScheduleLag, Percentiles{N: 20_000, P50: 100_000, P90: 100_000, P99: 100_000, P999: 100_000, Max: 100_000})
	if want := math.Pow(0.0005, 1.0/200); math.Abs(got.Reference.Lo-want) > 1e-9 || got.Reference.Hi != 1 {
		t.Errorf("the reference interval is [%v, %v], want [%v, 1]", got.Reference.Lo, got.Reference.Hi, want)
	}
	compare("reference", []uint64{got.Reference.Planned, got.Reference.OK}, []uint64{200, 200})
}

func TestMeasureAnOutage(t *testing.T) {
	d := rollout()
	fail(d, 5*s, 6500*ms)
	d.Samples[8000].Attempts = 3
	d.Samples[8057].Status, d.Samples[8057].Class = 200, record.WrongBody // a breach: it had to be denied
	got := Measure(d)
	if !got.Valid {
		t.Fatalf("invalid: %q", got.InvalidReasons)
	}
	for name, pair := range map[string][2]any{
		"failed":         {got.Failed, uint64(1501)},
		"success":        {got.SuccessRate, 0.8499},
		"downtime":       {got.Downtime, 1501 * ms},
		"longest outage": {got.LongestOutage, timeline.Outage{From: 5 * s, To: 6500 * ms, LastOK: 4999 * ms, Failures: 1500}},
		"outages":        {got.Outages, 2},
		"down 10 ms":     {got.Down[10*ms], 1500 * ms},
		"down 100 ms":    {got.Down[100*ms], 1500 * ms},
		"down 1 s":       {got.Down[s], s},
		"degraded 1 s":   {got.Degraded[s], 2 * s},
		"lag":            {*got.DisruptionLag, s},
		"recovery":       {*got.Recovery, 2500 * ms},
		"retries":        {got.HiddenRetries, uint64(2)},
		"breaches":       {got.Breaches, uint64(1)},
		"errors":         {fmt.Sprint(got.Errors), "[{refused connect refused 1500} {wrong_body  1}]"},
		"unanswered":     {got.Instances[len(got.Instances)-1], InstanceCount{Failed: 1500}},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRequestsSentToUnreadyInstances(t *testing.T) {
	d := rollout()
	for i := range d.Probes {
		if p := &d.Probes[i]; p.Instance == "new-1" && p.At >= 8*s && p.At < 8500*ms {
			p.OK = false
		}
	}
	got := Measure(d)
	if got.FalseReady != 500*ms {
		t.Errorf("false ready for %v, want 500ms", got.FalseReady)
	}
	if got.SentToUnready < 166 || got.SentToUnready > 167 { // a third of 500
		t.Errorf("%d requests to an instance that was not ready, want a third of 500", got.SentToUnready)
	}
}

// TestValidity: each way in which a trial is invalid, and its reason.
func TestValidity(t *testing.T) {
	drop := func(kind record.EventKind) func(*record.TrialData) {
		return func(d *record.TrialData) {
			d.Events = slices.DeleteFunc(d.Events, func(e record.Event) bool { return e.Kind == kind })
		}
	}
	put := func(at time.Duration, kind record.EventKind, detail string) func(*record.TrialData) {
		return func(d *record.TrialData) {
			d.Events = append(d.Events, record.Event{At: at, Kind: kind, Detail: detail})
			slices.SortStableFunc(d.Events, func(a, b record.Event) int { return int(a.At - b.At) })
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*record.TrialData)
		want   []string
	}{
		{"cut short", func(d *record.TrialData) { d.End = nil }, []string{"trial-cut-short"}},
		{"ended with an error", func(d *record.TrialData) { d.End.Error = "no disk" }, []string{`trial-error "no disk"`}},
		{"damaged", func(d *record.TrialData) { d.Damage = []string{"torn"} }, []string{`record-damaged "torn"`}},
		{"one not sent", func(d *record.TrialData) { d.Samples = slices.Delete(d.Samples, 100, 101) }, []string{"load-incomplete 19999 of 20000", "record-incomplete 19999 of 20000"}},
		{"fired fewer than recorded", func(d *record.TrialData) { d.End.Sent = 19_999 }, []string{"record-incomplete 20000 of 19999"}},
		{"load cut at 10 s", func(d *record.TrialData) {
			d.Samples = d.Samples[:10_000]
			d.End.Sent = 10_000
			d.Trial.Planned = 10_000
			d.Reference = d.Reference[:200]
		}, []string{"phase-uncovered 6.001s limit 10s window"}},
		{"load began late", func(d *record.TrialData) {
			for i := range d.Samples {
				smp := &d.Samples[i]
				smp.Intended, smp.Sent, smp.Done = smp.Intended+2*s, smp.Sent+2*s, smp.Done+2*s
			}
		}, []string{"phase-uncovered 1.999s limit 3s baseline phase"}},
		{"late schedule", func(d *record.TrialData) {
			for i := range 201 {
				d.Samples[i*3].Sent += 60 * ms
			}
		}, []string{"load-late 60.1ms limit 50ms"}},
		{"trouble of the harness", func(d *record.TrialData) { d.Samples[17_000].Class = record.Harness }, []string{"harness-failed 1 of 0"}},
		{"trouble of the reference client", func(d *record.TrialData) { d.Reference[1].Class = record.Harness }, []string{"harness-failed 1 of 0"}},
		{"failure in the baseline phase", func(d *record.TrialData) { fail(d, 2*s, 2002*ms) }, []string{"baseline-failures 2 of 3000"}},
		{"too few instances in the baseline phase", func(d *record.TrialData) {
			for i := range d.Samples {
				if d.Samples[i].Instance == "old-2" {
					d.Samples[i].Instance = "old-1"
				}
			}
		}, []string{"baseline-servers 2 of 3"}},
		{"nobody names himself, and one is missing", func(d *record.TrialData) {
			unnamed(d)
			d.Trial.ReplicasBefore, d.Trial.ReplicasAfter = 4, 4
		}, []string{"baseline-unnamed 3 of 4", "final-unnamed 3 of 4 2s"}},
		{"nobody names himself, and nobody serves", func(d *record.TrialData) {
			unnamed(d)
			for i := range d.Probes {
				d.Probes[i].OK = false
			}
		}, []string{"baseline-unnamed 0 of 3"}},
		{"too few instances at the end", func(d *record.TrialData) { d.Trial.ReplicasAfter = 4 }, []string{"final-servers 3 of 4 2s"}},
		{"the runtime did not do the action", func(d *record.TrialData) {
			drop(record.ActionDone)(d)
			put(9*s, record.ActionError, "no room")(d)
		}, []string{`action-error "no room"`}},
		{"action failed, and the lab did not see all of it", func(d *record.TrialData) {
			drop(record.ActionDone)(d)
			put(8*s, record.Lost, "closed")(d)
			put(9*s, record.ActionFailed, "too late")(d)
		}, []string{`events-lost 8s "closed"`, `action-failed "too late"`}},
		{"action never completed", drop(record.ActionDone), []string{"action-not-completed"}},
		{"action never started", func(d *record.TrialData) { drop(record.ActionStarted)(d); drop(record.ActionDone)(d) }, []string{"action-not-started"}},
		{"watch lost", put(9*s, record.Lost, "closed"), []string{`events-lost 9s "closed"`}},
		{"interrupted", put(9*s, record.TrialInterrupt, ""), []string{"trial-interrupted 9s"}},
		{"no probes", func(d *record.TrialData) { d.Probes = nil }, []string{"old-0", "old-1", "old-2", "new-0", "new-1", "new-2"}},
		{"sparse probes of one", func(d *record.TrialData) {
			d.Probes = slices.DeleteFunc(d.Probes, func(p record.ProbeResult) bool { return p.Instance == "new-1" && p.At > 8*s })
		}, []string{"probes-sparse 5.85s limit 8s new-1"}},
		{"no verdict", drop(record.Ready), []string{"none-ready"}},
		{"no reference client", func(d *record.TrialData) { d.Reference = nil }, []string{"reference-silent"}},
		{"reference client disagrees", func(d *record.TrialData) {
			for i := range d.Reference {
				if i%10 == 0 {
					d.Reference[i].Class = record.Other
				}
			}
		}, []string{"reference-disagrees 180 of 200"}},
		{"load invents failures", func(d *record.TrialData) {
			for i := 8000; i < 10_000; i += 2 {
				d.Samples[i].Class = record.Reset
			}
		}, []string{"reference-disagrees 200 of 200 load 9000 of 10000 from 0.962709 to 1"}},
		{"load hides an outage", func(d *record.TrialData) {
			for i := range d.Reference {
				if w := &d.Reference[i]; w.Intended > 8*s && w.Intended < 10*s {
					w.Class = record.Other
				}
			}
		}, []string{"reference-disagrees"}},
		{"nothing at all", func(d *record.TrialData) { *d = record.TrialData{} }, []string{"trial-cut-short", "action-not-started", "no-load-planned", "reference-silent"}},
		{"no request", func(d *record.TrialData) { d.Samples, d.Reference = nil, nil }, []string{"no-requests", "record-incomplete 0 of 20000", "baseline-failures 3000 of 3000", "baseline-servers 0 of 3", "reference-silent"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := rollout()
			tc.change(d)
			got := Measure(d)
			if got.Valid {
				t.Error("valid")
			}
			if len(got.InvalidReasons) != len(tc.want) {
				t.Fatalf("reasons %q, want %q", got.InvalidReasons, tc.want)
			}
			for i, want := range tc.want {
				if !strings.Contains(got.InvalidReasons[i].String(), want) {
					t.Errorf("reason %q, want it to say %q", got.InvalidReasons[i], want)
				}
			}
		})
	}
}

// A foreign program says nowhere who it is: that alone makes no trial invalid.
func TestAnswersThatNameNobody(t *testing.T) {
	d := rollout()
	unnamed(d)
	if got := Measure(d); !got.Valid {
		t.Errorf("invalid: %q", got.InvalidReasons)
	}
}

// A naive shutdown kills what is under way at that moment: requests that were sent before
// the action began, and that no baseline phase is to blame for.
func TestARequestUnderWayWhenTheActionBeginsBelongsToIt(t *testing.T) {
	d := rollout()
	fail := func(intended, done time.Duration) {
		for i := range d.Samples {
			if d.Samples[i].Intended == intended {
				d.Samples[i].Class, d.Samples[i].Status, d.Samples[i].Done = record.HTTPStatus(502), 502, done
				return
			}
		}
		t.Fatalf("no request at %v", intended)
	}
	before := Measure(d)
	fail(3997*ms, 4003*ms)
	got := Measure(d)
	if !got.Valid || got.Baseline.Failed != 0 {
		t.Errorf("valid %v, %d failed in the baseline phase: %v", got.Valid, got.Baseline.Failed, got.InvalidReasons)
	}
	if got.Failed != before.Failed+1 || got.Planned != before.Planned+1 || got.Window != before.Window {
		t.Errorf("failed %d of %d in %v, want %d of %d in %v", got.Failed, got.Planned, got.Window, before.Failed+1, before.Planned+1, before.Window)
	}
	if n, _ := got.Value("in_flight_at_action"); n != 1 {
		t.Errorf("in flight at the action: %v, want 1", n)
	}
	if got.DisruptionLag == nil || *got.DisruptionLag != 0 {
		t.Errorf("disruption lag %v, want 0", got.DisruptionLag)
	}
	// One whose fate was sealed before the action is the baseline phase's.
	fail(3990*ms, 3999*ms)
	if got := Measure(d); got.Valid || got.Baseline.Failed != 1 {
		t.Errorf("valid %v, %d failed in the baseline phase, want invalid with 1", got.Valid, got.Baseline.Failed)
	}
}

// A request that hangs long before the action is the baseline phase's, and moves neither end
// of the window: once it hid 1,338 failures at the end.
func TestAHungRequestMovesNoWindow(t *testing.T) {
	d := rollout()
	for i := range d.Samples {
		switch smp := &d.Samples[i]; {
		case smp.Intended == 2600*ms:
			smp.Class, smp.Status, smp.Done = record.Timeout, 0, 4600*ms
		case smp.Intended >= 12650*ms && smp.Intended < 13990*ms:
			smp.Class, smp.Status = record.HTTPStatus(503), 503
		}
	}
	got := Measure(d)
	if want := (timeline.Span{From: 4 * s, To: 14 * s}); got.Window != want || got.Failed != 1340 || got.Planned != 10_000 || got.Baseline.Failed != 1 {
		t.Errorf("%d of %d failed in %v, %d in the baseline phase; want 1,340 of 10,000 in %v, and 1", got.Failed, got.Planned, got.Window, got.Baseline.Failed, want)
	}
}

// To let somebody in is no better before the action or behind the window.
func TestBreachesCountOverTheWholeLoad(t *testing.T) {
	for name, at := range map[string]time.Duration{"warm-up": 500 * ms, "baseline phase": 2 * s, "window": 9 * s, "behind the window": 17 * s} {
		d := rollout()
		for i := range d.Samples {
			if smp := &d.Samples[i]; smp.Expect == record.Deny && smp.Intended >= at && smp.Intended < at+100*ms {
				smp.Class, smp.Status = record.HTTPStatus(200), 200
			}
		}
		m := Measure(d)
		if m.Breaches != 2 {
			t.Errorf("%s: %d breaches, want 2", name, m.Breaches)
		}
		if got := Judge(described(noBreaches), ended, nil, []Trial{result("bad", 1, 3000), m}); got.Verdict != Fail {
			t.Errorf("%s: verdict %s, want fail", name, got.Verdict)
		}
	}
}

func TestFailuresBehindTheWindowAreReported(t *testing.T) {
	d := rollout()
	fail(d, 15*s, 15300*ms)
	m := Measure(d)
	if n, ok := m.Value("late_failures"); !ok || n != 300 || m.Failed != 0 || m.Recovery == nil || *m.Recovery != 0 {
		t.Errorf("%v late failures, %d in the window, recovery %v; want 300, none, 0", n, m.Failed, m.Recovery)
	}
	run := described(record.Gate{Design: "good", Metric: "late_failures", Op: "<=", Limit: 0})
	if got := Judge(run, ended, nil, []Trial{result("bad", 1, 3000), m}); got.Verdict != Fail {
		t.Errorf("verdict %s of a gate on them, want fail", got.Verdict)
	}
}

// What fails in the warm-up is counted and said, and is nobody's failure: it costs the trial
// nothing, and a control in which nothing is done neither.
func TestFailuresInTheWarmUpAreTheWarmUps(t *testing.T) {
	clean := Measure(rollout())
	d := rollout()
	fail(d, 200*ms, 300*ms)
	fail(d, 999*ms, s)
	got := Measure(d)
	if !got.Valid || got.WarmUp != 101 || got.Early != 0 || got.Failed != 0 || got.Baseline != clean.Baseline || got.Unexcused != (Tally{}) {
		t.Errorf("valid %v, %d failures in the warm-up, %d early, %d in the window, baseline %+v: %v; want a valid trial with 101, 0, 0",
			got.Valid, got.WarmUp, got.Early, got.Failed, got.Baseline, got.InvalidReasons)
	}
	if n, ok := got.Value("warm_up_failures"); !ok || n != 101 {
		t.Errorf("%v warm-up failures in the table, want 101", n)
	}
	if want := []Reason{{Kind: WarmUpFailures, Tally: Tally{N: 101}}}; cmp.Diff(want, got.Remarks) != "" || clean.Remarks != nil {
		t.Errorf("remarks %v, want %v; without failures %v, want none", got.Remarks, want, clean.Remarks)
	}
	d.Trial.Action = record.NoAction
	if c := negative(&Cell{Trials: []Trial{Measure(d)}}); !c.Held {
		t.Errorf("the negative control did not hold: %v", c.Why)
	}
	fail(d, s, 1001*ms) // the first one of the baseline phase
	if got := Measure(d); got.Valid || got.WarmUp != 101 || got.Baseline.Failed != 1 {
		t.Errorf("valid %v, %d failures in the warm-up, %d in the baseline phase; want invalid, 101, 1", got.Valid, got.WarmUp, got.Baseline.Failed)
	}
}

func TestAWindowThatEndsBeforeTheActionDoesShowsNotAllOfIt(t *testing.T) {
	d := rollout()
	for i := range d.Events {
		if d.Events[i].Kind == record.ActionDone {
			d.Events[i].At = 14500 * ms
		}
	}
	if got := Measure(d); got.Valid || !got.Stands {
		t.Errorf("valid %v, stands %v: %q", got.Valid, got.Stands, got.InvalidReasons)
	}
	d.Trial.AllowUnfinished = true
	if got := Measure(d); !got.Valid {
		t.Errorf("invalid although the scenario allows it: %q", got.InvalidReasons)
	}
}

func TestAReferenceClientThatSeesFailuresRefutesAZero(t *testing.T) {
	d := rollout()
	for i := range d.Reference {
		if d.Reference[i].Intended > 8*s {
			d.Reference[i].Class = record.Timeout
			break
		}
	}
	got := Measure(d)
	if got.Failed != 0 || got.Valid {
		t.Errorf("failed %d, valid %v: one failure seen by the reference client and none by the load", got.Failed, got.Valid)
	}
}

func TestTheWindowFollowsTheAction(t *testing.T) {
	d := rollout()
	for i := range d.Events {
		if d.Events[i].Kind == record.ActionStarted {
			d.Events[i].At = 4321 * ms
		}
	}
	if got, want := Measure(d).Window, (timeline.Span{From: 4321 * ms, To: 14321 * ms}); got != want {
		t.Errorf("window = %v, want %v", got, want)
	}
	d.Trial.Action = record.NoAction
	if got, want := Measure(d).Window, (timeline.Span{From: 4 * s, To: 14 * s}); got != want {
		t.Errorf("window of the action none = %v, want the planned one %v", got, want)
	}
}

// TestALateActionNeedsItsLoad: the load may miss the end of the window by what a late
// action costs, and by no more.
func TestALateActionNeedsItsLoad(t *testing.T) {
	for late, valid := range map[time.Duration]bool{0: true, 20 * ms: true, 200 * ms: false} {
		d := rollout()
		d.Trial.WindowTo = 20 * s
		for i := range d.Events {
			if d.Events[i].Kind == record.ActionStarted {
				d.Events[i].At += late
			}
		}
		if got := Measure(d); got.Valid != valid {
			t.Errorf("%v late: valid %v, want %v: %q", late, got.Valid, valid, got.InvalidReasons)
		}
	}
}

func TestScalingToNothingNeedsNoInstance(t *testing.T) {
	d := rollout()
	d.Trial.ReplicasAfter = 0
	fail(d, 12*s, 14*s)
	if got := Measure(d); !got.Valid {
		t.Errorf("invalid: %q", got.InvalidReasons)
	}
}

// TestAnInstanceThatIsThereAndFailsIsTheDesignsDoing: a balancer names the endpoint that
// it could not reach, so the instance was sent requests, and their loss counts.
func TestAnInstanceThatIsThereAndFailsIsTheDesignsDoing(t *testing.T) {
	d := rollout()
	for i := range d.Samples {
		if smp := &d.Samples[i]; smp.Instance == "new-1" && smp.Intended >= 11*s {
			smp.Class, smp.Status, smp.Revision, smp.Reason = record.HTTPStatus(502), 502, "", "connect refused"
		}
	}
	for i := range d.Reference {
		if w := &d.Reference[i]; w.Intended >= 11*s && i%3 == 0 {
			w.Class = record.Other
		}
	}
	got := Measure(d)
	if !got.Valid || got.Failed != 1000 {
		t.Errorf("valid %v, failed %d, want a valid trial with 1,000 failures: %q", got.Valid, got.Failed, got.InvalidReasons)
	}
	var mine []InstanceCount
	for _, c := range got.Instances {
		if c.ID == "new-1" {
			mine = append(mine, c)
		}
	}
	if diff := cmp.Diff([]InstanceCount{{ID: "new-1", Revision: "v2", OK: 1666, Failed: 1000}}, mine); diff != "" {
		t.Errorf("counts of new-1 (-want +got):\n%s", diff)
	}
}

// TestRefusingInstancesAreThere: a design whose instances answer and refuse has failed; its
// trial must not be called invalid, or the worst designs would never be judged.
func TestRefusingInstancesAreThere(t *testing.T) {
	d := rollout()
	for i := range d.Samples {
		if smp := &d.Samples[i]; smp.Intended >= 6*s {
			smp.Class, smp.Status = record.HTTPStatus(503), 503
		}
	}
	for i := range d.Reference {
		if d.Reference[i].Intended >= 6*s {
			d.Reference[i].Class = record.HTTPStatus(503)
		}
	}
	got := Measure(d)
	if !got.Valid || got.Failed != 8000 {
		t.Errorf("valid %v, failed %d: %q", got.Valid, got.Failed, got.InvalidReasons)
	}
	if !got.LongestOutage.Open || got.Recovery != nil {
		t.Errorf("outage %+v and recovery %v, want an open one and none", got.LongestOutage, got.Recovery)
	}
}

func TestMeasureIsPure(t *testing.T) {
	d := rollout()
	fail(d, 5*s, 6*s)
	if diff := cmp.Diff(Measure(d), Measure(d)); diff != "" {
		t.Errorf("measured twice (-first +second):\n%s", diff)
	}
}

// Every metric of the table is computed, and nothing is computed that the table does not have.
func TestEveryMetricIsComputed(t *testing.T) {
	d := rollout()
	fail(d, 5*s, 5100*ms)
	m := Measure(d)
	if rows, computed := slices.Sorted(slices.Values(metric.Names())), slices.Sorted(slices.Values(slices.AppendSeq(slices.Collect(maps.Keys(compute)), maps.Keys(computeFromRecord)))); !slices.Equal(rows, computed) {
		t.Errorf("the table has %v, computed are %v", rows, computed)
	}
	one := rollout() // of three instances answers with 503, now and then
	for i := 6000; i < 9000; i += 33 {
		one.Samples[i].Class, one.Samples[i].Status = record.HTTPStatus(503), 503
	}
	again := Measure(one)
	for name, want := range map[string]float64{"intermittent": 2970, "intermittent_share": 91.0 / 2971, "intermittent_period": 33, "intermittent_instances": 1} {
		if got, ok := again.Value(name); !ok || got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	stale := newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").say(6*s, record.Unready, "a").say(10*s, record.Ready, "a").data()
	stale.Samples[700].Expect, stale.Samples[700].Status = record.DenyRevoked, 403
	faulted := Measure(stale)
	for _, name := range metric.Names() {
		v, ok := m.Value(name)
		if strings.HasPrefix(name, "intermittent_") { // nothing was
			v, ok = again.Value(name)
		}
		if row, _ := metric.ByName(name); row.OfFault {
			if ok {
				t.Errorf("%s of a trial without a fault is %v", name, v)
			}
			v, ok = faulted.Value(name)
		}
		if !ok || math.IsNaN(v) {
			t.Errorf("%s: %v, %v", name, v, ok)
		}
	}
	for name, want := range map[string]float64{"success_rate": 0.99, "failed": 100, "downtime": 100, "longest_outage": 100, "bins_down": 100, "disruption_lag": 1000, "recovery": 1100, "convergence": 3000, "latency_p99": 2, "slowest_request": 2, "standstill": 101} {
		if got, _ := m.Value(name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	// A trial in which nothing was planned has no value that could meet a limit.
	var empty Trial
	for _, row := range metric.All() {
		if v, ok := empty.Value(row.Name); ok {
			t.Errorf("%s of a trial without a request is %v", row.Name, v)
		}
		if v := empty.limited(row); !math.IsInf(v, 1) {
			t.Errorf("a limit on %s of a trial without a request is held against %v", row.Name, v)
		}
	}
}

// What the table of metrics says that a limit takes, for scenarios to refuse one that cannot
// be decided, is what it takes.
func TestWhatALimitTakes(t *testing.T) {
	const limit = 2 * s
	for _, m := range metric.All() {
		if m.Behind == 0 {
			continue
		}
		seen := func(tail time.Duration, rate float64) bool {
			d := rollout()
			every := uint64(d.Trial.Rate / rate)
			d.Trial.LoadTo = d.Trial.WindowFrom + limit + m.Behind + tail
			d.Trial.Rate, d.Trial.Planned = rate, uint64(rate*d.Trial.LoadTo.Seconds())
			d.Samples = slices.DeleteFunc(d.Samples, func(x record.Sample) bool { return (x.Seq+1)%every != 0 || x.Intended > d.Trial.LoadTo })
			for i := range d.Samples {
				d.Samples[i].Seq = uint64(i)
			}
			fail(d, 5*s, d.Trial.WindowFrom+limit)
			got := Measure(d)
			v, ok := got.Value(m.Name)
			return ok && v == milliseconds(limit)
		}
		if !seen(0, 1000) || seen(-200*ms, 1000) {
			t.Errorf("%s: seen with %v behind it: %t, with less: %t", m.Name, m.Behind, seen(0, 1000), seen(-200*ms, 1000))
		}
		if m.Rate > 0 && (!seen(0, m.Rate) || seen(0, m.Rate/2)) {
			t.Errorf("%s: seen at %v a second: %t, at half of it: %t", m.Name, m.Rate, seen(0, m.Rate), seen(0, m.Rate/2))
		}
	}
	for _, name := range []string{"bins_down", "bins_degraded"} {
		if m, _ := metric.ByName(name); m.Bin != binWidth {
			t.Errorf("%s counts bins of %v, and the table says %v", name, binWidth, m.Bin)
		}
	}
}

// The slowest request is one whose user waited in vain as well.
func TestTheSlowestRequestMayHaveFailed(t *testing.T) {
	d := rollout()
	d.Samples[7000].Class, d.Samples[7000].Done = record.Timeout, d.Samples[7000].Intended+2*s
	got := Measure(d)
	if slowest, ok := got.Value("slowest_request"); !ok || slowest != 2000 {
		t.Errorf("slowest request %v ms, want the timeout's 2000", slowest)
	}
}

// What fails between the baseline phase and an action that began late is before the action.
func TestFailuresBeforeALateActionAreEarly(t *testing.T) {
	d := rollout()
	for i := range d.Events {
		if d.Events[i].Kind == record.ActionStarted {
			d.Events[i].At += 40 * ms
		}
	}
	fail(d, 4005*ms, 4015*ms)
	if got := Measure(d); got.Early != 10 || got.Failed != 0 || got.Valid {
		t.Errorf("%d early, %d failed in the window, valid %v; want 10, 0, and an invalid trial", got.Early, got.Failed, got.Valid)
	}
}

// Times count from when the action began, not from when it was planned to.
func TestTimesCountFromTheAction(t *testing.T) {
	d := rollout()
	for i := range d.Events {
		if d.Events[i].Kind == record.ActionStarted {
			d.Events[i].At += 300 * ms
		}
	}
	fail(d, 6*s, 7*s)
	got := Measure(d)
	if got.DisruptionLag == nil || *got.DisruptionLag != 1700*ms || got.Recovery == nil || *got.Recovery != 2700*ms {
		t.Errorf("disruption lag %v, recovery %v; want 1.7 s and 2.7 s after the action", got.DisruptionLag, got.Recovery)
	}
	if got.Window != (timeline.Span{From: 4300 * ms, To: 14_300 * ms}) {
		t.Errorf("the window is %v", got.Window)
	}
	if v, ok := got.Value("latency_recovery"); !ok || v != 2700 {
		t.Errorf("latency recovery %v ms, want 2700", v)
	}
}

// How long a request took that failed says nothing of how long users wait for an answer.
func TestLatencyIsThatOfAnswers(t *testing.T) {
	d := rollout()
	lose(d, 8*s, 9*s, record.Timeout)
	for i := range d.Samples {
		if x := &d.Samples[i]; x.Class == record.Timeout {
			x.Done = x.Intended + 2*s
		}
	}
	got := Measure(d)
	if got.Latency.N != 9000 || got.Latency.Max != 2*ms || got.LatencyUncorrected.Max != 1900*time.Microsecond {
		t.Errorf("latency %+v, uncorrected %+v", got.Latency, got.LatencyUncorrected)
	}
}

// Requests that the action cut are an outage, however short, and not nothing.
func TestWhatTheActionCutIsAnOutage(t *testing.T) {
	d := rollout()
	for i := range d.Samples {
		if smp := &d.Samples[i]; smp.Intended >= 3960*ms && smp.Intended < 4*s {
			smp.Class, smp.Status, smp.Done = record.Timeout, 0, smp.Intended+2*s
		}
	}
	got := Measure(d)
	if want := (timeline.Outage{From: 3960 * ms, To: 4 * s, LastOK: 3959 * ms, Failures: 40}); !got.Valid || got.Failed != 40 || got.Outages != 1 || got.LongestOutage != want {
		t.Errorf("valid %v, %d failed, %d outages, the longest %+v; want one of 40: %+v", got.Valid, got.Failed, got.Outages, got.LongestOutage, want)
	}
	if slowest, _ := got.Value("slowest_request"); slowest != 2000 {
		t.Errorf("the slowest request took %v ms, want 2000", slowest)
	}
}
