package reports

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// customRun is a service of somebody's own that closes its port when it is told to stop.
func customRun() judge.Run {
	window := timeline.Span{From: 3 * time.Second, To: 11 * time.Second}
	t := judge.Trial{Meta: record.Trial{Scenario: "hello", Driver: "process", Action: "rollout", Design: "service", N: 1, Rate: 100, LabBalancer: true,
		WindowFrom: window.From, WindowTo: window.To, Revisions: record.Revisions{Before: "v1", After: "v2"}, Checks: record.Checks{Every: 200 * time.Millisecond, Rise: 1, Fall: 2}},
		Values: map[string]float64{metric.Completed: 1},
		Valid:  true, Window: window, Planned: 1200, Sent: 1200, OK: 1172, Failed: 28, SuccessRate: 1172.0 / 1200, Downtime: 280 * time.Millisecond,
		Causes: []judge.CauseCount{
			{Cause: judge.AfterStop, Count: 27, From: 203 * time.Millisecond, To: 904 * time.Millisecond, Instances: []string{"service-1", "service-2"}, Revision: "v1", Class: "http_502", Reason: "connect refused"},
			{Cause: judge.ConnectionClosed, Count: 1, From: 300 * time.Millisecond, To: 300 * time.Millisecond, Instances: []string{"service-1"}, Revision: "v1", Class: record.EOF},
		}}
	desc := record.Run{ID: "r", Command: "rollout-lab run hello.yaml", Scenarios: []record.Scenario{{Name: "hello", Action: "rollout", Designs: []string{"service"},
		Gates: []record.Gate{{Design: "service", Metric: "failed", Op: "<=", Limit: 0}}}}}
	return judge.Judge(desc, &record.RunEnd{Duration: time.Minute}, nil, []judge.Trial{t})
}

// lateRun is one in which the machine sent the load late whenever one design was measured.
func lateRun() *judge.Run {
	run := fixtureRun()
	c := &run.Cells[1]
	c.Trials = c.Trials[:3]
	for i, late := range []time.Duration{52, 101, 73} {
		t := &c.Trials[i]
		t.Valid, t.InvalidReasons = false, []judge.Reason{{Kind: judge.LoadLate, Time: late * time.Millisecond, Limit: 50 * time.Millisecond}}
		if i > 0 {
			t.Meta.Repeats = 1
		}
		run.Reasons = append(run.Reasons, judge.Reason{Kind: judge.TrialInvalid, Cell: c.Key(), Trial: t.Meta.N, Because: t.InvalidReasons})
	}
	estimate(c)
	run.Verdict = judge.Inconclusive
	for i := range run.Gates {
		run.Gates[i].NoValue, run.Gates[i].Verdict, run.Gates[i].Why = true, judge.Inconclusive, judge.Reason{Kind: judge.NoValidTrial}
		run.Reasons = append([]judge.Reason{{Kind: judge.GateUnclear, Cell: c.Key(), Gate: &run.Gates[i].Gate, Because: []judge.Reason{run.Gates[i].Why}}}, run.Reasons...)
	}
	return run
}

// messages are those of the failures and errors in a junit.xml.
func messages(t *testing.T, raw []byte) (all []string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(raw))
	for {
		token, err := d.Token()
		if err != nil {
			return all
		}
		if e, ok := token.(xml.StartElement); ok && (e.Name.Local == "failure" || e.Name.Local == "error") {
			all = append(all, attrOfXML(e, "message"))
		}
	}
}

func attrOfXML(e xml.StartElement, key string) string {
	for _, a := range e.Attr {
		if a.Name.Local == key {
			return a.Value
		}
	}
	return ""
}

// Why a run came out as it did and what to do is the same sentence in the terminal, on the
// page, in junit.xml and in results.json.
func TestTheCauseIsTheSameEverywhere(t *testing.T) {
	for name, tc := range map[string]struct {
		run  *judge.Run
		says []string
	}{
		"fail": {new(customRun()), []string{
			"27 of 28 lost requests went to old instances service-1 and service-2 (v1) after SIGTERM, 0.203 to 0.904 s into the rollout: their ports were closed before the balancer had taken them out (2 checks x 200 ms).",
			"On SIGTERM fail the readiness check at once, and serve on for longer than 2 checks x 200 ms before closing (by itself, or by a pre_stop that waits)."}},
		"inconclusive": {lateRun(), []string{
			"tack-aware could not be measured: this machine sent the load late three times (p99 52 to 101 ms, limit 50 ms)",
			"Try --rate 500, or a quieter machine."}},
	} {
		t.Run(name, func(t *testing.T) {
			head := sections(t, htmlText(t, tc.run), "verdict")
			outputs := map[string]string{"terminal": terminalText(t, tc.run, TerminalOptions{Width: 10_000}), "the page's head": head, "results.json": Results(tc.run).Reasons[0]}
			for i, m := range messages(t, junitText(t, tc.run)) {
				if i == 0 || name == "inconclusive" {
					outputs["junit.xml: "+m] = m
				}
			}
			for where, text := range outputs {
				at := 0
				for _, want := range tc.says {
					i := strings.Index(text[at:], want)
					if i < 0 {
						t.Errorf("%s does not say, in this order, %q:\n%s", where, want, text[:min(len(text), 3000)])
						break
					}
					at += i
				}
			}
		})
	}
}

// An inconclusive run leads with why it is one, never with what was lost, and says the way
// out.
func TestInconclusiveLeadsWithItsReason(t *testing.T) {
	trial := func(n int, why ...judge.Reason) judge.Trial {
		t := counted("rollout", "process", "good", n, 3)
		t.Meta.Rate, t.Meta.WindowFrom, t.Meta.WindowTo = 500, 5*time.Second, 10*time.Second
		t.Valid, t.InvalidReasons = len(why) == 0, why
		return t
	}
	again := func(t judge.Trial) judge.Trial { t.Meta.Repeats = 1; return t }
	gate := []record.Gate{{Design: "good", Metric: "success_rate", Op: ">=", Limit: 0.9999}}
	ms := time.Millisecond
	perfect := trial(1)
	perfect.Planned, perfect.Sent, perfect.OK, perfect.Failed = 10_000, 10_000, 10_000, 0
	for _, tc := range []struct {
		name   string
		gates  []record.Gate
		end    *record.RunEnd
		trials []judge.Trial
		why    string
		do     string
	}{
		{"the machine is busy", gate, &record.RunEnd{}, []judge.Trial{trial(1, judge.Reason{Kind: judge.LoadLate, Time: 52 * ms, Limit: 50 * ms}),
			again(trial(2, judge.Reason{Kind: judge.LoadLate, Time: 101 * ms, Limit: 50 * ms})), again(trial(3, judge.Reason{Kind: judge.LoadLate, Time: 73 * ms, Limit: 50 * ms}))},
			"good could not be measured: this machine sent the load late three times (p99 52 to 101 ms, limit 50 ms)", "Try --rate 250, or a quieter machine."},
		{"once", gate, &record.RunEnd{}, []judge.Trial{trial(1, judge.Reason{Kind: judge.LoadLate, Time: 52 * ms, Limit: 50 * ms})},
			"good could not be measured: this machine sent the load late (p99 52 ms, limit 50 ms)", "Try --rate 250, or a quieter machine."},
		{"the action takes too long", gate, &record.RunEnd{}, []judge.Trial{trial(1, judge.Reason{Kind: judge.ActionOutlasted, Time: 400 * ms})},
			"good could not be measured: the action completed 400 ms after the window had ended", "Try --window 6s."},
		{"both", gate, &record.RunEnd{}, []judge.Trial{trial(1, judge.Reason{Kind: judge.ActionOutlasted, Time: 5920 * ms}, judge.Reason{Kind: judge.LoadLate, Time: 61 * ms, Limit: 50 * ms})},
			"good could not be measured: the action completed 5.92 s after the window had ended, and this machine sent the load late (p99 61 ms, limit 50 ms)", "Try --window 12s. Try --rate 250, or a quieter machine."},
		{"no CPU to spare", gate, &record.RunEnd{}, []judge.Trial{trial(1, judge.Reason{Kind: judge.ReferenceDisagrees}, judge.Reason{Kind: judge.MachineSaturated, Tally: judge.Tally{N: 2, Of: 3}, Time: 2200 * ms, Value: 333.3})},
			"good could not be measured: the machine had no CPU to spare for 2.20 s of the window, and 2 of 3 lost requests may be lost by that", "Try --rate 330, or a quieter machine. Where that is the question, say load.saturation: allowed."},
		{"interrupted", gate, &record.RunEnd{Interrupted: true}, []judge.Trial{trial(1, judge.Reason{Kind: judge.TrialInterrupted, Time: time.Second})},
			"the run was interrupted", "Run it again to its end."},
		{"no driver", gate, &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "docker", Design: "good", Why: "no engine", Unavailable: true}}}, nil,
			"rollout/docker/good was not run: no engine", "rollout-lab doctor says what is missing."},
		{"no driver, with a hint", gate, &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "docker", Design: "good", Why: "no engine", Hint: "start it", Unavailable: true}}}, nil,
			"rollout/docker/good was not run: no engine", "Start it. rollout-lab doctor says what is missing."},
		{"not deployed", gate, &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "process", Design: "good", Why: "an image", Hint: "use another driver"}}}, nil,
			"rollout/process/good was not run: an image", "Use another driver."},
		{"not deployed, without a hint", gate, &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "process", Design: "good", Why: "no room"}}}, nil,
			"rollout/process/good was not run: no room", "Mend that, and run it again."},
		{"too few", gate, &record.RunEnd{}, []judge.Trial{perfect},
			"rollout/process/good: success_rate >= 99.99 %: 10,000 of 10,000 requests were ok (100 %), and anything from 99.97 to 100 % fits that if failures were independent: too few to tell", "More trials decide it: try --trials 3."},
		{"nothing asked for", nil, &record.RunEnd{}, []judge.Trial{trial(1)}, "no gate was set, so there is nothing to pass", "Put a gate into the scenario, such as {design: NAME, metric: failed, op: <=, limit: 0}."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"good"}, Gates: tc.gates}}}, tc.end, nil, tc.trials)
			if run.Verdict != judge.Inconclusive {
				t.Fatalf("got %s: %v", run.Verdict, run.Reasons)
			}
			if got := headline(&run); got != tc.why {
				t.Errorf("it leads with %q, want %q", got, tc.why)
			}
			if got := adviseOnRun(&run).Do; got != tc.do {
				t.Errorf("the way out is %q, want %q", got, tc.do)
			}
		})
	}
}

// Two designs that could not be measured for different things are both said, the one that a
// gate is set on first; the way out of both is said once.
func TestEveryDesignThatCouldNotBeMeasuredIsSaid(t *testing.T) {
	late := judge.Reason{Kind: judge.LoadLate, Time: 128 * time.Millisecond, Limit: 50 * time.Millisecond}
	long := judge.Reason{Kind: judge.ActionOutlasted, Time: 6130 * time.Millisecond}
	invalid := func(design string, why ...judge.Reason) judge.Trial {
		t := counted("rollout", "process", design, 1, 0)
		t.Meta.WindowTo = 8 * time.Second
		t.Valid, t.InvalidReasons = false, why
		return t
	}
	run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"naive", "aware"}, Gates: []record.Gate{{Design: "aware", Metric: "failed", Op: "<="}}}}},
		&record.RunEnd{}, nil, []judge.Trial{invalid("naive", late), invalid("aware", long, late)})
	want := advice{"aware could not be measured: the action completed 6.13 s after the window had ended, and this machine sent the load late (p99 128 ms, limit 50 ms); naive could not be measured: this machine sent the load late (p99 128 ms, limit 50 ms)",
		"Try --window 15s. Try --rate 500, or a quieter machine."}
	if got := adviseOnUnclear(&run); got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// What a discarded trial lost is said beside the verdict, also where no trial is valid.
func TestNoLossIsLeftOut(t *testing.T) {
	late := counted("rollout", "process", "good", 1, 31)
	late.Causes = []judge.CauseCount{{Cause: judge.TooSlow, Count: 31, Class: record.Timeout}}
	late.Valid, late.InvalidReasons = false, []judge.Reason{{Kind: judge.LoadLate, Time: 76 * time.Millisecond, Limit: 50 * time.Millisecond}}
	run := judge.Judge(record.Run{}, &record.RunEnd{}, nil, []judge.Trial{late})
	want := "good lost 31 in discarded trials of rollout on process; in trial 1, all 31 lost requests were not answered by an instance, 0.000 s into the rollout"
	if got := strings.Join(lossesBeside(&run), "|"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := terminalText(t, &run, TerminalOptions{Width: 10_000}); !strings.Contains(text, "\n  - "+want+"\n") {
		t.Errorf("the terminal does not say it:\n%s", text)
	}
}

// What the harness itself lost is said to be so.
func TestLossesOfTheHarnessAreNotTheTargets(t *testing.T) {
	for _, tc := range []struct {
		own, unsent uint64
		want        string
	}{
		{1000, 0, ", all by the harness itself"}, {960, 0, ", nearly all by the harness itself"}, {950, 0, ""},
		{960, 500, ""}, // those never sent are not among the lost, and the harness's own are 460 of 500
	} {
		late := counted("rollout", "process", "good", 1, 1000)
		late.Valid, late.Sent = false, late.Planned-tc.unsent
		late.Causes = []judge.CauseCount{{Cause: judge.OfHarness, Count: tc.own}, {Cause: judge.TooSlow, Count: 1000 - tc.own}}
		run := judge.Judge(record.Run{}, &record.RunEnd{}, nil, []judge.Trial{late})
		want := fmt.Sprintf("good lost %s in discarded trials of rollout on process", format.Count(1000-tc.unsent)) + tc.want
		if got := strings.Join(lossesBeside(&run), "|"); got != want {
			t.Errorf("%d of 1,000 by the harness: got %q, want %q", tc.own, got, want)
		}
	}
}

// The name of a cell stays as its user spelt it.
func TestNamesKeepTheirCase(t *testing.T) {
	run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "my-service", Designs: []string{"good"}}}},
		&record.RunEnd{Skipped: []record.Skipped{{Scenario: "my-service", Driver: "docker", Design: "good", Why: "no engine"}}}, nil, nil)
	if got := Results(&run).Reasons[0]; !strings.HasPrefix(got, "my-service/docker/good was not run: no engine. ") {
		t.Errorf("got %q", got)
	}
}

// What was never sent is not what was lost, in the matrix as beside the verdict.
func TestWhatWasNeverSentWasNotLost(t *testing.T) {
	cut := counted("rollout", "process", "good", 1, 31)
	cut.Valid, cut.Sent = false, cut.Planned-20
	run := judge.Judge(record.Run{}, nil, nil, []judge.Trial{cut})
	if got, want := discarded(nil, run.Cells[0].Totals()).text(), "1 trial (lost 11, 20 never sent)"; got != want {
		t.Errorf("the matrix says %q, want %q", got, want)
	}
	if got, want := strings.Join(lossesBeside(&run), "|"), "good lost 11 in discarded trials of rollout on process"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Who sends nothing that must be denied is not told of it.
func TestACustomTargetSeesNoWordsOfProxies(t *testing.T) {
	run := customRun()
	page, _, _ := strings.Cut(string(htmlText(t, &run)), `<script type="application/json"`)
	_, page, _ = strings.Cut(page, "<main>")
	for _, word := range []string{"breach", "denial", "wrongly denied"} {
		for where, text := range map[string]string{"page": page, "terminal": terminalText(t, &run, TerminalOptions{})} {
			if strings.Contains(strings.ToLower(text), word) {
				t.Errorf("the %s has the word %q", where, word)
			}
		}
	}
}

// Whatever a trial is invalid for, there is a way out.
func TestEveryReasonHasAWayOut(t *testing.T) {
	m := &record.Trial{Rate: 1000, WindowFrom: 5 * time.Second, WindowTo: 25 * time.Second}
	for kind := range sentences {
		r := judge.Reason{Kind: kind, Gate: &record.Gate{Metric: "failed", Op: "<="}, Names: []string{"a", "b"}, Time: time.Second}
		for _, same := range [][]judge.Reason{{r}, {r, r}} {
			if a := adviseOnTrials(kind, same, m); a.Why == "" || strings.HasSuffix(a.Why, ".") || !strings.HasSuffix(a.Do, ".") {
				t.Errorf("%s: want a clause and a sentence, got %q and %q", kind, a.Why, a.Do)
			}
		}
	}
	if got := longerWindow(m, 5920*time.Millisecond); got != "--window 27s" {
		t.Errorf("an action that ends 5.92 s after a window of 20 s needs %s, want --window 27s", got)
	}
}

// Where the target failed, the headline says how; what it lost meanwhile has its cause.
func TestAFailureOfTheTargetIsActedOn(t *testing.T) {
	trial := counted("rollout", "process", "svc", 1, 0)
	trial.Meta.Revisions = record.Revisions{Before: "v1", After: "v2"}
	trial.Failures = []judge.Reason{{Kind: judge.ActionFailed, Text: "rollout to v2: 0 of 2 instances of revision v2 are ready: svc-3: last check: 503 waiting for migrations"}}
	lossy := trial
	lossy.OK, lossy.Failed = trial.Planned-7, 7
	lossy.Causes = []judge.CauseCount{{Cause: judge.NoInstance, Count: 7, From: time.Second, To: 2 * time.Second, Class: "http_503"}}
	do := "Start v2 by itself and ask it for its signal: it answers 503 waiting for migrations. The rollout did well not to go on."
	for _, tc := range []struct {
		name  string
		trial judge.Trial
		end   *record.RunEnd
		want  advice
	}{
		{"nothing lost", trial, &record.RunEnd{}, advice{"", do}},
		{"lost", lossy, &record.RunEnd{}, advice{"all 7 lost requests found nobody to go to, 1.000 to 2.000 s into the rollout: no instance was called ready.", do}},
		{"at deploy", counted("rollout", "process", "other", 1, 0), &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "process", Design: "svc", Why: "it answers 404", ByTarget: true}}},
			advice{"", "Start one instance by itself and send it the request of the scenario: its path, its status, the port that it listens on."}},
		{"at deploy, with a hint", counted("rollout", "process", "other", 1, 0), &record.RunEnd{Skipped: []record.Skipped{{Scenario: "rollout", Driver: "process", Design: "svc", Why: "certificate signed by unknown authority", Hint: "see target.tls: whom to trust (ca)", ByTarget: true}}},
			advice{"", "See target.tls: whom to trust (ca)."}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "rollout", Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<=", Limit: 10}}}}}, tc.end, nil, []judge.Trial{tc.trial})
			if run.Verdict != judge.Fail {
				t.Fatalf("got %s: %v", run.Verdict, run.Reasons)
			}
			if got := adviseOnRun(&run); got != tc.want {
				t.Errorf("\n got %q\nwant %q", got, tc.want)
			}
			if got := messages(t, junitText(t, &run)); tc.name == "at deploy" && len(got) > 0 && strings.Contains(got[0], "--design") {
				t.Errorf("a design that did not serve was not left out by --design: %q", got)
			}
			if got := messages(t, junitText(t, &run)); len(got) == 0 || !strings.HasSuffix(got[0], tc.want.Do) {
				t.Errorf("junit.xml does not end with what to do: %q", got)
			}
		})
	}
}

// A long failure has its gist in the headline and the rest behind it; nothing is said twice,
// nor is the user sent to what an instance did not say.
func TestALongFailureIsToldOnce(t *testing.T) {
	const gist, rest = "rollout/process/svc failed in trial 1: the action failed: rollout to v2: 0 of 2 instances of revision v2 are ready", "waiting for svc-1 of revision v1 to be replaced, svc-3 to be ready (%s): rollout did not complete within 8s."
	for said, do := range map[string]string{
		"last check: 503 ": "ask it for its signal: it answers 503",
		"last check: dial tcp 127.0.0.1:1: connect: connection refused":                       "ask it for its signal, which nobody answers",
		"process ended: exit status 3, last output: panic: no config, ended 8 times in a row": "mend what it last said, above",
		"no check so far": "see in its log why it is not ready",
	} {
		trial := counted("rollout", "process", "svc", 1, 0)
		trial.Meta.Revisions = record.Revisions{Before: "v1", After: "v2"}
		why := fmt.Sprintf(rest, said)
		trial.Failures = []judge.Reason{{Kind: judge.ActionFailed, Text: "rollout to v2: 0 of 2 instances of revision v2 are ready; " + strings.TrimSuffix(why, ".")}}
		run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "rollout", Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}}}}}, &record.RunEnd{}, nil, []judge.Trial{trial})
		if got, want := headline(&run), gist+"; svc lost 0 of 20,000 requests in rollout on process"; got != want {
			t.Errorf("the headline\n got %q\nwant %q", got, want)
		}
		if got, want := adviseOnRun(&run), (advice{why, "Start v2 by itself and " + do + ". The rollout did well not to go on."}); got != want {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
		text := terminalText(t, &run, TerminalOptions{Width: 10_000})
		verdict, _, _ := strings.Cut(text, "\n\n")
		for _, m := range append(messages(t, junitText(t, &run)), verdict) {
			if strings.Count(m, "did not complete within 8s") != 1 || strings.Count(m, "0 of 2 instances") != 1 {
				t.Errorf("not said once:\n%s", m)
			}
		}
	}
}

// Trials that fail alike are counted, and those that fail otherwise are said.
func TestTrialsThatFailAlikeAreCounted(t *testing.T) {
	fails := func(n int, text string) judge.Trial {
		trial := counted("rollout", "process", "svc", n, 0)
		trial.Failures = []judge.Reason{{Kind: judge.ActionFailed, Text: text}}
		return trial
	}
	run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"svc"}, Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}}}}}, &record.RunEnd{}, nil,
		[]judge.Trial{fails(1, "0 of 2 are ready; ended 17 times"), fails(2, "0 of 2 are ready; ended 18 times"), fails(3, "1 of 2 is ready; ended 3 times")})
	text := terminalText(t, &run, TerminalOptions{Width: 1000})
	for says, want := range map[string]int{"ended 17 times, as in 1 more trial, and the target failed in 1 other way; svc lost": 1, "0 of 2 are ready": 1, "ended 18 times": 0, "failed in trial 3: the action failed: 1 of 2 is ready": 1} {
		if got := strings.Count(text, says); got != want {
			t.Errorf("%q is said %d times, want %d:\n%s", says, got, want, text)
		}
	}
}

// A gate on breaches that is missed for those of an invalid trial speaks of them.
func TestBreachesOfAnInvalidTrialAreSaid(t *testing.T) {
	breached, repeat := counted("rollout", "process", "good", 1, 0), counted("rollout", "process", "good", 2, 0)
	breached.Valid, breached.InvalidReasons = false, []judge.Reason{{Kind: judge.LoadLate}}
	breached.Breaches, breached.Denials, repeat.Denials, repeat.Meta.Repeats = 3, 400, 400, 1
	run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"good"}, Gates: []record.Gate{{Design: "good", Metric: "breaches", Op: "<="}}}}},
		&record.RunEnd{}, nil, []judge.Trial{breached, repeat})
	if got, want := adviseOnRun(&run).Why, "3 of 800 requests that had to be denied were served."; run.Verdict != judge.Fail || got != want {
		t.Errorf("%s: %q, want %q", run.Verdict, got, want)
	}
}

// Of a trial that was interrupted nothing is said that only follows from that.
func TestAnInterruptIsNoDisagreement(t *testing.T) {
	interrupted := judge.Reason{Kind: judge.TrialInterrupted, Time: 6710 * time.Millisecond}
	unsent := judge.Reason{Kind: judge.LoadIncomplete, Tally: judge.Tally{N: 670, Of: 1199}}
	disagrees := judge.Reason{Kind: judge.ReferenceDisagrees, Tally: judge.Tally{N: 101, Of: 101}, Lo: 0.9275, Hi: 1, Load: judge.Tally{N: 370, Of: 800}}
	trial := judge.Trial{InvalidReasons: []judge.Reason{{Kind: judge.TrialError, Text: "interrupted"}, interrupted, unsent, disagrees}}
	if got, want := invalidity(&judge.Cell{}, &trial), "the trial was interrupted after 6.71 s; 670 of 1,199 planned requests were sent"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	trial.InvalidReasons = []judge.Reason{unsent, disagrees}
	if got := invalidity(&judge.Cell{}, &trial); !strings.Contains(got, "disagrees") {
		t.Errorf("a disagreement without an interrupt is not said: %q", got)
	}
}

// What is repeated twice is said once.
func TestRepeatsAreSaidOnce(t *testing.T) {
	run := lateRun()
	c := &run.Cells[1]
	if got := invalidity(c, &c.Trials[0]); !strings.HasSuffix(got, " (repeated as trials 2 and 3)") {
		t.Errorf("got %q", got)
	}
}
