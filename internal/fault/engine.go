package fault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const (
	// askEvery is how often it is asked whether a fault is there, or gone, until it is.
	askEvery = 50 * time.Millisecond
	// proofLimit is how long a fault may take to show that is over as soon as it has happened.
	// Any other one has until it is healed.
	proofLimit = 5 * time.Second
	// healLimit is how long it may take to heal a fault, and goneLimit how much longer its proof
	// may take to see that.
	healLimit = 30 * time.Second
	goneLimit = 5 * time.Second
	// patience is how long a fault waits for the instances that it is done to.
	patience = 5 * time.Second
)

// Plan is the faults of one trial, and what they are done with.
type Plan struct {
	Faults []scenarios.Fault
	Env    drivers.Env
	Stack  drivers.Stack // what Env was deployed from
	After  string        // the revision of the subject that the action leads to
	// Revocation is the session that a revocation is of, nil where the load uses none.
	Revocation *load.Revocation
	Base       time.Time     // the trial's
	From       time.Duration // the planned start of the window, from Base
	Folder     string        // where commands leave what they say
	Event      func(record.Event)

	// Feigned is for tests: every fault is taken back as soon as it was injected, and nobody is
	// told. Whoever calls it proven then does not look.
	Feigned bool
}

// Run does each fault at its time and returns once all of them are over. When ctx ends no other
// one begins, and whatever is there is healed at once, within limits of its own. What happens,
// and what goes wrong, is in the events.
func (p *Plan) Run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range p.Faults {
		all.Go(func() { (&one{p, &p.Faults[i]}).run(ctx) })
	}
	all.Wait()
}

// one is one of the faults of a plan.
type one struct {
	*Plan
	fault *scenarios.Fault
}

func (o *one) run(ctx context.Context) {
	begin := time.NewTimer(time.Until(o.Base.Add(o.From + o.fault.At)))
	defer begin.Stop()
	select {
	case <-begin.C:
	case <-ctx.Done():
		return
	}
	targets, err := o.targets(ctx)
	if err != nil {
		o.event(record.FaultError, "", err.Error())
		return
	}
	var all sync.WaitGroup
	for _, into := range targets {
		all.Go(func() { o.touch(ctx, into) })
	}
	all.Wait()
}

func (o *one) event(kind record.EventKind, instance, detail string) {
	o.Event(record.Event{At: time.Since(o.Base), Kind: kind, Instance: instance, Fault: o.fault.Name, Detail: detail})
}

// touch does the fault to one thing, from the injection to the healing.
func (o *one) touch(ctx context.Context, into Target) {
	injected, err := o.inject(ctx, into)
	if err != nil {
		o.event(record.FaultError, into.Instance.ID, "inject: "+because(ctx, err).Error())
		return
	}
	o.event(record.FaultInjected, into.Instance.ID, o.fault.How())
	length := proofLimit
	switch {
	case o.fault.Lasts():
		length = o.fault.For
	case o.fault.Kind == scenarios.BadRevision: // how long a rollout takes to show it is the runtime's business
		length = math.MaxInt64
	}
	while, end := context.WithTimeout(ctx, length)
	defer end()
	o.prove(while, into, injected)
	if !o.fault.Lasts() {
		return
	}
	<-while.Done()
	o.heal(ctx, into, injected)
}

// because adds to an error why ctx has ended, if it has and the error does not say so.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}

func (o *one) inject(ctx context.Context, into Target) (drivers.Injection, error) {
	inject, known := injectors[o.fault.Kind]
	if !known {
		return nil, fmt.Errorf("%s: %w", o.fault.Kind, drivers.ErrUnsupported)
	}
	if o.Feigned && !o.fault.Lasts() && o.fault.Kind != scenarios.BadRevision {
		return feigned{}, nil // there would be nothing to take back
	}
	injected, err := inject(ctx, *o.fault, into)
	if err != nil || !o.Feigned {
		return injected, err
	}
	return injected, injected.Heal(ctx) // which does nothing of a revision: it is another's to be good
}

// feigned is a fault that was never injected.
type feigned struct{}

func (feigned) Proof(context.Context) (string, bool, error) {
	return "nothing has happened", false, nil
}
func (feigned) Heal(context.Context) error { return nil }

// prove asks for the proof until there is one, or ctx ends.
func (o *one) prove(ctx context.Context, into Target, injected drivers.Injection) {
	seen, there := ask(ctx, injected, true)
	if there {
		o.event(record.FaultProven, into.Instance.ID, seen)
		return
	}
	o.event(record.FaultError, into.Instance.ID, "nothing else says that it was there: "+seen)
}

// heal takes the fault back, also when ctx has ended, and asks for the proof until it is gone.
func (o *one) heal(ctx context.Context, into Target, injected drivers.Injection) {
	ctx = context.WithoutCancel(ctx)
	healing, end := context.WithTimeoutCause(ctx, healLimit, fmt.Errorf("not healed within %v", healLimit))
	defer end()
	if err := injected.Heal(healing); err != nil {
		o.event(record.FaultError, into.Instance.ID, "heal: "+because(healing, err).Error())
		return
	}
	asking, end := context.WithTimeout(ctx, goneLimit)
	defer end()
	seen, gone := ask(asking, injected, false)
	if !gone {
		o.event(record.FaultError, into.Instance.ID, fmt.Sprintf("still there %v after it was healed: %s", goneLimit, seen))
		return
	}
	o.event(record.FaultHealed, into.Instance.ID, seen)
}

// ask asks for a proof until it says what is wanted, or ctx ends, and returns what was seen last.
func ask(ctx context.Context, injected drivers.Injection, want bool) (seen string, ok bool) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	seen = "no answer"
	for {
		now, there, err := injected.Proof(ctx)
		switch {
		case err == nil && there == want:
			return now, true
		case err == nil:
			seen = now
		case ctx.Err() == nil: // else it was cut short, and says nothing of the fault
			seen = err.Error()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return seen, false
		}
	}
}
