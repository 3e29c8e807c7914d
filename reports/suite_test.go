package reports

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

const fixtureFault = 6 * time.Second // when it is injected, for three seconds

// damage is what becomes of a trial with a fault.
type damage struct {
	lost        int  // requests, from the fault on
	noticed     bool // the instance is taken out
	evicts      bool // so is another one that serves
	breaches    int
	unproven    bool
	outlives    bool
	targetFails bool
}

// faultedTrial is a raw trial of 20 s at 100 requests a second in which one of two instances is
// frozen from 6 s to 9 s.
func faultedTrial(scenario, design string, n int, dmg damage) *record.TrialData {
	const rate, load = 100, 20 * time.Second
	d := &record.TrialData{
		Trial: record.Trial{Scenario: scenario, Driver: "process", Action: record.NoAction, Design: design, N: n, Rate: rate, Planned: 2000, Timeout: time.Second,
			Streams: []record.Stream{{Name: "keepalive-get", Share: 1, Method: "GET", Reuse: true}},
			LoadTo:  load, BaselineTo: 4 * time.Second, WindowFrom: 5 * time.Second, WindowTo: 15 * time.Second, LabBalancer: true,
			ReplicasBefore: 2, ReplicasAfter: 2, Revisions: record.Revisions{Before: "r1", After: "r1"}, ProbeEvery: 50 * time.Millisecond,
			Faults: []record.Fault{{Name: "pause", Kind: "pause", At: fixtureFault, For: 3 * time.Second, Target: "the oldest instance"}}},
		Folder: fmt.Sprintf("trials/%s-process-none-%s-%d", scenario, design, n),
		End:    &record.End{At: load, Sent: 2000},
	}
	say := func(at time.Duration, kind record.EventKind, id string) {
		d.Events = append(d.Events, record.Event{At: at, Kind: kind, Instance: id, Revision: "r1"})
	}
	tell := func(at time.Duration, kind record.EventKind, seen string) {
		d.Events = append(d.Events, record.Event{At: at, Kind: kind, Instance: "a", Fault: "pause", Detail: seen})
	}
	for _, id := range []string{"a", "b"} {
		say(0, record.Started, id)
		say(0, record.Ready, id)
	}
	tell(fixtureFault, record.FaultInjected, "SIGSTOP")
	if !dmg.unproven {
		tell(fixtureFault+20*time.Millisecond, record.FaultProven, "state T")
	}
	if dmg.noticed {
		say(fixtureFault+time.Second, record.Unready, "a")
		say(fixtureFault+4*time.Second, record.Ready, "a")
	}
	if dmg.evicts {
		say(fixtureFault+1500*time.Millisecond, record.Unready, "b")
		say(fixtureFault+2500*time.Millisecond, record.Ready, "b")
	}
	if !dmg.outlives {
		tell(fixtureFault+3*time.Second, record.FaultHealed, "state S")
	}
	if dmg.targetFails {
		say(14*time.Second, record.ActionFailed, "")
	}
	slices.SortStableFunc(d.Events, func(a, b record.Event) int { return int(a.At - b.At) })
	for k := range 2000 {
		at := time.Duration(k+1) * time.Second / rate
		s := record.Sample{Seq: uint64(k), Stream: "keepalive-get", Expect: record.Serve, Intended: at, Sent: at, Done: at + time.Millisecond,
			Class: record.OK, Status: 200, Attempts: 1, Instance: []string{"a", "b"}[k%2], Revision: "r1"}
		if at > fixtureFault && dmg.lost > 0 && s.Instance == "a" {
			s.Class, s.Status, s.Done = record.Timeout, 0, at+time.Second
			dmg.lost--
		}
		if k%50 == 49 {
			if s.Expect, s.Class, s.Status = record.Deny, record.OK, 403; dmg.breaches > 0 && at > fixtureFault {
				s.Class, s.Status = record.HTTPStatus(200), 200
				dmg.breaches--
			}
		}
		d.Samples = append(d.Samples, s)
		if k%10 == 0 {
			d.Reference = append(d.Reference, s)
		}
	}
	for at := time.Duration(0); at < load; at += 50 * time.Millisecond {
		for _, id := range []string{"a", "b"} {
			frozen := id == "a" && at >= fixtureFault && at < fixtureFault+3*time.Second
			d.Probes = append(d.Probes, record.ProbeResult{At: at, Took: time.Millisecond, Instance: id, Revision: "r1", OK: !frozen, Class: record.OK})
		}
	}
	return d
}

// suiteRun is a run of a suite of three scenarios: what naive and shallow cannot, stack-aware can.
func suiteRun(t *testing.T) *judge.Run {
	t.Helper()
	good := damage{lost: 40, noticed: true}
	limits := func(name string, limit float64) record.Gate {
		return record.Gate{Design: "stack-aware", Metric: name, Op: "<=", Limit: limit}
	}
	desc := record.Run{Schema: record.RunSchema, ID: "20261127-150405-chaos", Command: "rollout-lab run --suite chaos", LeftOut: []record.LeftOut{
		{Scenario: "node-drain", Driver: "process", Why: "fault node-drain on process: not supported by this driver"},
	}, Scenarios: []record.Scenario{
		{Name: "freeze-one", Suite: "chaos", Rate: 100, Action: "none", Replicas: 2, Designs: []string{"naive", "stack-aware"}, Positive: []string{"naive"},
			Gates: []record.Gate{limits(metric.Detection, 2000), limits("failed", 60), limits(metric.FalseEvictions, 0)}},
		{Name: "dependency-outage", Suite: "chaos", Rate: 100, Action: "none", Replicas: 2, Designs: []string{"deep-readiness", "shallow", "stack-aware"},
			Gates: []record.Gate{limits(metric.FalseEvictions, 0), limits(metric.Breaches, 0)}},
		{Name: "revoke-under-stall", Suite: "chaos", Rate: 100, Action: "none", Replicas: 2, Designs: []string{"naive", "deep-readiness", "stack-aware"},
			Gates: []record.Gate{limits(metric.Breaches, 0)}},
	}}
	var trials []judge.Trial
	add := func(scenario, design string, dmg damage) {
		for n := 1; n <= 2; n++ {
			trials = append(trials, judge.Measure(faultedTrial(scenario, design, n, dmg)))
		}
	}
	add("freeze-one", "naive", damage{lost: 150})
	add("freeze-one", "stack-aware", good)
	add("dependency-outage", "deep-readiness", damage{noticed: true, evicts: true})
	add("dependency-outage", "shallow", good)
	add("dependency-outage", "stack-aware", good)
	add("revoke-under-stall", "naive", damage{breaches: 3, noticed: true})
	add("revoke-under-stall", "deep-readiness", damage{unproven: true, noticed: true})
	add("revoke-under-stall", "stack-aware", good)
	run := judge.Judge(desc, &record.RunEnd{Duration: 20 * time.Minute}, nil, trials)
	return &run
}

func TestSuiteGoldens(t *testing.T) {
	run := suiteRun(t)
	golden(t, "suite-terminal.txt", []byte(terminalText(t, run, TerminalOptions{Width: 80})))
	golden(t, "suite.md", []byte(markdownText(t, run, MarkdownOptions{})))
	page := htmlText(t, run)
	for _, want := range []string{`<td class="fail"><strong>✗ breaks</strong>`, `<td class="inconclusive"><strong>? not known</strong><span class="note why">no valid trial</span></td>`,
		`<td class="soft"><strong>-</strong></td>`, `detection <a class="bad" href="#def-detection">never</a>`, `<span class="note why">breaches &lt;= 0: 3 in trial 1, the worst of 2 trials</span>`} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	// What was left out is in every report: a pass says nothing of it.
	const without = "node-drain on process, of which the run shows nothing: fault node-drain on process: not supported by this driver"
	if !bytes.Contains(page, []byte("<li>"+without)) {
		t.Errorf("the page does not say %q", without)
	}
	if got, want := Results(run).LeftOut, []LeftOut{{"node-drain", "process", "fault node-drain on process: not supported by this driver"}}; !slices.Equal(got, want) {
		t.Errorf("results.json has left out %v, want %v", got, want)
	}
	if got, want := bytes.Count(page, []byte("✓ survives")), 4; got != want {
		t.Errorf("the page says of %d cells that they survive, want %d", got, want)
	}
}

// What was left out is told as well where one scenario is all that remains, and no matrix.
func TestLeftOutOfASuiteOfOne(t *testing.T) {
	run := missedRun()
	run.Record.LeftOut = []record.LeftOut{{Scenario: "node-drain", Driver: "process", Why: "no <nodes>"}}
	if len(suites(run)) > 0 {
		t.Fatal("there is a matrix")
	}
	const want = "<li>node-drain on process, of which the run shows nothing: no &lt;nodes&gt;</li>"
	if page := htmlText(t, run); !bytes.Contains(page, []byte(want)) {
		t.Errorf("the page does not contain %q", want)
	}
}

// Whatever a run came to, its matrix, its verdict, junit.xml and results.json agree, and nothing
// looks like survival that is not shown to be.
func TestNothingContradictsTheSuite(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	coin := func(n int) bool { return rng.IntN(n) == 0 }
	outcomes := make(map[judge.Survival]int)
	verdicts := make(map[judge.Verdict]int)
	for range 60 {
		run := randomSuiteRun(rng, coin)
		verdicts[run.Verdict]++
		junit := parseJUnit(t, junitText(t, run))
		if red := junit.Failures > 0; red != (run.Verdict == judge.Fail) || (run.Verdict == judge.Pass) != (junit.Failures+junit.Errors == 0) {
			t.Errorf("verdict %s, junit.xml has %d failures and %d errors", run.Verdict, junit.Failures, junit.Errors)
		}
		text := terminalText(t, run, TerminalOptions{Width: 80})
		for i, s := range run.Suites() {
			doc := Results(run).Suites[i]
			survive := 0
			for j, sc := range s.Scenarios {
				for k, c := range sc.Cells {
					outcomes[c.Survival]++
					agree(t, run, sc.Scenario, c)
					if got := doc.Scenarios[j].Cells[k]; got.Survival != c.Survival || c.Survival == judge.Survives && got.Lost == nil {
						t.Errorf("results.json has %+v of %+v", got, c)
					}
					if c.Survival == judge.Survives {
						survive++
					}
				}
			}
			if at := strings.Index(text, suiteTitle(s)); len(s.Scenarios) > 1 && strings.Count(strings.Split(text[at:], "scenario ")[0], " survives  ") > survive+1 {
				t.Errorf("%d survive, the terminal says:\n%s", survive, text[at:])
			}
		}
	}
	for _, v := range []judge.Survival{judge.Survives, judge.Breaks, judge.Undecided, judge.NotTested} {
		if outcomes[v] == 0 {
			t.Errorf("no cell was %s: %v", v, outcomes)
		}
	}
	for _, v := range []judge.Verdict{judge.Pass, judge.Fail, judge.Inconclusive} {
		if verdicts[v] == 0 {
			t.Errorf("no run was a %s: %v", v, verdicts)
		}
	}
}

func randomSuiteRun(rng *rand.Rand, coin func(n int) bool) *judge.Run {
	desc := record.Run{Schema: record.RunSchema, ID: "r"}
	end := &record.RunEnd{Duration: time.Minute}
	var trials []judge.Trial
	calm := coin(2) // nothing goes wrong in such a run
	for i := range 2 + rng.IntN(2) {
		s := record.Scenario{Name: fmt.Sprint("s", i), Suite: "chaos", Rate: 100, Action: "none", Replicas: 2, Designs: []string{"good"}}
		for _, name := range []string{metric.FalseEvictions, metric.Breaches, metric.Detection, "failed"} {
			if limit := map[string]float64{metric.Detection: 2000, "failed": 60}[name]; coin(2) {
				s.Gates = append(s.Gates, record.Gate{Design: "good", Metric: name, Op: "<=", Limit: limit})
			}
		}
		for _, design := range []string{"bad", "odd"} {
			if coin(2) {
				s.Designs = append(s.Designs, design)
			}
		}
		if coin(4) && slices.Contains(s.Designs, "bad") {
			s.Positive = []string{"bad"}
			s.Gates = append(s.Gates, record.Gate{Design: "bad", Metric: "failed", Op: ">=", Limit: 1})
		}
		for _, design := range s.Designs {
			if !calm && coin(8) {
				end.Skipped = append(end.Skipped, record.Skipped{Scenario: s.Name, Driver: "process", Design: design, Why: "no", ByTarget: coin(2)})
				if coin(2) {
					continue
				}
			}
			for n := 1; n <= 1+rng.IntN(2); n++ {
				dmg := damage{lost: rng.IntN(2) * 40, noticed: true}
				if design != "good" && coin(2) {
					dmg = damage{lost: 150, evicts: coin(2), breaches: rng.IntN(2)}
				}
				if !calm {
					dmg.evicts, dmg.unproven, dmg.outlives, dmg.targetFails = coin(8), coin(8), coin(10), coin(12)
				}
				trials = append(trials, judge.Measure(faultedTrial(s.Name, design, n, dmg)))
			}
		}
		desc.Scenarios = append(desc.Scenarios, s)
	}
	run := judge.Judge(desc, end, nil, trials)
	return &run
}

// agree holds a cell of a suite against what the run says elsewhere.
func agree(t *testing.T, run *judge.Run, scenario string, c judge.SuiteCell) {
	t.Helper()
	s := run.Record.Scenarios[slices.IndexFunc(run.Record.Scenarios, func(s record.Scenario) bool { return s.Name == scenario })]
	tested := slices.Contains(s.Designs, c.Design)
	if tested == (c.Survival == judge.NotTested) {
		t.Errorf("%s %s: %s, of designs %v", scenario, c.Design, c.Survival, s.Designs)
	}
	limited, known := false, slices.Contains(s.Positive, c.Design)
	for _, g := range run.Gates {
		if !strings.HasPrefix(g.Cell, scenario+"/") || g.Gate.Design != c.Design || g.Gate.Op != "<=" {
			continue
		}
		limited = true
		if c.Survival == judge.Survives && g.Verdict != judge.Pass {
			t.Errorf("%s %s survives, and its gate on %s is %s", scenario, c.Design, g.Gate.Metric, g.Verdict)
		}
	}
	switch c.Survival {
	case judge.Survives:
		if c.Cell == nil || c.Cell.Totals().Valid == 0 || c.Cell.Totals().Invalid > 0 || slices.ContainsFunc(c.Cell.Trials, func(t judge.Trial) bool { return len(t.Failures) > 0 || !t.Valid }) {
			t.Errorf("%s %s survives without the data for it: %+v", scenario, c.Design, c.Cell)
		}
		if slices.ContainsFunc(run.End.Skipped, func(sk record.Skipped) bool { return sk.Scenario == scenario && sk.Design == c.Design }) {
			t.Errorf("%s %s survives, and not all of it was run", scenario, c.Design)
		}
	case judge.Breaks:
		if limited && !known && run.Verdict != judge.Fail {
			t.Errorf("%s %s breaks a limit of its own, and the run is a %s", scenario, c.Design, run.Verdict)
		}
	case judge.Undecided:
		if run.Verdict == judge.Pass {
			t.Errorf("%s %s is not known, and the run is a pass: %v", scenario, c.Design, c.Why)
		}
	}
	if run.Verdict == judge.Pass && limited && c.Survival != judge.Survives {
		t.Errorf("the run is a pass, and %s %s is %s: %v", scenario, c.Design, c.Survival, c.Why)
	}
}

func TestWhatSurvives(t *testing.T) {
	gate := func(design, name, op string, limit float64) record.Gate {
		return record.Gate{Design: design, Metric: name, Op: op, Limit: limit}
	}
	good := damage{noticed: true, lost: 40}
	for _, tc := range []struct {
		name   string
		gates  []record.Gate
		trials []damage
		want   judge.Survival
		why    string
	}{
		{"its own limit", []record.Gate{gate("d", "failed", "<=", 80), gate("other", "failed", "<=", 0)}, []damage{good}, judge.Survives, ""},
		{"that of another", []record.Gate{gate("other", "failed", "<=", 0)}, []damage{good}, judge.Breaks, "failed <= 0: 40 in trial 1"},
		{"to be bad is no virtue", []record.Gate{gate("d", "failed", ">=", 1), gate("other", "failed", "<=", 0)}, []damage{good}, judge.Breaks, "failed <= 0: 40 in trial 1"},
		{"no limit, and nothing lost", nil, []damage{{noticed: true}}, judge.Survives, ""},
		{"no limit, and something lost", nil, []damage{good}, judge.Breaks, "40 of 1,000 requests failed"},
		{"no limit, and harm done", nil, []damage{{noticed: true, evicts: true}}, judge.Breaks, "it served 0 requests that had to be denied, and 1 instance was evicted for nothing"},
		{"never noticed", []record.Gate{gate("d", metric.Detection, "<=", 80)}, []damage{{}}, judge.Breaks, "detection <= 80 ms: not every instance that a fault was done to was noticed, or none of them was routed to in trial 1"},
		{"no proof", []record.Gate{gate("d", "failed", "<=", 80)}, []damage{{unproven: true}}, judge.Undecided, "no valid trial"},
		{"no proof in one of two", []record.Gate{gate("d", "failed", "<=", 80)}, []damage{good, {unproven: true}}, judge.Undecided, "failed <= 80: 40 in trial 1, but not every planned trial is valid"},
		{"no proof in one of two, and no limit", nil, []damage{{}, {unproven: true}}, judge.Undecided, "not every planned trial is valid"},
		{"the target failed", []record.Gate{gate("d", "failed", "<=", 80)}, []damage{good, {targetFails: true}}, judge.Breaks, "trial 2: the action failed: "},
		{"let somebody in, in a trial that does not count", []record.Gate{gate("d", metric.Breaches, "<=", 0)}, []damage{{breaches: 2, unproven: true}}, judge.Breaks, "breaches <= 0: 2 in trial 1, which is invalid otherwise"},
	} {
		sc := record.Scenario{Name: "s", Suite: "chaos", Designs: []string{"d"}, Gates: tc.gates}
		var trials []judge.Trial
		for i, dmg := range tc.trials {
			trials = append(trials, judge.Measure(faultedTrial("s", "d", i+1, dmg)))
		}
		run := judge.Judge(record.Run{Scenarios: []record.Scenario{sc}}, &record.RunEnd{}, nil, trials)
		cell := run.Suites()[0].Scenarios[0].Cells[0]
		if got := suiteWhy(cell); cell.Survival != tc.want || got != tc.why {
			t.Errorf("%s: %s, %q, want %s, %q", tc.name, cell.Survival, got, tc.want, tc.why)
		}
	}
}

// What survives gathers in one corner: a reader sees at once which design to choose.
func TestTheOrderOfASuite(t *testing.T) {
	s := suiteRun(t).Suites()[0]
	var order []string
	for _, sc := range s.Scenarios {
		order = append(order, sc.Scenario)
	}
	if got, want := fmt.Sprint(s.Designs), "[stack-aware shallow deep-readiness naive]"; got != want {
		t.Errorf("designs %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(order), "[dependency-outage freeze-one revoke-under-stall]"; got != want {
		t.Errorf("scenarios %s, want %s", got, want)
	}
}
