package judge

import (
	"cmp"
	"slices"
	"time"
)

// Totals adds up the trials of a cell, or of several: what the valid ones planned and
// lost, and apart from it what the others did.
type Totals struct {
	Valid, Invalid                   int // trials
	Planned, OK, Failed              uint64
	Breaches, Denials, SentToUnready uint64
	Downtime                         time.Duration
	Outages                          int           // trials with an outage
	OpenOutages                      int           // of them, those whose longest outage had not ended with the record
	Recovered, Unrecovered           int           // trials with a recovery in their record, and without
	Outlasted                        time.Duration // the longest time that an action went on behind its window

	// Of the invalid trials.
	DiscardedPlanned, DiscardedFailed uint64
	DiscardedLost                     uint64 // those of them that were sent
	DiscardedBreaches                 uint64
}

// Totals adds up the cell's trials.
func (c *Cell) Totals() Totals {
	var sum Totals
	for i := range c.Trials {
		sum.add(&c.Trials[i])
	}
	return sum
}

// Sum adds up a metric over the valid trials.
func (c *Cell) Sum(name string) (sum float64) {
	for _, t := range c.valid() {
		if v, ok := t.Value(name); ok {
			sum += v
		}
	}
	return sum
}

func (s *Totals) add(t *Trial) {
	if !t.Valid {
		s.Invalid++
		s.DiscardedPlanned += t.Planned
		s.DiscardedFailed += t.Failed
		s.DiscardedLost += t.Failed - (t.Planned - t.Sent)
		s.DiscardedBreaches += t.Breaches
		return
	}
	s.Valid++
	s.Planned += t.Planned
	s.OK += t.OK
	s.Failed += t.Failed
	s.Breaches += t.Breaches
	s.Denials += t.Denials
	s.SentToUnready += t.SentToUnready
	s.Downtime += t.Downtime
	if t.LongestOutage.Failures > 0 {
		s.Outages++
		if t.LongestOutage.Open {
			s.OpenOutages++
		}
	}
	if t.Recovery != nil {
		s.Recovered++
	} else {
		s.Unrecovered++
	}
	if a := t.Timeline.Action; !a.Open && a.To > t.Window.To {
		s.Outlasted = max(s.Outlasted, a.To-t.Window.To)
	}
}

// plus adds up two sums.
func (s Totals) plus(o Totals) Totals {
	return Totals{
		Valid: s.Valid + o.Valid, Invalid: s.Invalid + o.Invalid,
		Planned: s.Planned + o.Planned, OK: s.OK + o.OK, Failed: s.Failed + o.Failed,
		Breaches: s.Breaches + o.Breaches, Denials: s.Denials + o.Denials, SentToUnready: s.SentToUnready + o.SentToUnready,
		Downtime: s.Downtime + o.Downtime, Outages: s.Outages + o.Outages, OpenOutages: s.OpenOutages + o.OpenOutages,
		Recovered: s.Recovered + o.Recovered, Unrecovered: s.Unrecovered + o.Unrecovered, Outlasted: max(s.Outlasted, o.Outlasted),
		DiscardedPlanned: s.DiscardedPlanned + o.DiscardedPlanned, DiscardedFailed: s.DiscardedFailed + o.DiscardedFailed,
		DiscardedLost: s.DiscardedLost + o.DiscardedLost, DiscardedBreaches: s.DiscardedBreaches + o.DiscardedBreaches,
	}
}

// Lost is how many requests of the valid trials were not ok.
func (s Totals) Lost() uint64 { return s.Planned - s.OK }

// MeanDowntime is the mean over the valid trials, in milliseconds.
func (s Totals) MeanDowntime() float64 { return milliseconds(s.Downtime) / float64(max(s.Valid, 1)) }

// Budget is what actions take of the downtime that 99.9 % over 30 days allow.
type Budget struct {
	Share   float64 // of the budget, that one action takes
	Affords *uint64 // such actions in 30 days; nil: no limit, nothing was lost
}

const budgetMillis = 43.2 * 60 * 1000

// Budget holds the mean and not the median: what several actions spend is their sum, and
// a median of nothing can hide that one in three lost something. ok is false without a
// valid trial.
func (s Totals) Budget() (b Budget, ok bool) {
	if s.Valid == 0 {
		return Budget{}, false
	}
	b.Share = s.MeanDowntime() / budgetMillis
	if b.Share > 0 {
		b.Affords = new(uint64(1 / b.Share))
	}
	return b, true
}

// Headline is what a report says first: which gates were missed, and what each design lost.
type Headline struct {
	Failed             []Reason // trials in which the target failed, at deploy or later
	Missed             []GateResult
	Losses             []Loss   // the least lost first; empty without a valid trial
	Scenarios, Drivers []string // those that the losses are added up over
}

// Loss is what a design lost, over all scenarios and drivers.
type Loss struct {
	Design string
	Totals
}

// Headline says what the run comes to.
func (r *Run) Headline() Headline {
	var h Headline
	for _, why := range r.Reasons {
		if why.Kind == TargetFailed || why.Kind == DeployFailed {
			h.Failed = append(h.Failed, why)
		}
	}
	for _, g := range r.Gates {
		if g.Verdict == Fail && !g.Implicit {
			h.Missed = append(h.Missed, g)
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		sum := c.Totals()
		if sum.Planned == 0 {
			continue
		}
		if !slices.Contains(h.Scenarios, c.Scenario) {
			h.Scenarios = append(h.Scenarios, c.Scenario)
		}
		if !slices.Contains(h.Drivers, c.Driver) {
			h.Drivers = append(h.Drivers, c.Driver)
		}
		j := slices.IndexFunc(h.Losses, func(l Loss) bool { return l.Design == c.Design })
		if j < 0 {
			j = len(h.Losses)
			h.Losses = append(h.Losses, Loss{Design: c.Design})
		}
		h.Losses[j].Totals = h.Losses[j].plus(sum)
	}
	slices.SortStableFunc(h.Losses, func(a, b Loss) int {
		return cmp.Compare(float64(a.Lost())/float64(a.Planned), float64(b.Lost())/float64(b.Planned))
	})
	return h
}
