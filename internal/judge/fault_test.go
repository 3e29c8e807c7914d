package judge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// TestALostRequestCountsAsSentThoughNoAnswerNamesTheInstance: where nothing of the lab's stands
// before the instances, what is lost names none, and it is what an ejection is made of.
// So it is where the fault is in two, and each loss may be of either.
func TestALostRequestCountsAsSentThoughNoAnswerNamesTheInstance(t *testing.T) {
	for _, hit := range [][]string{{"a"}, {"a", "b"}} {
		drill := newDrill().fault("pause", 5*s, 4*s, hit...).breaks(5*s, 9*s, hit...)
		for _, id := range hit {
			drill.say(6200*ms, record.Unready, id).say(9600*ms, record.Ready, id)
		}
		d := drill.data()
		d.Trial.LabBalancer = false
		lost := 0
		for i := range d.Samples {
			if d.Samples[i].Class != record.OK {
				d.Samples[i].Instance, d.Samples[i].Revision = "", ""
				lost++
			}
		}
		got := Measure(d)
		if v, ok := got.Value(metric.Ejection); lost == 0 || !ok || v < 1180 || v > 1200 {
			t.Errorf("%v: ejection %v (known: %t) with %d lost requests that name nobody, want what they were lost for, 1.2 s: %v", hit, v, ok, lost, got.Faults)
		}
	}
}

// none is a metric without a value.
const none = -1

func TestWhatTheRuntimeDidAboutAFault(t *testing.T) {
	all := []string{"a", "b", "c"}
	everywhere := func(d *drill, at time.Duration, kind record.EventKind, detail ...string) *drill {
		for _, id := range all {
			d.say(at, kind, id, detail...)
		}
		return d
	}
	late := func(d *drill) *drill { // it was known to be in effect 50 ms after it was due
		for i := range d.Events {
			if d.Events[i].Kind == record.FaultInjected {
				d.Events[i].At += 50 * ms
			}
		}
		return d
	}
	for _, tc := range []struct {
		name  string
		drill *drill
		// in milliseconds, or counts
		detection, ejection, comesBack, none float64
		falseEvictions, restarts             float64
	}{
		{"frozen, noticed and back",
			newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").say(6200*ms, record.Unready, "a").say(9600*ms, record.Ready, "a"),
			1200, 1190.1, 600, 0, 0, 0},
		{"noticed before it was known to be there",
			late(newDrill().fault("pause", 5*s, 4*s, "a")).breaks(5*s, 9*s, "a").say(5040*ms, record.Unready, "a").say(9600*ms, record.Ready, "a"),
			0, 0, 600, 0, 0, 0},
		{"frozen and never noticed",
			newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a"),
			none, none, 0, 0, 0, 0},
		{"taken out again before it was healed",
			newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").say(6*s, record.Unready, "a").say(7*s, record.Ready, "a").say(8*s, record.Unready, "a").say(9100*ms, record.Ready, "a"),
			1000, 980.1, 100, 0, 0, 0},
		{"restarted only after it was healed",
			newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").breaks(9550*ms, 10*s, "a").
				say(9500*ms, record.Unready, "a").say(9600*ms, record.Started, "a", "exec, after killed: not alive").say(10*s, record.Ready, "a"),
			4500, 4490.1, 1000, 0, 1, 1},
		{"killed and started again",
			newDrill().fault("kill", 5*s, 0, "a").breaks(5*s, 6500*ms, "a").
				say(5400*ms, record.Unready, "a").say(5500*ms, record.Started, "a", "exec, after signal: killed").say(6500*ms, record.Ready, "a"),
			400, 380.1, 1500, 0, 0, 1},
		{"killed, and another one in its place",
			newDrill().fault("kill", 5*s, 0, "a").breaks(5*s, 16*s, "a").
				say(5010*ms, record.Unready, "a").say(5020*ms, record.Gone, "a").say(5100*ms, record.Started, "d", "exec").say(6*s, record.Ready, "d"),
			10, 0, 1000, 0, 0, 1},
		{"killed and never replaced",
			newDrill().fault("kill", 5*s, 0, "a").breaks(5*s, 16*s, "a").say(5010*ms, record.Unready, "a").say(5020*ms, record.Gone, "a"),
			10, 0, none, 0, 0, 0},
		{"killed, back, and taken out once more while it served",
			newDrill().fault("kill", 5*s, 0, "a").breaks(5*s, 6*s, "a").
				say(5400*ms, record.Unready, "a").say(5500*ms, record.Started, "a", "exec, after signal: killed").say(6*s, record.Ready, "a").
				say(8*s, record.Unready, "a").say(9*s, record.Ready, "a"),
			400, 380.1, 1000, 0, 1, 1},
		{"a shared outage takes the fleet out",
			everywhere(everywhere(newDrill().fault("outage", 5*s, 4*s).breaks(5*s, 9*s, all...), 6*s, record.Unready), 10*s, record.Ready),
			none, none, none, 4000, 3, 0},
		{"a shared outage takes nobody out",
			newDrill().fault("outage", 5*s, 4*s).breaks(5*s, 9*s, all...),
			none, none, none, 0, 0, 0},
		{"a shared outage restarts the fleet",
			everywhere(everywhere(everywhere(newDrill().fault("outage", 5*s, 4*s).breaks(5*s, 9*s, all...), 6*s, record.Unready), 6*s, record.Started, "exec, after killed"), 10*s, record.Ready),
			none, none, none, 4000, 3, 3},
		{"slow and restarted, though it serves",
			newDrill().fault("cpu", 5*s, 4*s, all...).say(7*s, record.Unready, "b").say(7*s, record.Started, "b", "exec, after killed").say(8*s, record.Ready, "b"),
			none, none, 0, 0, 1, 1},
		{"its check flaps, though it serves",
			newDrill().fault("flap", 5*s, 4*s, "a").say(6*s, record.Unready, "a").say(7*s, record.Ready, "a").say(8*s, record.Unready, "a").say(9*s, record.Ready, "a"),
			1000, 980.1, 0, 0, 1, 0},
		{"a deadlock that no request shows",
			newDrill().fault("deadlock", 5*s, 4*s, "a").say(7*s, record.Unready, "a").say(7100*ms, record.Started, "a", "exec, after killed").say(8*s, record.Ready, "a"),
			2000, 1970.1, 0, 0, 0, 1},
		{"told to go by whoever drains its node",
			newDrill().fault("node-drain", 5*s, 4*s, "a").
				say(5*s, record.Terminating, "a").say(5100*ms, record.Unready, "a").say(6*s, record.Gone, "a").
				say(5100*ms, record.Terminating, "b").say(5200*ms, record.Unready, "b").say(6*s, record.Gone, "b").
				say(5500*ms, record.Started, "d").say(6*s, record.Ready, "d").say(5500*ms, record.Started, "e").say(6100*ms, record.Ready, "e"),
			100, 80.1, 0, 0, 0, 0},
		{"drained, and what came in its place started again",
			newDrill().fault("node-drain", 5*s, 4*s, "a").
				say(5*s, record.Terminating, "a").say(5100*ms, record.Unready, "a").say(6*s, record.Gone, "a").
				say(5500*ms, record.Started, "d").say(6*s, record.Ready, "d").say(7*s, record.Unready, "d").say(7*s, record.Started, "d", "exec, after killed").say(8*s, record.Ready, "d"),
			100, 80.1, 0, 0, 1, 1},
		{"evicted, and another one in its place",
			newDrill().fault("evict", 5*s, 0, "a").
				say(5*s, record.Terminating, "a").say(5100*ms, record.Unready, "a").say(6*s, record.Gone, "a").
				say(5500*ms, record.Started, "d").say(6*s, record.Ready, "d"),
			100, 80.1, 1000, 0, 0, 0},
		{"evicted, and so another one unasked",
			newDrill().fault("evict", 5*s, 0, "a").
				say(5*s, record.Terminating, "a").say(5100*ms, record.Unready, "a").say(6*s, record.Gone, "a").
				say(5100*ms, record.Terminating, "b").say(5200*ms, record.Unready, "b").say(6*s, record.Gone, "b").
				say(5500*ms, record.Started, "d").say(6*s, record.Ready, "d").say(5500*ms, record.Started, "e").say(6100*ms, record.Ready, "e"),
			100, 80.1, 1100, 0, 1, 1},
		{"what a command of the user's does is not known",
			newDrill().fault("command", 5*s, 4*s).breaks(5*s, 9*s, "a").say(6*s, record.Unready, "a").say(9500*ms, record.Ready, "a").say(7*s, record.Unready, "b").say(8*s, record.Ready, "b"),
			none, none, none, 0, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.drill.measure()
			if !got.Valid {
				t.Fatalf("invalid: %v", got.InvalidReasons)
			}
			for name, want := range map[string]float64{metric.Detection: tc.detection, metric.Ejection: tc.ejection, metric.Return: tc.comesBack,
				metric.NoneRoutable: tc.none, metric.FalseEvictions: tc.falseEvictions, metric.Restarts: tc.restarts} {
				v, ok := got.Value(name)
				if !ok {
					v = none
				}
				if v != want {
					t.Errorf("%s: got %v, want %v; %v, false evictions %v", name, v, want, got.Faults, got.FalseEvictions)
				}
			}
		})
	}
}

// What an action stops is none of the runtime's reactions, and a rollout goes on while a fault
// is there.
func TestARolloutEvictsNobody(t *testing.T) {
	d := newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a")
	d.Trial.Action, d.Trial.Revisions.After = "rollout", "v2"
	d.say(4*s, record.ActionStarted, "").say(10*s, record.ActionDone, "").
		say(4*s, record.Started, "new").say(6*s, record.Ready, "new").
		say(6*s, record.Unready, "b").say(6100*ms, record.Terminating, "b"). // in the order of two watches
		say(7*s, record.Gone, "b").
		say(8*s, record.Unready, "c").say(12*s, record.Ready, "c") // unasked
	got := d.measure()
	if len(got.FalseEvictions) != 1 || got.FalseEvictions[0].Instance != "c" {
		t.Errorf("false evictions %v, want c alone", got.FalseEvictions)
	}
	if got.Restarts != 0 {
		t.Errorf("%d restarts, want none", got.Restarts)
	}
}

// Recovery counts from the last healing: what is lost while the fault is there is its price.
func TestRecoveryIsFromTheLastHealing(t *testing.T) {
	got := newDrill().fault("outage", 5*s, 3*s).breaks(5*s, 8*s, "a", "b", "c").measure()
	if got.Failed == 0 || got.Recovery == nil || *got.Recovery != 0 {
		t.Errorf("%d lost while the fault was there, recovery %v, want it at once", got.Failed, got.Recovery)
	}
	got = newDrill().fault("outage", 5*s, 3*s).breaks(5*s, 8500*ms, "a", "b", "c").measure()
	if got.Recovery == nil || *got.Recovery != 500*ms {
		t.Errorf("recovery %v, want 500ms", got.Recovery)
	}
}

func TestAFaultMustHaveBeenThereAndBeGone(t *testing.T) {
	frozen := func() *drill { return newDrill().fault("pause", 5*s, 4*s, "a", "b").breaks(5*s, 9*s, "a", "b") }
	first := func(d *drill, kind record.EventKind) *drill {
		for i, e := range d.Events {
			if e.Kind == kind {
				d.Events = append(d.Events[:i:i], d.Events[i+1:]...)
				break
			}
		}
		return d
	}
	late := newDrill()
	late.Trial.Faults = []record.Fault{{Name: "pause", Kind: "pause", At: 5 * s, For: 8 * s}}
	late.tell(5*s, record.FaultInjected, "pause", "a").tell(5*s, record.FaultProven, "pause", "a").tell(14500*ms, record.FaultHealed, "pause", "a")
	never := newDrill()
	never.Trial.Faults = []record.Fault{{Name: "pause", Kind: "pause", At: 5 * s, For: 8 * s}}
	notThere := newDrill()
	notThere.Trial.Faults = []record.Fault{{Name: "pause", Kind: "pause", At: 5 * s, For: 8 * s}}
	notThere.tell(5*s, record.FaultError, "pause", "")
	for _, tc := range []struct {
		name  string
		drill *drill
		want  string
	}{
		{"as planned", frozen(), "[]"},
		{"no proof", frozen().drop(record.FaultProven), "[fault-not-proven 0 of 2 pause,one instance]"},
		{"one proof of two", first(frozen(), record.FaultProven), "[fault-not-proven 1 of 2 pause,one instance]"},
		{"not healed", frozen().drop(record.FaultHealed), "[fault-outlived 2 of 2 5s pause,one instance]"},
		{"one not healed", first(frozen(), record.FaultHealed), "[fault-outlived 2 of 2 5s pause,one instance]"},
		{"still there when asked", first(frozen(), record.FaultHealed).tell(14*s, record.FaultError, "pause", "a"), `[fault-outlived 2 of 2 5s pause,one instance "state T"]`},
		{"healed behind the window", late, "[fault-outlived 1 of 1 1s pause,]"},
		{"never injected", never, "[fault-not-proven pause,]"},
		{"could not be injected", notThere, `[fault-error pause, "state T"]`},
		{"one of three could not be", frozen().tell(5*s, record.FaultError, "pause", "c"), `[fault-error 2 of 2 pause,one instance "state T"]`},
		{"one that does not last is not healed", newDrill().fault("kill", 5*s, 0, "a").breaks(5*s, 6*s, "a").say(5100*ms, record.Unready, "a").say(6*s, record.Ready, "a"), "[]"},
	} {
		got := tc.drill.measure()
		if fmt.Sprint(got.InvalidReasons) != tc.want || got.Valid != (tc.want == "[]") {
			t.Errorf("%s: valid %v, %v, want %s", tc.name, got.Valid, got.InvalidReasons, tc.want)
		}
		if strings.Contains(tc.want, "fault") && got.Sound {
			t.Errorf("%s: the harness did its part, as it is judged", tc.name)
		}
	}
}

// Of a trial that was interrupted before its fault was due the interrupt is reason enough.
func TestAnInterruptIsNoMissingFault(t *testing.T) {
	d := newDrill()
	d.Trial.Faults = []record.Fault{{Name: "pause", Kind: "pause", At: 5 * s, For: 8 * s}}
	d.say(4500*ms, record.TrialInterrupt, "")
	if got := d.measure(); fmt.Sprint(got.InvalidReasons) != "[trial-interrupted 4.5s]" {
		t.Error(got.InvalidReasons)
	}
}

// A positive control of a scenario with a fault must miss what the others hold: to lose
// something is no sign of a bad design where every one does.
func TestPositiveControlOfAFault(t *testing.T) {
	limit := func(name string, limit float64) record.Gate {
		return record.Gate{Design: "good", Metric: name, Op: "<=", Limit: limit}
	}
	for _, tc := range []struct {
		name  string
		gates []record.Gate
		drill *drill
		held  bool
		why   string
	}{
		{"evicts the fleet", []record.Gate{limit("failed", 1000), limit(metric.FalseEvictions, 0)},
			newDrill().fault("outage", 5*s, 4*s).say(6*s, record.Unready, "a").say(8*s, record.Ready, "a"), true, "misses-limit"},
		{"never notices", []record.Gate{limit(metric.Detection, 2000)}, newDrill().fault("deadlock", 5*s, 4*s, "a"), true, "misses-limit"},
		{"loses no more than a good one may", []record.Gate{limit("failed", 1000)}, newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a"), false, "meets-limits"},
		{"no limit is set on another", []record.Gate{{Design: "bad", Metric: "failed", Op: ">=", Limit: 1}}, newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a"), true, "some-failed"},
		{"no valid trial", []record.Gate{limit(metric.FalseEvictions, 0)}, newDrill().fault("pause", 5*s, 4*s, "a").drop(record.FaultProven), false, "no-valid-trial"},
	} {
		tc.drill.Trial.Design = "bad"
		sc := record.Scenario{Name: "drill", Designs: []string{"good", "bad"}, Gates: tc.gates, Positive: []string{"bad"}}
		r := Judge(record.Run{Scenarios: []record.Scenario{sc}}, ended, nil, []Trial{tc.drill.measure()})
		if len(r.Controls) != 1 || r.Controls[0].Held != tc.held || string(r.Controls[0].Why.Kind) != tc.why {
			t.Errorf("%s: %+v, want held %v, %s; and no negative control where something is done", tc.name, r.Controls, tc.held, tc.why)
		}
	}
}

func TestAGateOnAFaultThatIsNotThere(t *testing.T) {
	d := newDrill().measure()
	sc := record.Scenario{Name: "drill", Designs: []string{"good"}, Gates: []record.Gate{{Design: "good", Metric: metric.Detection, Op: "<=", Limit: 100}}}
	r := Judge(record.Run{Scenarios: []record.Scenario{sc}}, ended, nil, []Trial{d})
	if g := r.Gates[0]; g.Verdict != Inconclusive || g.Why.Kind != NoFault {
		t.Errorf("got %v", g)
	}
}

// What was lost while a fault was there has its name, where it was sent to what the fault was
// done to, or to what shares what it was done to.
func TestCausesNameTheirFault(t *testing.T) {
	all := []string{"a", "b", "c"}
	out := func(d *drill, at time.Duration, kind record.EventKind) *drill {
		for _, id := range all {
			d.say(at, kind, id)
		}
		return d
	}
	for _, tc := range []struct {
		name  string
		drill *drill
		want  string // cause, count, fault, of them during it
	}{
		{"frozen", newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").say(6*s, record.Unready, "a").say(10*s, record.Ready, "a"), "[broken_while_ready 33 pause 33]"},
		{"killed, and never replaced", newDrill().fault("kill", 5*s, 0, "a").breaks(5*s, 16*s, "a"), "[broken_while_ready 300 kill 300]"},
		{"another one broke by itself", newDrill().fault("pause", 5*s, 4*s, "a").breaks(6*s, 7*s, "b"), "[broken_while_ready 33  0]"},
		{"shared by all", newDrill().fault("outage", 5*s, s).breaks(5*s, 6*s, all...), "[broken_while_ready 100 outage 100]"},
		{"and nobody is left to send to", out(out(newDrill().fault("outage", 5*s, 2*s).breaks(5*s, 7*s, all...), 6*s, record.Unready), 8*s, record.Ready), "[no_instance 200 outage 200][broken_while_ready 100 outage 100]"},
		{"and nobody is left long behind it", out(out(newDrill().fault("outage", 5*s, s).breaks(5*s, 6*s, all...), 5900*ms, record.Unready), 13*s, record.Ready), "[no_instance 710 outage 710][broken_while_ready 90 outage 90]"},
		{"before the fault, and long behind it", newDrill().fault("outage", 6*s, s).breaks(4*s, 4100*ms, "a").breaks(13*s, 13100*ms, "a"), "[broken_while_ready 8  0]"},
	} {
		got := ""
		m := tc.drill.measure()
		for _, c := range m.Causes {
			name := ""
			if c.Fault != nil {
				name = c.Fault.Name
			}
			got += fmt.Sprintf("[%s %d %s %d]", c.Cause, c.Count, name, c.DuringFault)
		}
		if got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

// Over the trials of a cell a fault is named where it is the same in all, with what the runtime
// did about it where the most was lost.
func TestFaultsOfACell(t *testing.T) {
	short := newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").say(6*s, record.Unready, "a").say(10*s, record.Ready, "a").measure()
	long := newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").say(8*s, record.Unready, "a").say(10*s, record.Ready, "a").measure()
	other := newDrill().fault("kill", 5*s, 0, "a").breaks(5*s, 9*s, "a").say(8*s, record.Unready, "a").say(10*s, record.Ready, "a").measure()
	both := Cell{Trials: []Trial{short, long}}
	if c := both.Causes()[0]; c.Fault == nil || *c.Fault.Detection() != 3*s || c.DuringFault != c.Count {
		t.Errorf("got %+v", c)
	}
	mixed := Cell{Trials: []Trial{short, other}}
	if c := mixed.Causes()[0]; c.Fault != nil || c.DuringFault != 0 {
		t.Errorf("got %+v", c)
	}
}

// Whoever is served on a revoked session past its maximum age is a breach, and counted apart.
func TestStaleAllowed(t *testing.T) {
	d := newDrill().fault("revoke", 5*s, 0).data()
	if _, ok := func() (float64, bool) { m := Measure(d); return m.Value(metric.StaleAllowed) }(); ok {
		t.Error("a value without a request on a revoked session")
	}
	for i := range d.Samples {
		switch smp := &d.Samples[i]; {
		case smp.Intended < 5*s || i%10 != 0:
		case smp.Intended < 7*s:
			smp.Expect = record.Either
		default:
			smp.Expect, smp.Status = record.DenyRevoked, 403
			if smp.Intended < 8*s {
				smp.Status, smp.Class = 200, record.HTTPStatus(200)
			}
		}
	}
	got := Measure(d)
	if v, ok := got.Value(metric.StaleAllowed); !ok || v != 10 || got.Breaches != 10 {
		t.Errorf("got %v, %v and %d breaches, want 10 and 10", v, ok, got.Breaches)
	}
}

// A repeat makes up for an invalid trial that lost no more than its limits allow: where a fault
// is injected every design loses something, on a busy machine as well.
func TestARepeatOfATrialWithAFault(t *testing.T) {
	for _, tc := range []struct {
		name  string
		limit float64
		want  Verdict
	}{{"within its limits", 40, Pass}, {"beyond them", 20, Fail}} {
		gates := []record.Gate{{Design: "good", Metric: "failed", Op: "<=", Limit: tc.limit}}
		trial := func(n, repeats int, late bool) Trial {
			d := newDrill().fault("pause", 5*s, 4*s, "a").breaks(5*s, 9*s, "a").say(6*s, record.Unready, "a").say(10*s, record.Ready, "a").data()
			d.Trial.N, d.Trial.Repeats, d.Gates = n, repeats, gates
			if late {
				for i := range d.Samples {
					d.Samples[i].Sent += 60 * ms
					d.Samples[i].Done += 60 * ms
				}
			}
			return Measure(d)
		}
		first := trial(1, 0, true)
		if first.Valid || first.Unexcused.N == 0 {
			t.Fatalf("%s: valid %v, %v unexcused", tc.name, first.Valid, first.Unexcused)
		}
		sc := record.Scenario{Name: "drill", Designs: []string{"good"}, Gates: gates}
		r := Judge(record.Run{Scenarios: []record.Scenario{sc}}, ended, nil, []Trial{first, trial(2, 1, false)})
		if r.Verdict != tc.want {
			t.Errorf("%s: %s, %v", tc.name, r.Verdict, r.Reasons)
		}
		if got := first.Allowed; got != (tc.want == Pass) {
			t.Errorf("%s: allowed %v", tc.name, got)
		}
	}
}

// Over random records: an eviction is false only where no fault was done to the instance, or where
// it served; nobody was routed to just when no lane says so; and a trial counts only where every
// planned fault was seen by something else and taken back.
func TestFaultsOfAnyRecord(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	when := func() time.Duration { return 4*s + time.Duration(rng.Int64N(int64(9*s)))/ms*ms }
	kinds := []string{"kill", "pause", "cpu", "outage", "deadlock", "flap", "evict", "node-drain", "command", "revision"}
	evictions, untouched, valid := 0, 0, 0
	for range 150 {
		d := newDrill()
		for n := range rng.IntN(3) {
			kind, at := kinds[rng.IntN(len(kinds))], when()
			lasts := time.Duration(0)
			if !slices.Contains([]string{"kill", "evict", "revision"}, kind) {
				lasts = time.Duration(1+rng.IntN(3)) * s
			}
			name := fmt.Sprint(kind, n)
			d.Trial.Faults = append(d.Trial.Faults, record.Fault{Name: name, Kind: kind, At: at, For: lasts})
			ids := []string{""}
			if kind != "outage" && kind != "command" {
				ids = []string{"a", "b", "c"}[:1+rng.IntN(3)]
			}
			for _, id := range ids {
				if rng.IntN(12) > 0 {
					d.tell(at, record.FaultInjected, name, id)
				}
				if rng.IntN(12) > 0 {
					d.tell(at+50*ms, record.FaultProven, name, id)
				}
				if lasts > 0 && rng.IntN(12) > 0 {
					d.tell(at+lasts, record.FaultHealed, name, id)
				}
			}
		}
		for _, id := range []string{"a", "b", "c"} {
			if rng.IntN(2) == 0 {
				from := when()
				d.breaks(from, from+2*s, id)
			}
			for range rng.IntN(4) {
				from := when()
				d.say(from, record.Unready, id)
				d.say(from+time.Duration(rng.IntN(3000))*ms, []record.EventKind{record.Ready, record.Started, record.Gone, record.Terminating}[rng.IntN(4)], id, "exec, after killed")
			}
		}
		data := d.data()
		got := Measure(data)
		for _, e := range got.FalseEvictions {
			evictions++
			var lane *timeline.Lane
			for i := range got.Timeline.Lanes {
				if got.Timeline.Lanes[i].Instance == e.Instance {
					lane = &got.Timeline.Lanes[i]
				}
			}
			hit := slices.ContainsFunc(data.Events, func(ev record.Event) bool {
				return ev.Kind == record.FaultInjected && ev.Instance == e.Instance && ev.At <= e.At
			})
			serving := slices.ContainsFunc(lane.Truth, func(span timeline.StateSpan) bool {
				return span.State == timeline.Serving && span.From <= e.At && span.To >= e.At-2*data.Trial.ProbeEvery
			})
			if !hit {
				untouched++
			}
			if hit && !serving {
				t.Errorf("%s, to which a fault was done and which did not serve, is a false eviction at %v: %v", e.Instance, e.At, data.Events)
			}
			if lane.VerdictAt(e.At-1) != timeline.Ready || lane.VerdictAt(e.At) == timeline.Ready {
				t.Errorf("%s was not taken out at %v: %v", e.Instance, e.At, lane.Verdict)
			}
		}
		for at := got.Window.From; at < got.Window.To; at += 7 * ms {
			routed := slices.ContainsFunc(got.Timeline.Lanes, func(l timeline.Lane) bool { return l.VerdictAt(at) == timeline.Ready })
			none := slices.ContainsFunc(got.NoneRouted, func(span timeline.Span) bool { return span.Holds(at) })
			if routed == none {
				t.Fatalf("at %v: routed %v, nobody routed %v", at, routed, none)
			}
		}
		if !got.Valid {
			continue
		}
		valid++
		for _, f := range data.Trial.Faults {
			injected, proven, healed := 0, 0, 0
			for _, e := range data.Events {
				switch {
				case e.Fault != f.Name:
				case e.Kind == record.FaultInjected:
					injected++
				case e.Kind == record.FaultProven:
					proven++
				case e.Kind == record.FaultHealed:
					healed++
				}
			}
			if injected == 0 || proven < injected || f.For > 0 && healed < injected {
				t.Errorf("valid with %s injected %d, proven %d, healed %d times", f.Name, injected, proven, healed)
			}
		}
	}
	if evictions == 0 || untouched == 0 || untouched == evictions || valid == 0 {
		t.Errorf("%d false evictions, %d of them untouched, %d valid trials: the records show too little", evictions, untouched, valid)
	}
}
