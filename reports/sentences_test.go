package reports

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// kinds are the kinds of reasons that judge declares, read from its source: a new one must
// have a sentence.
func kinds(t *testing.T) (all []judge.Kind) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../internal/judge/reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := v.Type.(*ast.Ident); ok && of.Name == "Kind" {
			kind, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, judge.Kind(kind))
		}
		return true
	})
	if len(all) < 50 {
		t.Fatalf("only %d kinds found: the search is broken", len(all))
	}
	return all
}

func TestSentences(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	of := func(n, of uint64) judge.Tally { return judge.Tally{N: n, Of: of} }
	gate := &record.Gate{Design: "good", Metric: "recovery", Op: "<=", Limit: 1500}
	late := judge.Reason{Kind: judge.LoadLate, Time: 75830 * time.Microsecond, Limit: 50 * ms}
	pair, before := []string{"good", "bad", "downtime"}, []string{"good", record.PastRuns, "recovery"}
	file, differs := []string{"base.json"}, []record.Difference{{Field: "load.rate", Was: "100", Is: "200"}, {Field: "environment.kernel", Is: "6.1"}}
	tested := map[judge.Kind]bool{}
	paused := []string{"pause", "the oldest instance"}
	for _, tc := range []struct {
		r    judge.Reason
		want string
	}{
		{judge.Reason{Kind: judge.GateMissed, Cell: "s/process/good", Gate: gate, Because: []judge.Reason{{Kind: judge.WorstTrial, Gate: gate, Value: 1500.01, Trial: 2, Tally: of(0, 3)}}},
			"s/process/good: recovery <= 1.50 s: 1.51 s in trial 2, the worst of 3 trials"},
		{judge.Reason{Kind: judge.NoTimeLeft, Tally: of(4, 10), Limit: 90 * s, Time: 200 * s}, "--max-time 90s left no time for 4 trials, of 10 planned"},
		{judge.Reason{Kind: judge.NoTimeLeft, Tally: of(1, 2), Repeats: 2, Limit: 5 * time.Minute}, "--max-time 5m left no time for 1 trial and 2 repeats of invalid trials, of 2 planned"},
		{judge.Reason{Kind: judge.TrialsNotRun}, "there was no time for every planned trial"},
		{judge.Reason{Kind: judge.RateAtMost, Tally: of(59_000, 60_000), Hi: 0.99, Alpha: 0.001, Lossy: of(1, 3)},
			"59,000 of 60,000 requests were ok (98.33 %), which is 99.9 % sure of at most 99.00 % if failures were independent; 1 of 3 trials lost requests"},
		{judge.Reason{Kind: judge.GateUnclear, Cell: "s/good", Gate: gate, Because: []judge.Reason{{Kind: judge.NoSuchDesign}}}, "s/good: recovery <= 1.50 s: no trial of this design was recorded"},
		{judge.Reason{Kind: judge.ControlFailed, Cell: "s/process/bad", Names: []string{"positive"}, Because: []judge.Reason{{Kind: judge.NeverRun}}}, "s/process/bad: the positive control did not hold: it was not run"},
		{judge.Reason{Kind: judge.TrialInvalid, Cell: "s/process/bad", Trial: 4, Because: []judge.Reason{late, {Kind: judge.HarnessFailed, Tally: of(1234, 0)}}},
			"s/process/bad: trial 4 is invalid: the load ran late: p99 of the schedule's lag is 76 ms, more than 50 ms; requests failed by trouble of the harness itself: 1,234"},
		{judge.Reason{Kind: judge.DeployFailed, Cell: "s/process/good", Text: "trial 1: it ended"}, "s/process/good did not serve when it was deployed: trial 1: it ended"},
		{judge.Reason{Kind: judge.TargetFailed, Cell: "s/process/good", Trial: 2, Because: []judge.Reason{{Kind: judge.ActionFailed, Text: "0 of 3 are ready"}}}, "s/process/good failed in trial 2: the action failed: 0 of 3 are ready"},
		{judge.Reason{Kind: judge.RunCutShort}, "the run was cut short: its record has no end"},
		{judge.Reason{Kind: judge.RunInterrupted}, "the run was interrupted"},
		{judge.Reason{Kind: judge.TrialsMissing, Tally: of(4, 6), Names: []string{"a", "b", "c", "d"}}, "4 of 6 planned trials missing: a, b, c and 1 more"},
		{judge.Reason{Kind: judge.CellNotRun, Cell: "s/docker/good", Text: "no daemon"}, "s/docker/good was not run: no daemon"},
		{judge.Reason{Kind: judge.NoTrials}, "no trial was recorded, and no data is no pass"},
		{judge.Reason{Kind: judge.NoGates}, "no gate was set, so there is nothing to pass"},

		{judge.Reason{Kind: judge.TrialCutShort}, "the trial was cut short: its record has no end"},
		{judge.Reason{Kind: judge.TrialError, Text: "no disk"}, "the trial ended with an error: no disk"},
		{judge.Reason{Kind: judge.TrialInterrupted, Time: 9 * s}, "the trial was interrupted after 9.00 s"},
		{judge.Reason{Kind: judge.RecordDamaged, Text: "torn"}, "the record is damaged: torn"},
		{judge.Reason{Kind: judge.EventsLost, Time: 9 * s, Text: "closed"}, "the runtime's events were lost after 9.00 s: closed"},
		{judge.Reason{Kind: judge.ActionFailed, Text: "no room"}, "the action failed: no room"},
		{judge.Reason{Kind: judge.ActionError, Text: "no engine"}, "the runtime did not do the action: no engine"},
		{judge.Reason{Kind: judge.ActionNotStarted}, "the action never started"},
		{judge.Reason{Kind: judge.ActionWithheld, Tally: of(3, 1000)}, "the service was failing before: 3 of 1,000 requests failed in the baseline phase, so the command was not run"},
		{judge.Reason{Kind: judge.NeverCalm, Time: 300 * s}, "requests still failed 5 min 0 s after the command had ended, when the load had to end"},
		{judge.Reason{Kind: judge.NeverQuiet, Time: 300 * s}, "the runtime was still changing something 5 min 0 s after the command had ended, when the load had to end, so what that cost is not all in the numbers"},
		{judge.Reason{Kind: judge.ActionNotCompleted}, "the action never completed"},
		{judge.Reason{Kind: judge.ActionOutlasted, Time: 5875 * ms}, "the action completed 5.88 s after the window had ended, so what it cost is not all in the numbers"},
		{judge.Reason{Kind: judge.NoLoadPlanned}, "no load was planned"},
		{judge.Reason{Kind: judge.NoRequests}, "the record holds no request"},
		{judge.Reason{Kind: judge.LoadIncomplete, Tally: of(19_999, 20_000)}, "19,999 of 20,000 planned requests were sent"},
		{judge.Reason{Kind: judge.RecordIncomplete, Tally: of(19_999, 20_000)}, "the load generator fired 20,000 requests, the record holds 19,999"},
		{late, "the load ran late: p99 of the schedule's lag is 76 ms, more than 50 ms"},
		{judge.Reason{Kind: judge.NotMadeUp, Tally: of(2849, 4030)}, "2,849 of 4,030 lost requests are not shown to be the harness's doing, so a valid repeat is no answer to it"},
		{judge.Reason{Kind: judge.MachineSaturated, Tally: of(361, 387), Time: 2200 * ms},
			"the machine had no CPU to spare for 2.20 s of the window, and 361 of 387 lost requests may be lost by that"},
		{judge.Reason{Kind: judge.HarnessFailed, Tally: of(1, 0)}, "requests failed by trouble of the harness itself: 1"},
		{judge.Reason{Kind: judge.PhaseEmpty, Names: []string{"window"}}, "no request falls into the window"},
		{judge.Reason{Kind: judge.PhaseUncovered, Names: []string{"window"}, Time: 6009 * ms, Limit: 10 * s}, "the load covers only 6.00 s of the window of 10.00 s"},
		{judge.Reason{Kind: judge.EarlyFailures, Tally: of(3, 0)}, "requests that failed before the action, behind the baseline phase: 3"},
		{judge.Reason{Kind: judge.BaselineFailures, Tally: of(2, 3000)}, "2 of 3,000 requests failed in the baseline phase, before anything was done"},
		{judge.Reason{Kind: judge.BaselineServers, Tally: of(2, 3)}, "2 of 3 instances served in the baseline phase"},
		{judge.Reason{Kind: judge.BaselineUnnamed, Tally: of(2, 3)}, "2 of 3 instances were ready and served in the baseline phase; no answer says who gave it"},
		{judge.Reason{Kind: judge.FinalServers, Tally: of(2, 3), Time: 2 * s}, "2 of 3 instances were sent requests in the last 2.00 s of the window, with the action complete"},
		{judge.Reason{Kind: judge.FinalUnnamed, Tally: of(2, 3), Time: 2 * s}, "2 of 3 instances were ready in the last 2.00 s of the window, with the action complete; no answer says who gave it"},
		{judge.Reason{Kind: judge.ProbesSparse, Names: []string{"new-1"}, Time: 5850 * ms, Limit: 8 * s}, "the direct probes of new-1 are too sparse: of 8.00 s that the runtime called it ready, what was true is unknown for 5.85 s"},
		{judge.Reason{Kind: judge.NoneReady}, "the runtime called no instance ready in the window, so its verdict is not known"},
		{judge.Reason{Kind: judge.ReferenceSilent}, "the reference client sent nothing in the window, so nothing confirms the load's figures"},
		{judge.Reason{Kind: judge.ReferenceDisagrees, Tally: of(200, 200), Lo: 0.962708, Hi: 1, Load: of(9000, 10_000)}, "the reference client disagrees: 200 of its 200 requests were ok (96.27 to 100 %), 9,000 of the load's 10,000"},
		{judge.Reason{Kind: judge.ReferenceDisagrees, Names: []string{"keepalive-post"}, Tally: of(20, 50), Lo: 0.16, Hi: 0.67, Load: of(4000, 4000)}, "the reference client disagrees on keepalive-post: 20 of its 50 requests were ok (16.00 to 67.00 %), 4,000 of the load's 4,000"},
		{judge.Reason{Kind: judge.ReferenceSawMore, Tally: of(2, 200)}, "the load saw no failure, the reference client saw 2 in 200 requests"},
		{judge.Reason{Kind: judge.FaultNotProven, Names: paused}, "the fault pause (the oldest instance) was never injected"},
		{judge.Reason{Kind: judge.FaultNotProven, Names: paused, Tally: of(0, 1)}, "the fault pause (the oldest instance) was injected, and nothing but what injected it says that it was there"},
		{judge.Reason{Kind: judge.FaultNotProven, Names: paused, Tally: of(1, 3), Text: "state S"}, "the fault pause (the oldest instance) was injected into 3 instances, and of 2 of them nothing else says that it was there: state S"},
		{judge.Reason{Kind: judge.FaultOutlived, Names: paused, Tally: of(1, 1), Time: 5 * s, Text: "state T"}, "the fault pause (the oldest instance) was still there when the window ended, 5.00 s after it had to be over: state T"},
		{judge.Reason{Kind: judge.FaultError, Names: paused, Text: "no such instance"}, "the fault pause (the oldest instance) could not be injected: no such instance"},
		{judge.Reason{Kind: judge.FaultError, Names: paused, Tally: of(2, 2), Text: "no such instance"}, "not all of the fault pause (the oldest instance) could be done or taken back: no such instance"},

		{judge.Reason{Kind: judge.NobodyWatched, Time: 30 * s}, "no runtime was watched: how many instances there are, and whether the change was complete when the load ended, 30.00 s after the command, is not known"},
		{judge.Reason{Kind: judge.WarmUpFailures, Tally: of(1234, 0)}, "requests that failed in the warm-up, which is no part of the trial's numbers: 1,234"},
		{judge.Reason{Kind: judge.SaturatedBesides, Tally: of(361, 387), Time: 2200 * ms},
			"the machine had no CPU to spare for 2.20 s of the window, and 361 of 387 lost requests may be lost by that; the others miss a gate by themselves"},
		{judge.Reason{Kind: judge.LittleIdle, Lo: 0.1239, Hi: 0.30, Value: 799.6},
			"the baseline phase left 12.39 % of the CPUs idle, less than 30.00 %: what the action takes comes on top of it. About 799 requests a second would leave as much"},
		{judge.Reason{Kind: judge.ReferenceDiffers, Tally: of(180, 200), Lo: 0.8, Hi: 0.96, Load: of(2000, 10_000)},
			"the reference client and the load differ in how much was lost, and each saw more than a gate allows: 180 of its 200 requests were ok (80.00 to 96.00 %), 2,000 of the load's 10,000"},

		{judge.Reason{Kind: judge.NoSuchDesign}, "no trial of this design was recorded"},
		{judge.Reason{Kind: judge.NoSuchMetric}, "there is no such metric"},
		{judge.Reason{Kind: judge.BadOperator, Names: []string{"<"}}, `the operator is "<", neither >= nor <=`},
		{judge.Reason{Kind: judge.BadLimit}, "the limit is not a number"},
		{judge.Reason{Kind: judge.NoValidTrial}, "no valid trial"},
		{judge.Reason{Kind: judge.NothingPlanned}, "no request was planned"},
		{judge.Reason{Kind: judge.NothingToDeny}, "no request had to be denied, so nothing could be breached"},
		{judge.Reason{Kind: judge.NoFault}, "no fault is injected there, so there is nothing to notice"},
		{judge.Reason{Kind: judge.NothingToComplete}, "the action none has nothing to complete"},
		{judge.Reason{Kind: judge.RateAtLeast, Tally: of(60_000, 60_000), Lo: 0.9999501, Hi: 1, Because: []judge.Reason{{Kind: judge.TrialsNotValid}}},
			"60,000 of 60,000 requests were ok (100 %), which is 95 % sure of at least 99.995 % if failures were independent, but not every planned trial is valid"},
		{judge.Reason{Kind: judge.RateAtLeast, Tally: of(60_000, 60_000), Lo: 0.9999501, Hi: 1, Lossy: of(0, 1), Value: 0.95},
			"60,000 of 60,000 requests were ok (100 %), which is 95 % sure of at least 99.995 % if failures were independent; 0 of 1 trial lost anything: an event in up to 95 % of trials would not have been seen"},
		{judge.Reason{Kind: judge.RateAtLeast, Tally: of(60_000, 60_000), Lo: 0.9999501, Hi: 1, Lossy: of(0, 3), Value: 0.631597},
			"60,000 of 60,000 requests were ok (100 %), which is 95 % sure of at least 99.995 % if failures were independent; 0 of 3 trials lost anything: an event in up to 63.2 % of trials would not have been seen"},
		{judge.Reason{Kind: judge.RateAtLeast, Tally: of(59_999, 60_000), Lo: 0.9999210, Hi: 1, Lossy: of(1, 3)},
			"59,999 of 60,000 requests were ok (99.998 %), which is 95 % sure of at least 99.992 % if failures were independent; 1 of 3 trials lost requests"},
		{judge.Reason{Kind: judge.RateAtMost, Tally: of(59_925, 60_000), Lo: 0.998, Hi: 0.998981}, "59,925 of 60,000 requests were ok (99.87 %), which is 95 % sure of at most 99.90 % if failures were independent"},
		{judge.Reason{Kind: judge.RateUnclear, Tally: of(59_952, 60_000), Lo: 0.99898, Hi: 0.99941}, "59,952 of 60,000 requests were ok (99.92 %), and anything from 99.89 to 99.95 % fits that if failures were independent: too few to tell"},
		{judge.Reason{Kind: judge.WorstTrial, Gate: gate, Value: 11, Trial: 1, Tally: of(0, 1)}, "11 ms in trial 1"},
		{judge.Reason{Kind: judge.WorstWithout, Gate: gate, Trial: 2, Tally: of(0, 3)}, "the record shows no recovery in trial 2, the worst of 3 trials"},
		{judge.Reason{Kind: judge.InvalidBreached, Trial: 4, Tally: of(3, 0)}, "3 in trial 4, which is invalid otherwise"},
		{judge.Reason{Kind: judge.TrialsNotValid}, "not every planned trial is valid"},

		{judge.Reason{Kind: judge.UnprovokedFailures, Tally: of(1, 0)}, "requests that failed though nothing was done: 1"},
		{judge.Reason{Kind: judge.NothingFailed, Tally: of(0, 20_000)}, "0 of 20,000 requests failed"},
		{judge.Reason{Kind: judge.CannotTell, Tally: of(0, 20_000)}, "0 of 20,000 requests failed, so this experiment cannot tell good from bad"},
		{judge.Reason{Kind: judge.LostTooLittle, Tally: of(9, 20_000), Time: 9 * ms, Limit: 50 * ms}, "it lost 9 of 20,000 requests, a median of 9 ms a trial: less than 50 ms is what a machine's own hiccup can cost"},
		{judge.Reason{Kind: judge.SomeFailed, Tally: of(900, 20_000)}, "900 of 20,000 requests failed"},
		{judge.Reason{Kind: judge.ActionsFailed, Tally: of(1, 3)}, "the target failed in 1 of 3 trials"},
		{judge.Reason{Kind: judge.MissesLimit, Gate: &record.Gate{Design: "good", Metric: "false_evictions", Op: "<=", Limit: 0}, Because: []judge.Reason{{Kind: judge.WorstTrial, Gate: &record.Gate{Metric: "false_evictions"}, Value: 3, Trial: 1, Tally: of(0, 3)}}},
			"it misses false_evictions <= 0, which is set on good: 3 in trial 1, the worst of 3 trials"},
		{judge.Reason{Kind: judge.DidHarm, Tally: of(1, 3)}, "it served 1 request that had to be denied, and 3 instances were evicted for nothing"},
		{judge.Reason{Kind: judge.MeetsLimits, Tally: of(0, 2)}, "it meets all of the 2 limits that others must hold, so this experiment cannot tell good from bad"},
		{judge.Reason{Kind: judge.NeverRun}, "it was not run"},

		{judge.Reason{Kind: judge.CompletedEach, Tally: of(0, 3)}, "in 3 trials"},
		{judge.Reason{Kind: judge.NotCompleted, Trial: 2}, "not in trial 2"},
		{judge.Reason{Kind: judge.CompletionUnknown, Trial: 2}, "what became of the action in trial 2 is not known"},
		{judge.Reason{Kind: judge.NotComparable}, "it is no time of which less is better, so it cannot be compared"},
		{judge.Reason{Kind: judge.NothingToCompare, Names: []string{"main"}}, "no trial of main was recorded, so there is nothing to compare with"},

		{judge.Reason{Kind: judge.TooFewTrials, Names: pair, Tally: of(0, 1)}, "1 valid trial against 0"},
		{judge.Reason{Kind: judge.TooManyTrials, Names: pair, Tally: of(40, 20)}, "40 trials are more than the 20 that are compared exactly"},
		{judge.Reason{Kind: judge.NeverSure, Names: pair, Tally: of(2, 3), Value: 0.1}, "too few trials: 3 against 2 cannot give a p below 0.1"},
		{judge.Reason{Kind: judge.Worse, Names: pair, Value: 50, Lo: 2997.9, P: 0.05}, "downtime of good is at least 2.99 s more than with bad, which exceeds the margin of 50 ms (p = 0.05)"},
		{judge.Reason{Kind: judge.Worse, Names: before, Value: 50, Lo: math.Inf(1), P: 0.00001}, "recovery of good is without end, which it is not in the baseline (p < 0.0001)"},
		{judge.Reason{Kind: judge.NoWorse, Names: before, Value: math.Inf(1)}, "recovery of good is without end in the baseline, and can be no worse"},
		{judge.Reason{Kind: judge.MayBeWorse, Names: before, Value: 50, Hi: math.Inf(1), P: 0.2}, "recovery of good may be more than in the baseline without end, which exceeds the margin of 50 ms, or may not (p = 0.2)"},
		{judge.Reason{Kind: judge.NoWorse, Names: pair, Value: 200.3}, "downtime of good is not more than with bad, or not by more than the margin of 201 ms"},
		{judge.Reason{Kind: judge.WorseWithin, Names: pair, Value: 50, Lo: 3, Hi: 12, P: 0.05}, "downtime of good is more than with bad (p = 0.05), by less than the margin: 12 ms at most, of 50 ms"},
		{judge.Reason{Kind: judge.MayBeWorse, Names: before, Value: 50, Hi: 900, P: 0.5}, "recovery of good may be more than in the baseline by up to 900 ms, which exceeds the margin of 50 ms, or may not (p = 0.5)"},

		{judge.Reason{Kind: judge.NoBaseline}, "no baseline was named, so there is nothing to compare with"},
		{judge.Reason{Kind: judge.BaselineMissing, Names: file, Text: "no such file"}, "there is no baseline: base.json: no such file"},
		{judge.Reason{Kind: judge.NotInBaseline, Names: file}, "the baseline base.json has nothing of it"},
		{judge.Reason{Kind: judge.BaselineDiffers, Names: file, Differs: differs}, "the baseline base.json was measured otherwise: load.rate was 100 and is 200, environment.kernel was not set and is 6.1"},
		{judge.Reason{Kind: judge.NotMeasuredNow, Text: "standstill"}, "the run has no standstill"},
		{judge.Reason{Kind: judge.NotMeasuredThen, Names: file, Text: "standstill"}, "the baseline base.json has no standstill"},
		{judge.Reason{Kind: judge.BaselineUnasked, Names: file}, "no gate is held against the baseline base.json, so it decides nothing: {design: NAME, metric: downtime, against: baseline} would be"},
		{judge.Reason{Kind: judge.ComparedAllTheSame, Cell: "a/b/c", Differs: differs[1:]}, "a/b/c was compared with a baseline that was measured otherwise, as was asked for: environment.kernel was not set and is 6.1"},
		{judge.Reason{Kind: judge.GateWarns, Cell: "a/b/c", Gate: gate, Because: []judge.Reason{{Kind: judge.WorstTrial, Gate: gate, Value: 11, Trial: 1, Tally: of(0, 1)}}}, "a/b/c: recovery <= 1.50 s: 11 ms in trial 1"},
		{judge.Reason{Kind: judge.WorseWithinMargin, Cell: "a/b/c", Gate: &record.Gate{Metric: "downtime", Against: "bad", Margin: 80 * ms}, Because: []judge.Reason{{Kind: judge.WorseWithin, Names: pair, Value: 80, Lo: 3, Hi: 12, P: 0.05}}},
			"a/b/c: downtime against bad, margin 80 ms: downtime of good is more than with bad (p = 0.05), by less than the margin: 12 ms at most, of 80 ms"},
	} {
		tested[tc.r.Kind] = true
		if got := Sentence(tc.r); got != tc.want {
			t.Errorf("%v:\n got %q\nwant %q", tc.r, got, tc.want)
		}
	}
	for _, kind := range kinds(t) {
		if !tested[kind] {
			t.Errorf("the sentence of %q is not tested", kind)
		}
		if got := Sentence(judge.Reason{Kind: kind, Gate: gate}); got == "" || got == string(kind) {
			t.Errorf("%q has no sentence", kind)
		}
	}
}

// counted is a measured valid trial of 20,000 requests of which so many failed.
func counted(scenario, driver, design string, n int, failed uint64) judge.Trial {
	return judge.Trial{
		Meta:  record.Trial{Scenario: scenario, Driver: driver, Action: "rollout", Design: design, N: n, Rate: 1000},
		Valid: true, Planned: 20_000, Sent: 20_000, OK: 20_000 - failed, Failed: failed,
		SuccessRate: 1 - float64(failed)/20_000, Downtime: time.Duration(failed) * time.Millisecond,
		Values: map[string]float64{metric.Completed: 1},
	}
}

// Who was let in behind the window, or in a trial that was discarded, was let in.
func TestTheHeadlineTellsOfBreaches(t *testing.T) {
	good, discarded := counted("rollout", "process", "good", 1, 0), counted("rollout", "process", "good", 2, 0)
	good.Breaches, discarded.Breaches, discarded.Valid = 7, 2, false
	run := judge.Judge(record.Run{}, &record.RunEnd{}, nil, []judge.Trial{good, discarded})
	want := "good lost 0 of 20,000 requests in rollout on process, and served 9 that had to be denied"
	if got := losses(run.Headline()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeadline(t *testing.T) {
	trial := func(design string, n int, failed uint64) judge.Trial {
		return counted("rollout", "process", design, n, failed)
	}
	two := func(more ...judge.Trial) []judge.Trial {
		return append([]judge.Trial{trial("bad", 1, 9182), trial("good", 1, 0), trial("bad", 2, 0), trial("good", 2, 0), trial("bad", 3, 0), trial("good", 3, 0)}, more...)
	}
	short := trial("bad", 4, 0)
	short.Planned, short.OK = 10, 10
	discarded := trial("good", 4, 7)
	discarded.Valid = false
	stuck := trial("good", 1, 0)
	stuck.Failures = []judge.Reason{{Kind: judge.ActionFailed, Text: "0 of 3 are ready"}}
	late := trial("good", 1, 0)
	late.Window = timeline.Span{From: 4 * time.Second, To: 34 * time.Second}
	late.Timeline.Action = timeline.Span{From: 4 * time.Second, To: 35600 * time.Millisecond}
	rate := record.Gate{Design: "good", Metric: "success_rate", Op: ">=", Limit: 0.999}
	failed := record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 0}
	for _, tc := range []struct {
		name   string
		gates  []record.Gate
		trials []judge.Trial
		want   string
	}{
		{"one scenario", nil, two(), "good lost 0 of 60,000 requests in rollout on process; bad lost 9,182 (downtime 9.19 s, the sum of 3 trials)"},
		{"different plans", nil, two(short), "good lost 0 of 60,000 requests in rollout on process; bad lost 9,182 of 60,010 (downtime 9.19 s, the sum of 4 trials)"},
		{"several", nil, two(counted("restart", "kind", "good", 1, 1), counted("restart", "kind", "bad", 1, 500)),
			"good lost 1 of 80,000 requests in 2 scenarios on 2 drivers (downtime 1 ms, the sum of 4 trials); bad lost 9,682 (downtime 9.69 s, the sum of 4 trials)"},
		{"discarded", nil, two(discarded), "good lost 0 of 60,000 requests in rollout on process and 7 more in discarded trials; bad lost 9,182 (downtime 9.19 s, the sum of 3 trials)"},
		{"outlasted", nil, []judge.Trial{late}, "good lost 0 of 20,000 requests in rollout on process, with its action complete only 1.60 s after the window"},
		{"only invalid ones", nil, []judge.Trial{discarded}, "no valid trial, so nothing can be said"},
		{"none", nil, nil, "no valid trial, so nothing can be said"},
		{"missed", []record.Gate{rate}, []judge.Trial{trial("bad", 1, 900), trial("good", 1, 600)},
			"rollout/process/good missed success_rate >= 99.90 %: good lost 600 of 20,000 requests in rollout on process (downtime 600 ms); bad lost 900 (downtime 900 ms)"},
		{"failed by the target", []record.Gate{rate}, []judge.Trial{trial("bad", 1, 900), stuck}, "rollout/process/good failed in trial 1: the action failed: 0 of 3 are ready; good lost 0 of 20,000 requests in rollout on process"},
		{"missed two", []record.Gate{rate, failed}, []judge.Trial{trial("bad", 1, 900), trial("good", 1, 600)}, "rollout/process/good missed success_rate >= 99.90 % and 1 more gate: good lost 600"},
	} {
		desc := record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"bad", "good"}, Gates: tc.gates}}}
		run := judge.Judge(desc, &record.RunEnd{}, nil, tc.trials)
		if tc.gates == nil {
			run.Verdict = judge.Pass // which it cannot be, so that it says what was lost
		}
		if got := headline(&run); !strings.HasPrefix(got, tc.want) || (!strings.HasPrefix(tc.name, "missed two") && tc.name != "failed by the target" && got != tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
	}
}
