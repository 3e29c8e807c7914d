package lab

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
)

// Phase is what a trial is doing.
type Phase string

// The phases of a trial, in order. PhaseFailed and PhaseDone are the last words of one.
const (
	PhaseDeploy   Phase = "deploy"
	PhaseAsk      Phase = "first request" // instead, where nothing is deployed
	PhaseWarmup   Phase = "warm-up"
	PhaseBaseline Phase = "baseline"
	PhaseAction   Phase = "action"     // under way by the runtime's word
	PhaseWindow   Phase = "window"     // the action is complete, the window is not
	PhaseSettle   Phase = "until calm" // instead, where the load ends by calm
	PhaseCleanup  Phase = "clean up"
	PhaseReset    Phase = "reset" // between two trials
	PhaseFailed   Phase = "failed"
	PhaseDone     Phase = "done"
)

// Update is one report of progress. Counts are of the trial so far.
type Update struct {
	Trial         string // scenario driver design #n
	Index, Of     int    // of the trials planned so far, from 1
	Phase         Phase
	Elapsed       time.Duration // since the load began; negative or 0 before
	Length        time.Duration // of the load; 0 where it ends by calm
	Rate          float64
	Planned       uint64 // likewise
	OK, Failed    uint64
	RecentSuccess float64       // of the requests that came to their end in the last second, 0..1; -1 when there were none
	Left          time.Duration // that the whole run still takes, by what the trials so far took; 0 where that is not known
	Text          string        // PhaseFailed: what went wrong

	Measured *judge.Trial // PhaseDone: what the trial showed
}

// Progress takes updates. It is called from one goroutine at a time and must be quick.
type Progress func(Update)

func (t *trial) update(phase Phase, text string) Update {
	u := Update{Trial: t.String(), Index: t.index, Of: t.of, Phase: phase, Length: t.scenario.Length(),
		Rate: t.scenario.Load.Rate, Planned: t.scenario.Planned(), RecentSuccess: -1, Text: text}
	if t.scenario.Target.Address() {
		u.Length, u.Planned = 0, 0
	}
	if t.left != nil {
		u.Left = t.left()
	}
	return u
}

// done is the last word on a trial that was measured.
func (t *trial) done(m judge.Trial) Update {
	u := t.update(PhaseDone, "")
	u.OK, u.Failed, u.Elapsed, u.Measured = m.OK, m.Failed, u.Length, &m
	return u
}
