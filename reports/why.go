package reports

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// adviseOnRun is what every report says right after the verdict and its headline: why it
// came out so, and what to do. An inconclusive run has its reason in the headline already.
func adviseOnRun(run *judge.Run) advice {
	switch verdictClass(run.Verdict) {
	case judge.Fail:
		return adviseOnFail(run)
	case judge.Pass:
		return adviseOnPass(run)
	}
	return advice{Do: adviseOnUnclear(run).Do}
}

// lossesBeside is what was lost where the headline does not say it: in an inconclusive run,
// also in trials that were discarded, and why those lost it.
func lossesBeside(run *judge.Run) (all []string) {
	if verdictClass(run.Verdict) != judge.Inconclusive {
		return nil
	}
	if h := run.Headline(); len(h.Losses) > 0 {
		all = append(all, cameTo(run, h))
	}
	for i := range run.Cells {
		c := &run.Cells[i]
		sum := c.Totals()
		if sum.Planned > 0 || sum.DiscardedLost == 0 {
			continue
		}
		text := fmt.Sprintf("%s lost %s in discarded trials of %s on %s", c.Design, format.Count(sum.DiscardedLost), c.Scenario, c.Driver) + ofHarness(c, sum.DiscardedLost)
		most := slices.MaxFunc(c.Trials, func(a, b judge.Trial) int { return cmp.Compare(a.Failed, b.Failed) })
		if len(most.Causes) > 0 && most.Causes[0].Cause != judge.OfHarness {
			text += fmt.Sprintf("; in trial %d, %s", most.Meta.N, strings.TrimSuffix(adviseOn(most.Causes[0], most.Failed, &most.Meta).Why, "."))
		}
		all = append(all, text)
	}
	return all
}

// ofHarness says that all, or nearly all, of what a cell lost in discarded trials was lost by
// the harness; what it never sent is in neither.
func ofHarness(c *judge.Cell, lost uint64) string {
	const nearly = 0.95
	var own uint64
	for i := range c.Trials {
		t := &c.Trials[i]
		if at := slices.IndexFunc(t.Causes, func(of judge.CauseCount) bool { return of.Cause == judge.OfHarness }); !t.Valid && at >= 0 {
			own += t.Causes[at].Count - min(t.Causes[at].Count, t.Planned-min(t.Sent, t.Planned))
		}
	}
	switch {
	case own >= lost:
		return ", all by the harness itself"
	case float64(own) > nearly*float64(lost):
		return ", nearly all by the harness itself"
	}
	return ""
}

// reasons are what stands in the way of a pass, what to act on first.
func reasons(run *judge.Run) []string {
	all := Sentences(run.Reasons)
	if len(all) == 0 {
		return all
	}
	a := adviseOnRun(run)
	if verdictClass(run.Verdict) == judge.Inconclusive {
		a = adviseOnUnclear(run)
		a.Why += "." // it may begin with a name, which stays as it is
	}
	if text := a.text(); text != "" {
		all = slices.Insert(all, 0, text)
	}
	return all
}

// capital makes a clause the start of a sentence.
func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// lossMetrics are those that lost requests decide: a limit on one of them is missed for the
// causes of the losses.
var lossMetrics = []string{metric.SuccessRate, "failed", metric.Downtime, metric.LongestOutage, "bins_down", "bins_degraded", "disruption_lag", metric.Recovery}

func adviseOnFail(run *judge.Run) advice {
	h := run.Headline()
	if len(h.Failed) > 0 {
		return adviseOnFailure(run, h.Failed[0])
	}
	var first advice
	for _, g := range h.Missed {
		a, causes := adviseOnGate(run, g)
		if causes {
			return a
		}
		if first == (advice{}) {
			first = a
		}
	}
	return first
}

// adviseOnGate says why a gate was missed; causes is false where that is no matter of lost
// requests.
func adviseOnGate(run *judge.Run, g judge.GateResult) (a advice, causes bool) {
	c := cellOf(run, g.Cell)
	switch {
	case c == nil:
	case slices.Contains(lossMetrics, g.Gate.Metric):
		if a, ok := adviseOnCell(c); ok {
			return a, true
		}
	case g.Gate.Metric == metric.Breaches:
		breaches, denials := c.Totals().Breaches, c.Totals().Denials
		for i := range c.Trials {
			if t := &c.Trials[i]; !t.Valid { // no excuse for letting somebody in
				breaches, denials = breaches+t.Breaches, denials+t.Denials
			}
		}
		return advice{
			fmt.Sprintf("%s of %s requests that had to be denied were served.", format.Count(breaches), format.Count(denials)),
			"Refuse everything until the policy is there, and let readiness wait for it.",
		}, false
	}
	return advice{
		gateText(g) + ".",
		"The timeline in report.html shows what went on when, and its table of trials what each of them came to.",
	}, false
}

// adviseOnUnclear says why a run is inconclusive, as a clause, and the way out of it.
func adviseOnUnclear(run *judge.Run) advice {
	for _, of := range unclear {
		for _, r := range run.Reasons {
			if slices.Contains(of.kinds, r.Kind) {
				return of.advise(run, r)
			}
		}
	}
	if len(run.Reasons) > 0 {
		return advice{Sentence(run.Reasons[0]), "Run it again."}
	}
	return advice{"no valid trial, so nothing can be said", "Run it again."}
}

// unclear are the reasons of an inconclusive run, from what is behind the others on.
var unclear = []struct {
	kinds  []judge.Kind
	advise func(run *judge.Run, r judge.Reason) advice
}{
	{[]judge.Kind{judge.RunInterrupted, judge.RunCutShort}, func(_ *judge.Run, r judge.Reason) advice {
		return advice{Sentence(r), "Run it again to its end."}
	}},
	{[]judge.Kind{judge.CellNotRun}, adviseOnNotRun},
	{[]judge.Kind{judge.NoTimeLeft}, adviseOnTime},
	{[]judge.Kind{judge.TrialInvalid}, func(run *judge.Run, _ judge.Reason) advice { return adviseOnInvalids(run) }},
	{[]judge.Kind{judge.TrialsMissing, judge.NoTrials}, func(_ *judge.Run, r judge.Reason) advice {
		return advice{Sentence(r), "Run it again."}
	}},
	{[]judge.Kind{judge.ControlFailed}, func(_ *judge.Run, r judge.Reason) advice {
		if name(r, 0) == "negative" {
			return advice{Sentence(r), "Mend first what fails although nothing is done: its log says why."}
		}
		return advice{Sentence(r), "Raise --rate or --window until that design fails, or see whether what is done to it does anything here."}
	}},
	{[]judge.Kind{judge.NoGates}, func(_ *judge.Run, r judge.Reason) advice {
		return advice{Sentence(r), "Put a gate into the scenario, such as {design: NAME, metric: failed, op: <=, limit: 0}."}
	}},
	{[]judge.Kind{judge.GateUnclear}, adviseOnUnclearGate},
}

// adviseOnNotRun says what the error that kept a cell from being run says itself. The doctor
// knows only whether a driver can run here.
func adviseOnNotRun(run *judge.Run, r judge.Reason) advice {
	var do []string
	if s, ok := notRun(run, r); ok {
		if s.Hint != "" {
			do = append(do, sentence(s.Hint))
		}
		if s.Unavailable {
			do = append(do, "rollout-lab doctor says what is missing.")
		}
	}
	if len(do) == 0 {
		do = []string{"Mend that, and run it again."}
	}
	return advice{Sentence(r), strings.Join(do, " ")}
}

// notRun is what the record says of the cell that a reason is about.
func notRun(run *judge.Run, r judge.Reason) (record.Skipped, bool) {
	for _, s := range skipped(run) {
		if s.Scenario+"/"+s.Driver+"/"+s.Design == r.Cell && s.Why == r.Text {
			return s, true
		}
	}
	return record.Skipped{}, false
}

// adviseOnInvalids speaks of all invalid trials that nothing makes up for: those of the
// designs that a gate is set on first.
func adviseOnInvalids(run *judge.Run) advice {
	gated := func(r judge.Reason) int {
		if slices.ContainsFunc(run.Gates, func(g judge.GateResult) bool { return g.Cell == r.Cell && !g.Implicit }) {
			return 0
		}
		return 1
	}
	invalid := ofKind(run.Reasons, judge.TrialInvalid)
	slices.SortStableFunc(invalid, func(a, b judge.Reason) int { return cmp.Compare(gated(a), gated(b)) })
	var why, do []string
	for _, r := range invalid {
		a := adviseOnInvalid(run, r)
		if !slices.Contains(why, a.Why) && len(why) < 2 {
			why = append(why, a.Why)
			for _, way := range strings.SplitAfter(a.Do, ". ") {
				if way = strings.TrimSpace(way); !slices.Contains(do, way) {
					do = append(do, way)
				}
			}
		}
	}
	return advice{strings.Join(why, "; "), strings.Join(do, " ")}
}

// adviseOnInvalid speaks of all designs whose trials are invalid for the same as the first
// one.
func adviseOnInvalid(run *judge.Run, first judge.Reason) advice {
	kinds := leading(first)
	var names []string
	var cells []*judge.Cell
	for _, r := range run.Reasons {
		c := cellOf(run, r.Cell)
		if r.Kind != judge.TrialInvalid || c == nil || slices.Contains(cells, c) || !slices.Equal(leading(r), kinds) {
			continue
		}
		if cells = append(cells, c); !slices.Contains(names, c.Design) {
			names = append(names, c.Design)
		}
	}
	if len(cells) == 0 || len(kinds) == 0 {
		return advice{Sentence(first), "Run it again."}
	}
	var why, do []string
	for _, kind := range kinds {
		var same []judge.Reason
		for _, c := range cells {
			for i := range c.Trials {
				same = append(same, ofKind(c.Trials[i].InvalidReasons, kind)...)
			}
		}
		if len(same) == 0 {
			same = ofKind(first.Because, kind)
		}
		a := adviseOnTrials(kind, same, metaOf(cells[0]))
		why, do = append(why, a.Why), append(do, a.Do)
	}
	return advice{enumerated(names) + " could not be measured: " + strings.Join(why, ", and "), strings.Join(do, " ")}
}

func ofKind(reasons []judge.Reason, kind judge.Kind) (all []judge.Reason) {
	for _, r := range reasons {
		if r.Kind == kind {
			all = append(all, r)
		}
	}
	return all
}

// leading are the kinds of the reasons for which a trial is invalid that others may follow
// from; the first one where there is none.
func leading(r judge.Reason) (kinds []judge.Kind) {
	for _, kind := range []judge.Kind{judge.FaultNotProven, judge.FaultOutlived, judge.FaultError} {
		if len(kinds) == 0 && len(ofKind(r.Because, kind)) > 0 {
			kinds = append(kinds, kind)
		}
	}
	for _, kind := range []judge.Kind{judge.ActionOutlasted, judge.LoadLate} {
		if len(ofKind(r.Because, kind)) > 0 {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 && len(ofKind(r.Because, judge.MachineSaturated)) > 0 {
		kinds = append(kinds, judge.MachineSaturated)
	}
	if len(kinds) == 0 && len(r.Because) > 0 {
		kinds = append(kinds, r.Because[0].Kind)
	}
	if len(ofKind(r.Because, judge.NotMadeUp)) > 0 {
		kinds = append(kinds, judge.NotMadeUp)
	}
	return kinds
}

// adviseOnTrials says why so many trials are invalid, and what would make them valid.
func adviseOnTrials(kind judge.Kind, same []judge.Reason, m *record.Trial) advice {
	lowest, highest := same[0].Time, same[0].Time
	for _, r := range same {
		lowest, highest = min(lowest, r.Time), max(highest, r.Time)
	}
	why := Sentence(same[0])
	if len(same) > 1 {
		why += fmt.Sprintf(", and so in %d trials", len(same))
	}
	flag := ""
	for _, r := range same { // the one that is enough for all
		if way := remedy(r, m); len(flag) == 0 || r.Time == highest && highest > 0 {
			flag = way
		}
	}
	slower := "Run it on a quieter machine."
	if flag != "" {
		slower = "Try " + flag + ", or a quieter machine."
	}
	switch kind {
	case judge.LoadLate:
		late := format.Span(highest)
		if lowest != highest {
			late = format.Between(format.Span(lowest), late)
		}
		return advice{fmt.Sprintf("this machine sent the load late %s(p99 %s, limit %s)", often(len(same)), late, format.Span(same[0].Limit)), slower}
	case judge.LoadIncomplete, judge.RecordIncomplete, judge.PhaseEmpty, judge.PhaseUncovered, judge.ReferenceDisagrees, judge.ReferenceSawMore, judge.ReferenceSilent, judge.ProbesSparse:
		return advice{why, slower}
	case judge.MachineSaturated:
		return advice{why, slower + " Where that is the question, say load.saturation: allowed."}
	case judge.HarnessFailed:
		return advice{why, strings.TrimSuffix(slower, ".") + ", or more open files (ulimit -n)."}
	case judge.ActionOutlasted:
		by := format.Span(highest)
		if lowest != highest {
			by = format.Between(format.Span(lowest), by)
		}
		return advice{fmt.Sprintf("the action completed %s after the window had ended", by), try(flag, "")}
	case judge.ActionNotCompleted:
		return advice{why, try(flag, "")}
	case judge.ActionWithheld:
		return advice{why, "Mend first what fails without any action: ask it in a loop, and look into its log."}
	case judge.NeverQuiet:
		return advice{why, try(flag, "give it more time with action.max")}
	case judge.BaselineFailures, judge.EarlyFailures:
		return advice{why, "It fails without any action: mend that first, or let the baseline phase begin later."}
	case judge.BaselineServers, judge.BaselineUnnamed:
		return advice{why, "See in its log why an instance serves nothing, or let the baseline phase begin later."}
	case judge.FinalServers, judge.FinalUnnamed:
		return advice{why, try(flag, "see in its log why an instance serves nothing")}
	case judge.NoneReady:
		return advice{why, "Check the design's signal: the runtime never believed it."}
	case judge.FaultNotProven:
		return advice{why, "A fault that nobody else saw tests nothing: see with rollout-lab doctor whether it can be done here, and that the fault lasts long enough to be seen."}
	case judge.FaultOutlived:
		return advice{why, "rollout-lab clean takes back what is left of it; then run it again, with " + flag + " if it only takes its time."}
	case judge.FaultError:
		return advice{why, "Mend that, and run it again: rollout-lab doctor says which faults can be done here."}
	case judge.ActionError, judge.TrialError, judge.EventsLost:
		return advice{why, "rollout-lab doctor says what is the matter with the runtime; then run it again."}
	}
	return advice{why, "Run it again."}
}

// often says how often, from the second time on.
func often(n int) string {
	switch n {
	case 1:
		return ""
	case 2:
		return "twice "
	case 3:
		return "three times "
	}
	return fmt.Sprintf("%d times ", n)
}

// adviseOnUnclearGate says what a gate lacks to be decided.
func adviseOnUnclearGate(run *judge.Run, r judge.Reason) advice {
	a := advice{Sentence(r), "Run it again."}
	if len(r.Because) == 0 {
		return a
	}
	switch why := r.Because[0]; why.Kind {
	case judge.NoSuchDesign:
		if run.Partial {
			a.Do = "Run it again to its end."
			return a
		}
		a.Do = "Run all designs: --design leaves the gates of the others undecided."
	case judge.RateUnclear:
		a.Do = "More trials decide it: try --trials " + moreTrials(run, r) + "."
	case judge.NoBaseline:
		a.Do = "Name one with --baseline FILE; rollout-lab baseline add FILE RUN makes it from a run."
	case judge.BaselineMissing, judge.NotInBaseline:
		a.Do = "Make it from a run that is good: rollout-lab baseline add FILE RUN."
	case judge.BaselineDiffers:
		a.Do = "Begin the baseline anew with a run that is good: rollout-lab baseline accept FILE --reason TEXT RUN."
		if environmental(why.Differs) {
			a.Do += " Or say --allow-different-environment, which every report then repeats."
		}
	case judge.NotMeasuredThen:
		a.Do = "Begin the baseline anew with a run that is good: rollout-lab baseline accept FILE --reason TEXT RUN."
	case judge.TooFewTrials, judge.NeverSure, judge.MayBeWorse:
		a.Do = "More trials decide it: try --trials " + fmt.Sprint(max(3, 2*trialsOf(run, r.Cell))) + "."
		if r.Gate.Against == record.PastRuns && why.Kind != judge.MayBeWorse {
			a.Do = "More trials decide it, here (--trials) or in the baseline (rollout-lab baseline add)."
		}
	case judge.NothingToCompare:
		a.Do = "Run both designs: --design leaves a gate that compares them undecided."
	case judge.NotComparable:
		a.Do = "Take that gate out of the scenario, or compare downtime."
	case judge.NothingToDeny:
		a.Do = "Raise load.deny, or take that gate out of the scenario."
	case judge.NothingToComplete, judge.NoSuchMetric, judge.BadOperator, judge.BadLimit:
		a.Do = "Take that gate out of the scenario."
	}
	return a
}

// trialsOf is how many valid trials a cell has.
func trialsOf(run *judge.Run, key string) int {
	if c := cellOf(run, key); c != nil {
		return c.Totals().Valid
	}
	return 0
}

// moreTrials is how many trials a rate needs at least to be decided: with no failure more,
// where none failed, and twice as many elsewhere.
func moreTrials(run *judge.Run, r judge.Reason) string {
	c := cellOf(run, r.Cell)
	if c == nil || c.Totals().Valid == 0 || r.Gate == nil {
		return "10"
	}
	sum := c.Totals()
	if sum.Failed > 0 || r.Gate.Limit <= 0 || r.Gate.Limit >= 1 {
		return fmt.Sprint(2 * sum.Valid)
	}
	needed := math.Log(0.05) / math.Log(r.Gate.Limit)
	return fmt.Sprint(max(sum.Valid+1, int(math.Ceil(needed*float64(sum.Valid)/float64(sum.Planned)))))
}

// undecidedText says why a gate could not be decided and the way out: by the trials of its
// own cell, where they are what is missing.
func undecidedText(run *judge.Run, g judge.GateResult) string {
	for _, r := range run.Reasons {
		if r.Kind == judge.TrialInvalid && r.Cell == g.Cell {
			a := adviseOnInvalid(run, r)
			return a.Why + ". " + a.Do + " (" + gateLimit(g.Gate) + ": observed " + observed(g) + ")"
		}
	}
	a := adviseOnUnclearGate(run, judge.Reason{Kind: judge.GateUnclear, Cell: g.Cell, Gate: &g.Gate, Because: []judge.Reason{g.Why}})
	return gateText(g) + ". " + a.Do
}
