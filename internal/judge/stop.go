package judge

import (
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Stop says whether a scenario whose number of trials is open needs no more of them on a driver,
// and why. It is asked after each round, with all trials so far, those of other scenarios and
// drivers among them.
//
// From the least number of trials on it needs none when no gate is left that more of them could
// decide; at any time, when it fails whatever the rest would show. How that makes no verdict
// less sure than at the most trials:
//
//   - A limit that is held against the worst trial is decided by the trials that there are. Each
//     one more can only miss it: who stops before the most misses it no more often than who
//     goes on to it, and once missed it stays so.
//   - A limit on a rate, and what is held against another design or earlier runs, could be met or
//     missed by a lucky moment at which one looks. Before the most trials they are decided by
//     bounds far surer than at the most, and all looks together are as sure as one alone would
//     be, see metric.AlphaAt.
//   - Everything else, what this does not know among it, waits for the most trials.
//
// A scenario goes on with all of its designs or with none: what is compared has as many trials
// of each, one round after the other.
func Stop(run record.Run, skipped []record.Skipped, trials []Trial, scenario, driver string) (why record.StopReason, stop bool) {
	r := Judge(run, &record.RunEnd{Skipped: skipped}, nil, trials)
	var limits record.TrialRange
	for _, s := range run.Scenarios {
		if s.Name == scenario {
			limits = s.Trials
		}
	}
	rounds, open := 0, false
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Scenario == scenario && c.Driver == driver {
			rounds = max(rounds, c.rounds())
		}
	}
	for i := range r.Gates {
		g := &r.Gates[i]
		c := r.cell(g.Cell)
		if c == nil || c.Scenario != scenario || c.Driver != driver || g.Gate.Warn || g.Implicit { // those change no verdict
			continue
		}
		open = open || g.Verdict == Inconclusive && !moot[g.Why.Kind]
		if g.Verdict == Fail && g.final(c, limits.Most) {
			return record.VerdictFinal, true
		}
	}
	for _, why := range targetReasons(&r) {
		if c := r.cell(why.Cell); c != nil && c.Scenario == scenario && c.Driver == driver || why.Kind == DeployFailed && ofGroup(skipped, why, scenario, driver) {
			return record.VerdictFinal, true
		}
	}
	if rounds >= limits.Least && !open {
		return record.GatesDecided, true
	}
	return "", false
}

// ofGroup says whether a deployment that failed is one of a scenario on a driver.
func ofGroup(skipped []record.Skipped, why Reason, scenario, driver string) bool {
	for _, s := range skipped {
		if s.Scenario == scenario && s.Driver == driver && s.Scenario+"/"+s.Driver+"/"+s.Design == why.Cell {
			return true
		}
	}
	return false
}

// cell is the one with a key, or nil.
func (r *Run) cell(key string) *Cell {
	for i := range r.Cells {
		if r.Cells[i].Key() == key {
			return &r.Cells[i]
		}
	}
	return nil
}

// moot are the reasons for which a gate is inconclusive and stays so, however many trials more
// there are.
var moot = map[Kind]bool{
	NoSuchDesign: true, NoSuchMetric: true, BadOperator: true, BadLimit: true, NoValidTrial: true,
	NothingPlanned: true, NothingToComplete: true, NothingToDeny: true, NoFault: true,
	CompletionUnknown: true, NotComparable: true, NothingToCompare: true, TooFewTrials: true, TooManyTrials: true,
	NoBaseline: true, BaselineMissing: true, NotInBaseline: true, BaselineDiffers: true, NotMeasuredThen: true,
	// Its trials would be a pass, and one of them is invalid for good.
	RateAtLeast: true, RateAtMost: true, WorstTrial: true, WorstWithout: true, CompletedEach: true, NoWorse: true, WorseWithin: true,
}

// final says whether a gate that is missed stays so, whatever the trials show that its cell may
// still have.
func (g *GateResult) final(c *Cell, most int) bool {
	switch g.Why.Kind {
	case WorstTrial, WorstWithout, InvalidBreached, NotCompleted:
		return true
	case RateAtLeast, RateAtMost:
		// The best that can come: everything on the right side of the limit.
		c := c.ofStream(g.Gate.Stream)
		sum := c.Totals()
		each := uint64(0)
		for _, t := range c.valid() {
			each = max(each, t.Planned)
		}
		rest := uint64(max(most-c.rounds(), 0)) * each
		if g.Gate.Op == ">=" {
			return upperBound(sum.OK+rest, sum.Planned+rest, c.alpha()) < g.Gate.Limit
		}
		return lowerBound(sum.OK, sum.Planned+rest, c.alpha()) > g.Gate.Limit
	}
	return false
}
