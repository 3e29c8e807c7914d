package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// Sentence says what judge has found. Words from outside are in it as they came.
func Sentence(r judge.Reason) string {
	switch r.Kind {
	case judge.GateMissed, judge.GateUnclear, judge.GateWarns, judge.WorseWithinMargin:
		return fmt.Sprintf("%s: %s: %s", r.Cell, gateLimit(*r.Gate), because(r))
	case judge.ControlFailed:
		return fmt.Sprintf("%s: the %s control did not hold: %s", r.Cell, name(r, 0), because(r))
	case judge.TargetFailed:
		return fmt.Sprintf("%s failed in trial %d: %s", r.Cell, r.Trial, because(r))
	case judge.MissesLimit:
		return fmt.Sprintf("it misses %s, which is set on %s: %s", gateLimit(*r.Gate), r.Gate.Design, because(r))
	case judge.TrialInvalid:
		return fmt.Sprintf("%s: trial %d is invalid: %s", r.Cell, r.Trial, because(r))
	}
	say, ok := sentences[r.Kind]
	if !ok {
		return string(r.Kind)
	}
	if len(r.Because) > 0 {
		return say(r) + ", but " + because(r)
	}
	return say(r)
}

// Sentences says each of them.
func Sentences(reasons []judge.Reason) []string {
	out := make([]string, 0, len(reasons))
	for _, r := range reasons {
		out = append(out, Sentence(r))
	}
	return out
}

// because says what a reason follows from.
func because(r judge.Reason) string { return strings.Join(Sentences(r.Because), "; ") }

// sentences are those that quote no other.
var sentences = map[judge.Kind]func(r judge.Reason) string{
	// What stands in the way of a run's pass.
	judge.DeployFailed:   func(r judge.Reason) string { return r.Cell + " did not serve when it was deployed: " + r.Text },
	judge.RunCutShort:    fixed("the run was cut short: its record has no end"),
	judge.RunInterrupted: fixed("the run was interrupted"),
	judge.TrialsMissing: func(r judge.Reason) string {
		return fmt.Sprintf("%s planned trials missing: %s", nOf(r), some(r.Names))
	},
	judge.CellNotRun: func(r judge.Reason) string { return fmt.Sprintf("%s was not run: %s", r.Cell, r.Text) },
	judge.NoTimeLeft: func(r judge.Reason) string {
		return fmt.Sprintf("--max-time %s left no time for %s, of %d planned", flagTime(r.Limit), noTimeFor(int(r.N), int(r.Repeats)), r.Of)
	},
	judge.NoTrials: fixed("no trial was recorded, and no data is no pass"),
	judge.NoGates:  fixed("no gate was set, so there is nothing to pass"),

	// Why a trial is invalid.
	judge.TrialCutShort:    fixed("the trial was cut short: its record has no end"),
	judge.TrialError:       func(r judge.Reason) string { return "the trial ended with an error: " + r.Text },
	judge.TrialInterrupted: func(r judge.Reason) string { return "the trial was interrupted after " + format.Span(r.Time) },
	judge.RecordDamaged:    func(r judge.Reason) string { return "the record is damaged: " + r.Text },
	judge.EventsLost: func(r judge.Reason) string {
		return fmt.Sprintf("the runtime's events were lost after %s: %s", format.Span(r.Time), r.Text)
	},
	judge.ActionError:      func(r judge.Reason) string { return "the runtime did not do the action: " + r.Text },
	judge.ActionFailed:     func(r judge.Reason) string { return "the action failed: " + r.Text },
	judge.ActionNotStarted: fixed("the action never started"),
	judge.ActionWithheld: func(r judge.Reason) string {
		return fmt.Sprintf("the service was failing before: %s requests failed in the baseline phase, so the command was not run", nOf(r))
	},
	judge.NeverCalm: func(r judge.Reason) string {
		return fmt.Sprintf("requests still failed %s after the command had ended, when the load had to end", format.Span(r.Time))
	},
	judge.NeverQuiet: func(r judge.Reason) string {
		return fmt.Sprintf("the runtime was still changing something %s after the command had ended, when the load had to end, so what that cost is not all in the numbers", format.Span(r.Time))
	},
	judge.ActionNotCompleted: fixed("the action never completed"),
	judge.ActionOutlasted: func(r judge.Reason) string {
		return fmt.Sprintf("the action completed %s after the window had ended, so what it cost is not all in the numbers", format.Span(r.Time))
	},
	judge.NoLoadPlanned:  fixed("no load was planned"),
	judge.NoRequests:     fixed("the record holds no request"),
	judge.LoadIncomplete: func(r judge.Reason) string { return nOf(r) + " planned requests were sent" },
	judge.RecordIncomplete: func(r judge.Reason) string {
		return fmt.Sprintf("the load generator fired %s requests, the record holds %s", format.Count(r.Of), format.Count(r.N))
	},
	judge.LoadLate: func(r judge.Reason) string {
		return fmt.Sprintf("the load ran late: p99 of the schedule's lag is %s, more than %s", format.Span(r.Time), format.Span(r.Limit))
	},
	judge.HarnessFailed: func(r judge.Reason) string {
		return "requests failed by trouble of the harness itself: " + format.Count(r.N)
	},
	judge.MachineSaturated: func(r judge.Reason) string {
		return fmt.Sprintf("the machine had no CPU to spare for %s of the window, and %s lost requests may be lost by that", format.Span(r.Time), nOf(r))
	},
	judge.NotMadeUp: func(r judge.Reason) string {
		return nOf(r) + " lost requests are not shown to be the harness's doing, so a valid repeat is no answer to it"
	},
	judge.PhaseEmpty: func(r judge.Reason) string { return "no request falls into the " + name(r, 0) },
	judge.PhaseUncovered: func(r judge.Reason) string {
		return fmt.Sprintf("the load covers only %s of the %s of %s", format.MillisOutward(format.InMillis(r.Time), false), name(r, 0), format.Span(r.Limit))
	},
	judge.EarlyFailures: func(r judge.Reason) string {
		return "requests that failed before the action, behind the baseline phase: " + format.Count(r.N)
	},
	judge.BaselineFailures: func(r judge.Reason) string {
		return nOf(r) + " requests failed in the baseline phase, before anything was done"
	},
	judge.BaselineServers: func(r judge.Reason) string { return nOf(r) + " instances served in the baseline phase" },
	judge.BaselineUnnamed: func(r judge.Reason) string {
		return nOf(r) + " instances were ready and served in the baseline phase; no answer says who gave it"
	},
	judge.FinalServers: func(r judge.Reason) string {
		return fmt.Sprintf("%s instances were sent requests in the last %s of the window, with the action complete", nOf(r), format.Span(r.Time))
	},
	judge.FinalUnnamed: func(r judge.Reason) string {
		return fmt.Sprintf("%s instances were ready in the last %s of the window, with the action complete; no answer says who gave it", nOf(r), format.Span(r.Time))
	},
	judge.ProbesSparse: func(r judge.Reason) string {
		return fmt.Sprintf("the direct probes of %s are too sparse: of %s that the runtime called it ready, what was true is unknown for %s", name(r, 0), format.Span(r.Limit), format.Span(r.Time))
	},
	judge.NoneReady:       fixed("the runtime called no instance ready in the window, so its verdict is not known"),
	judge.ReferenceSilent: fixed("the reference client sent nothing in the window, so nothing confirms the load's figures"),
	judge.ReferenceDisagrees: func(r judge.Reason) string {
		return "the reference client disagrees" + differs(r)
	},
	judge.ReferenceSawMore: func(r judge.Reason) string {
		return fmt.Sprintf("the load saw no failure, the reference client saw %s in %s requests", format.Count(r.N), format.Count(r.Of))
	},
	judge.FaultNotProven: func(r judge.Reason) string {
		switch {
		case r.Of == 0:
			return faultName(r) + " was never injected"
		case r.Of == 1:
			return faultName(r) + " was injected, and nothing but what injected it says that it was there" + ownWords(r)
		}
		return fmt.Sprintf("%s was injected into %d instances, and of %d of them nothing else says that it was there%s", faultName(r), r.Of, r.Of-r.N, ownWords(r))
	},
	judge.FaultOutlived: func(r judge.Reason) string {
		return fmt.Sprintf("%s was still there when the window ended, %s after it had to be over%s", faultName(r), format.Span(r.Time), ownWords(r))
	},
	judge.FaultError: func(r judge.Reason) string {
		if r.Of == 0 {
			return faultName(r) + " could not be injected" + ownWords(r)
		}
		return "not all of " + faultName(r) + " could be done or taken back" + ownWords(r)
	},

	// What a reader of a valid trial's numbers must know.
	judge.NobodyWatched: func(r judge.Reason) string {
		return fmt.Sprintf("no runtime was watched: how many instances there are, and whether the change was complete when the load ended, %s after the command, is not known", format.Span(r.Time))
	},
	judge.WarmUpFailures: func(r judge.Reason) string {
		return "requests that failed in the warm-up, which is no part of the trial's numbers: " + format.Count(r.N)
	},
	judge.SaturatedBesides: func(r judge.Reason) string {
		return fmt.Sprintf("the machine had no CPU to spare for %s of the window, and %s lost requests may be lost by that; the others miss a gate by themselves", format.Span(r.Time), nOf(r))
	},
	judge.LittleIdle: func(r judge.Reason) string {
		return fmt.Sprintf("the baseline phase left %s of the CPUs idle, less than %s: what the action takes comes on top of it. About %s requests a second would leave as much",
			format.Rate(r.Lo), format.Rate(r.Hi), format.Count(uint64(r.Value)))
	},
	judge.ReferenceDiffers: func(r judge.Reason) string {
		return "the reference client and the load differ in how much was lost, and each saw more than a gate allows" + differs(r)
	},

	// Why a gate was judged as it was.
	judge.NoSuchDesign:      fixed("no trial of this design was recorded"),
	judge.NoSuchMetric:      fixed("there is no such metric"),
	judge.BadOperator:       func(r judge.Reason) string { return fmt.Sprintf("the operator is %q, neither >= nor <=", name(r, 0)) },
	judge.BadLimit:          fixed("the limit is not a number"),
	judge.NoValidTrial:      fixed("no valid trial"),
	judge.NothingPlanned:    fixed("no request was planned"),
	judge.NothingToDeny:     fixed("no request had to be denied, so nothing could be breached"),
	judge.NoFault:           fixed("no fault is injected there, so there is nothing to notice"),
	judge.NothingToComplete: fixed("the action none has nothing to complete"),
	judge.RateAtLeast: func(r judge.Reason) string {
		return fmt.Sprintf("%s, which is %s sure of at least %s if failures were independent%s", rateSeen(r), confidence(r.Alpha), format.Rate(r.Lo), lossyTrials(r))
	},
	judge.RateAtMost: func(r judge.Reason) string {
		return fmt.Sprintf("%s, which is %s sure of at most %s if failures were independent%s", rateSeen(r), confidence(r.Alpha), format.RateUp(r.Hi), lossyTrials(r))
	},
	judge.RateUnclear: func(r judge.Reason) string {
		return fmt.Sprintf("%s, and anything from %s fits that if failures were independent: too few to tell", rateSeen(r), format.Rates(r.Lo, r.Hi))
	},
	judge.WorstTrial: func(r judge.Reason) string {
		return fmt.Sprintf("%s in trial %d%s", measuredIn(*r.Gate, r.Value), r.Trial, worstOf(r))
	},
	judge.WorstWithout: func(r judge.Reason) string {
		return fmt.Sprintf("%s in trial %d%s", without(r), r.Trial, worstOf(r))
	},
	judge.InvalidBreached: func(r judge.Reason) string {
		return fmt.Sprintf("%s in trial %d, which is invalid otherwise", format.Count(r.N), r.Trial)
	},
	judge.TrialsNotValid: fixed("not every planned trial is valid"),
	judge.TrialsNotRun:   fixed("there was no time for every planned trial"),

	// Why a control held or did not.
	judge.UnprovokedFailures: func(r judge.Reason) string {
		return "requests that failed though nothing was done: " + format.Count(r.N)
	},
	judge.NothingFailed: func(r judge.Reason) string { return nOf(r) + " requests failed" },
	judge.CannotTell: func(r judge.Reason) string {
		return nOf(r) + " requests failed, so this experiment cannot tell good from bad"
	},
	judge.LostTooLittle: func(r judge.Reason) string {
		return fmt.Sprintf("it lost %s requests, a median of %s a trial: less than %s is what a machine's own hiccup can cost", nOf(r), format.Span(r.Time), format.Span(r.Limit))
	},
	judge.SomeFailed: func(r judge.Reason) string { return nOf(r) + " requests failed" },
	judge.DidHarm: func(r judge.Reason) string {
		return fmt.Sprintf("it served %s that had to be denied, and %s evicted for nothing", format.Plural(int(r.N), "request", "requests"), format.Plural(int(r.Of), "instance was", "instances were"))
	},
	judge.MeetsLimits: func(r judge.Reason) string {
		return fmt.Sprintf("it meets all of the %s that others must hold, so this experiment cannot tell good from bad", format.Plural(int(r.Of), "limit", "limits"))
	},
	judge.ActionsFailed: func(r judge.Reason) string { return "the target failed in " + nOf(r) + " trials" },
	judge.NeverRun:      fixed("it was not run"),

	judge.CompletedEach: func(r judge.Reason) string {
		return "in " + format.Plural(int(r.Of), "trial", "trials")
	},
	judge.NotCompleted: func(r judge.Reason) string { return fmt.Sprintf("not in trial %d", r.Trial) },
	judge.CompletionUnknown: func(r judge.Reason) string {
		return fmt.Sprintf("what became of the action in trial %d is not known", r.Trial)
	},
	judge.NotComparable: fixed("it is no time of which less is better, so it cannot be compared"),
	judge.NothingToCompare: func(r judge.Reason) string {
		return "no trial of " + name(r, 0) + " was recorded, so there is nothing to compare with"
	},

	// Why a comparison came out as it did.
	judge.TooFewTrials: func(r judge.Reason) string {
		return fmt.Sprintf("%s against %d", format.Plural(int(r.Of), "valid trial", "valid trials"), r.N)
	},
	judge.TooManyTrials: func(r judge.Reason) string {
		return fmt.Sprintf("%d trials are more than the %d that are compared exactly", r.N, r.Of)
	},
	judge.NeverSure: func(r judge.Reason) string {
		return fmt.Sprintf("too few trials: %d against %d cannot give a p below %.2g", r.Of, r.N, r.Value)
	},
	judge.Worse: worse,
	judge.NoWorse: func(r judge.Reason) string {
		if math.IsInf(r.Value, 1) {
			return fmt.Sprintf("%s is without end %s, and can be no worse", compared(r), thanWith(name(r, 1)))
		}
		return fmt.Sprintf("%s is not more than %s, or not by more than the margin of %s", compared(r), thanWith(name(r, 1)), format.Millis(r.Value))
	},
	judge.WorseWithin: func(r judge.Reason) string {
		return fmt.Sprintf("%s is more than %s (%s), by less than the margin: %s at most, of %s",
			compared(r), thanWith(name(r, 1)), isLikely(r), format.MillisOutward(r.Hi, true), format.Millis(r.Value))
	},
	judge.MayBeWorse: func(r judge.Reason) string {
		return fmt.Sprintf("%s may be more than %s %s, which exceeds the margin of %s, or may not (%s)", compared(r), thanWith(name(r, 1)), upTo(r.Hi), format.Millis(r.Value), isLikely(r))
	},

	// Why there is nothing that a gate against earlier runs can be held against.
	judge.NoBaseline: fixed("no baseline was named, so there is nothing to compare with"),
	judge.BaselineMissing: func(r judge.Reason) string {
		return fmt.Sprintf("there is no baseline: %s: %s", name(r, 0), r.Text)
	},
	judge.NotInBaseline: func(r judge.Reason) string {
		return fmt.Sprintf("the baseline %s has nothing of it", name(r, 0))
	},
	judge.BaselineDiffers: func(r judge.Reason) string {
		return fmt.Sprintf("the baseline %s was measured otherwise: %s", name(r, 0), changes(r.Differs))
	},
	judge.NotMeasuredNow: func(r judge.Reason) string { return "the run has no " + r.Text },
	judge.NotMeasuredThen: func(r judge.Reason) string {
		return fmt.Sprintf("the baseline %s has no %s", name(r, 0), r.Text)
	},
	judge.BaselineUnasked: func(r judge.Reason) string {
		return fmt.Sprintf("no gate is held against the baseline %s, so it decides nothing: {design: NAME, metric: downtime, against: baseline} would be", name(r, 0))
	},
	judge.ComparedAllTheSame: func(r judge.Reason) string {
		return fmt.Sprintf("%s was compared with a baseline that was measured otherwise, as was asked for: %s", r.Cell, changes(r.Differs))
	},
}

func fixed(text string) func(judge.Reason) string { return func(judge.Reason) string { return text } }

// name is one of a reason's names, "" where it has none.
func name(r judge.Reason, i int) string {
	if i >= len(r.Names) {
		return ""
	}
	return r.Names[i]
}

// faultName is which fault a reason is about.
func faultName(r judge.Reason) string {
	return fmt.Sprintf("the fault %s (%s)", name(r, 0), name(r, 1))
}

// ownWords are what else was seen, or went wrong.
func ownWords(r judge.Reason) string {
	if r.Text == "" {
		return ""
	}
	return ": " + r.Text
}

func nOf(r judge.Reason) string { return format.Count(r.N) + " of " + format.Count(r.Of) }

// differs is what the reference client saw, and what the load did, of all requests or of a
// stream.
func differs(r judge.Reason) string {
	stream := ""
	if of := name(r, 0); of != "" {
		stream = " on " + of
	}
	return fmt.Sprintf("%s: %s of its %s requests were ok (%s), %s of the load's %s", stream, format.Count(r.N), format.Count(r.Of),
		format.Rates(r.Lo, r.Hi), format.Count(r.Load.N), format.Count(r.Load.Of))
}

func rateSeen(r judge.Reason) string {
	return fmt.Sprintf("%s requests were ok (%s)", nOf(r), format.Share(r.N, r.Of))
}

// lossyTrials says what the trials, of which each is one try, say of the next one.
func lossyTrials(r judge.Reason) string {
	switch trials := fmt.Sprintf("; %d of %s lost", r.Lossy.N, format.Plural(int(r.Lossy.Of), "trial", "trials")); {
	case r.Lossy.Of == 0:
		return ""
	case r.Value > 0:
		return fmt.Sprintf("%s anything: an event in up to %s of trials would not have been seen", trials, ofTrials(r.Value))
	default:
		return trials + " requests"
	}
}

// ofTrials prints a share of trials, rounded up to a tenth of a percent.
func ofTrials(share float64) string {
	const tiny = 1e-9 // so that 95 % is not rounded up
	return format.Tenths(math.Ceil(1000*share-tiny)/10) + " %"
}

func worstOf(r judge.Reason) string {
	if r.Of <= 1 {
		return ""
	}
	return fmt.Sprintf(", the worst of %d trials", r.Of)
}

// without is what it means that the worst trial has no value.
func without(r judge.Reason) string {
	m, _ := metric.ByName(r.Gate.Metric)
	if m.NoneIsZero { // it has one even where the thing did not happen
		return "no request was planned"
	}
	return m.None
}

// some names the first few of many.
func some(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// headline says where the target failed, which gate was missed, and what each design lost;
// of an inconclusive run, why it is one.
func headline(run *judge.Run) string {
	if verdictClass(run.Verdict) == judge.Inconclusive {
		return adviseOnUnclear(run).Why
	}
	h := run.Headline()
	text := ""
	if len(h.Failed) > 0 {
		text = whoFailed(h.Failed)
		if len(h.Missed) == 0 { // what is known to fail is no news beside that
			h.Losses = slices.DeleteFunc(h.Losses, func(l judge.Loss) bool { return mustFail(run, l.Design) })
		}
		if len(h.Losses) == 0 && len(h.Missed) == 0 {
			return text
		}
		text += "; "
	}
	if len(h.Missed) > 0 {
		text += h.Missed[0].Cell + " missed " + gateLimit(h.Missed[0].Gate)
		if n := len(h.Missed) - 1; n > 0 {
			text += " and " + format.Plural(n, "more gate", "more gates")
		}
		text += ": "
	}
	return text + cameTo(run, h)
}

// cameTo is what each design came to: what it survives of a suite, where losses of one scenario
// are no match for those of another, else what it lost.
func cameTo(run *judge.Run, h judge.Headline) string {
	if all := suites(run); len(all) > 0 && len(h.Losses) > 0 {
		return survivals(all)
	}
	return losses(h)
}

// losses says what each design lost, the least first. Over several scenarios or drivers
// it is added up.
func losses(h judge.Headline) string {
	if len(h.Losses) == 0 {
		return "no valid trial, so nothing can be said"
	}
	var parts []string
	for i, l := range h.Losses {
		text := fmt.Sprintf("%s lost %s", l.Design, format.Count(l.Lost()))
		if i == 0 || l.Planned != h.Losses[0].Planned {
			text += " of " + format.Count(l.Planned)
		}
		if i == 0 {
			text += " requests in " + listed(h.Scenarios, "scenarios") + " on " + listed(h.Drivers, "drivers")
		}
		if l.Lost() > 0 {
			text += " (downtime " + format.Span(l.Downtime)
			if l.Valid > 1 { // the matrix has their median
				text += fmt.Sprintf(", the sum of %d trials", l.Valid)
			}
			text += ")"
		}
		if l.Outlasted > 0 {
			text += fmt.Sprintf(", with its action complete only %s after the window", format.Span(l.Outlasted))
		}
		if l.DiscardedLost > 0 {
			text += fmt.Sprintf(" and %s more in discarded trials", format.Count(l.DiscardedLost))
		}
		if n := l.Breaches + l.DiscardedBreaches; n > 0 { // of the whole load: no loss need show them
			text += fmt.Sprintf(", and served %s that had to be denied", format.Count(n))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func listed(names []string, what string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%d %s", len(names), what)
}
