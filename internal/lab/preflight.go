package lab

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const (
	// ratePerCPU is how many requests a second of each CPU any machine is trusted with: of two
	// CPUs 1,000 a second and their target take half and more.
	ratePerCPU = 500

	// glance is how long the CPUs are looked at, and mostBusy how much of them others may take,
	// for a machine to be trusted.
	glance   = 200 * time.Millisecond
	mostBusy = 0.5
)

// Preflight measures which rate this machine holds, where there is a reason to ask: it is to
// choose the rate, a scenario wants more than machines like this one can be trusted with, or
// something else takes half of the CPUs. Those three seconds are spent in no other run: nil.
func Preflight(ctx context.Context, ss []*scenarios.Scenario, auto bool) (*record.Preflight, error) {
	var asked float64
	for _, s := range ss {
		asked = max(asked, s.Load.Rate)
	}
	if !auto && asked <= ratePerCPU*float64(runtime.GOMAXPROCS(0)) && !busy(ctx, openCPUs(os.DirFS("/"))) {
		return nil, nil
	}
	p, err := HeldRate(ctx, asked)
	if err != nil {
		return nil, err
	}
	p.Auto = auto
	return p, nil
}

// LeastRate is the lowest rate that a machine chooses.
const LeastRate = load.LeastRate

// HeldRate measures which rate this machine holds, up to what is asked for.
func HeldRate(ctx context.Context, asked float64) (*record.Preflight, error) {
	held, err := load.Preflight(ctx, asked)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &EnvironmentError{"see which rate this machine holds", err}
	}
	return &record.Preflight{Asked: held.Asked, Held: held.Rate, Lag: held.Lag, Limit: load.PreflightLag}, nil
}

// busy says whether something takes more than mostBusy of the CPUs before anything has begun.
// Where the system does not tell, nobody knows.
func busy(ctx context.Context, cpus *cpuReader) bool {
	if cpus.sources.Idle == "" {
		return false
	}
	began := time.Now()
	before, ok := cpus.read(began)
	if !ok {
		return false
	}
	timer := time.NewTimer(glance)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	after, ok := cpus.read(time.Now())
	return ok && float64(after.Idle-before.Idle) < (1-mostBusy)*float64(time.Since(began))
}

// ChooseRates gives each scenario the rate that the machine holds, at most its own and at least
// LeastRate, and notes which of them asked for more. The error, scenarios.Errors, is that of
// a scenario that such a rate cannot decide.
func ChooseRates(ss []*scenarios.Scenario, p *record.Preflight) error {
	for _, s := range ss {
		asked := s.Load.Rate
		rate := min(asked, max(p.Held, LeastRate))
		if rate == asked {
			continue
		}
		if err := s.Override(scenarios.Overrides{Rate: &rate}); err != nil {
			return err
		}
		if p.Instead == nil {
			p.Instead = map[string]float64{}
		}
		p.Instead[s.Name] = asked
	}
	return nil
}
