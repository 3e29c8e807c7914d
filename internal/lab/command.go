package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/command"
	"github.com/rollout-lab/rollout-lab/internal/fault"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const (
	// calmEvery is how often the lab asks itself whether all is calm, and leaveAfter how long
	// after the answer the load ends: hits that were due before must have been fired.
	calmEvery  = 50 * time.Millisecond
	leaveAfter = 100 * time.Millisecond

	commandFile = "command.log" // of a trial's folder: what its command said
	resetFile   = "reset.log"   // and what took it back
)

// calm follows a load for when it may end. Its methods may be called concurrently.
type calm struct {
	scenario *scenarios.Scenario
	long     time.Duration // how long it has to last

	mu     sync.Mutex
	next   uint64              // every hit below has its outcome
	above  map[uint64]struct{} // the others that have one
	before uint64              // failures of the baseline phase
	failed time.Duration       // when the last failure was known
	heard  time.Duration       // when the runtime last said anything
	busy   map[string]bool     // instances that are coming or going
}

func newCalm(s *scenarios.Scenario, long time.Duration) *calm {
	return &calm{scenario: s, long: long, above: map[uint64]struct{}{}, busy: map[string]bool{}}
}

// sample takes in what became of a hit.
func (c *calm) sample(s record.Sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.above[s.Seq] = struct{}{}
	for {
		if _, ok := c.above[c.next]; !ok {
			break
		}
		delete(c.above, c.next)
		c.next++
	}
	if s.Class == record.OK || s.Class == record.Harness { // what the harness does says nothing of the target
		return
	}
	c.failed = max(c.failed, s.Done)
	if b := c.scenario.Phases.Baseline; s.Intended >= b.From && s.Intended < b.To {
		c.before++
	}
}

// hear takes in what the runtime says.
func (c *calm) hear(e drivers.Event, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = max(c.heard, at)
	switch e.Kind {
	case drivers.Started, drivers.Terminating, drivers.Unready:
		c.busy[e.Instance] = true
	case drivers.Ready, drivers.Gone:
		delete(c.busy, e.Instance)
	}
}

// known is up to when, from the trial's base, everything that was due has its outcome.
func (c *calm) known() time.Duration {
	return time.Duration(float64(c.next+1) / c.scenario.Load.Rate * float64(time.Second))
}

// baseline reports whether the outcome of the whole baseline phase is known, and how many
// requests failed in it.
func (c *calm) baseline() (failed uint64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.before, c.known() >= c.scenario.Phases.Baseline.To
}

// reached reports whether all is calm, after an action that was over at that moment; and where
// it is not, whether requests fail.
func (c *calm) reached(over time.Duration) (calm, failing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known()
	failing = known < max(over, c.failed)+c.long
	quiet := len(c.busy) == 0 && known >= c.heard+c.long
	return !failing && quiet && known >= over+c.scenario.Action.Settle, failing
}

// measureCommand waits for the baseline phase, runs the command of the trial's design while
// the faults are injected, and ends the load once all is calm behind both. Where the service was
// failing before there is nothing to measure, and neither is done.
func (o *observation) measureCommand(ctx context.Context, loaded <-chan struct{}, end *load.End, folder string, inject func()) {
	a := o.scenario.Action
	if !o.wait(ctx, o.scenario.Phases.Baseline.From) {
		return
	}
	o.phase.Store(PhaseBaseline)
	if !o.wait(ctx, o.scenario.Phases.Window.From) || !o.await(ctx, loaded, func() bool { _, known := o.calm.baseline(); return known }) {
		return
	}
	if failed, _ := o.calm.baseline(); failed > 0 {
		o.event(record.ActionWithheld, fmt.Sprintf("%d requests failed in the baseline phase", failed))
		o.leave(end, record.LoadEnd{Calm: true})
		return
	}
	var faults sync.WaitGroup
	defer faults.Wait()
	faults.Go(inject)
	o.phase.Store(PhaseAction)
	o.acted = true
	timed, cancel := context.WithTimeoutCause(ctx, a.Timeout, fmt.Errorf("not ended within %v", a.Timeout))
	defer cancel()
	o.event(record.ActionStarted, string(a.Kind))
	stop, err := command.Run(timed, o.scenario.CommandOf(o.design), filepath.Join(folder, commandFile))
	defer stop()
	switch {
	case err == nil:
		o.event(record.ActionDone, "")
	case ctx.Err() != nil:
		o.event(record.ActionError, err.Error())
		return
	case errors.As(err, new(*command.ExitError)):
		o.event(record.ActionFailed, "the command: "+err.Error())
	default:
		o.event(record.ActionError, err.Error())
	}
	faults.Wait()
	over := o.now()
	o.phase.Store(PhaseSettle)
	var how record.LoadEnd
	if o.await(ctx, loaded, func() bool {
		how.Calm, how.Failing = o.calm.reached(over)
		return how.Calm || o.now() >= over+a.Max
	}) {
		o.leave(end, how)
	}
}

// await returns once something is so, or says false when the load ended first.
func (o *observation) await(ctx context.Context, loaded <-chan struct{}, so func() bool) bool {
	tick := time.NewTicker(calmEvery)
	defer tick.Stop()
	for {
		if so() {
			return true
		}
		select {
		case <-tick.C:
		case <-loaded:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// leave ends the load in a moment, and says how it came to that.
func (o *observation) leave(end *load.End, how record.LoadEnd) {
	how.At = min(o.now()+leaveAfter, o.scenario.Length())
	how.Planned = o.scenario.PlannedUntil(how.At)
	end.At(how.At)
	o.loadEnd = &how
}

// firstPhase is what a trial begins with.
func (t *trial) firstPhase() Phase {
	if t.scenario.Target.Address() {
		return PhaseAsk
	}
	return PhaseDeploy
}

// ask sends one request to an address, before there is any load.
func (t *trial) ask(ctx context.Context, url string, tgt target.Target) error {
	s, err := load.Once(ctx, load.Plan{URL: url, Wire: tgt.Front, Timeout: t.scenario.Load.Timeout, Streams: tgt.Streams})
	if err != nil {
		return err
	}
	return notAnswering(url, tgt.Streams[0].Requests[0], s)
}

// notAnswering says why an address cannot be measured, nil where it answered as it has to.
func notAnswering(url string, r load.Request, s record.Sample) error {
	what := fmt.Sprintf("%s%s", url, r.Path)
	hint := "is the service up, and is that its address?"
	switch {
	case s.Class == record.OK:
		return nil
	case s.Class == record.Refused:
		what += ": connection refused: nobody listens there"
	case s.Class == record.DNS:
		what, hint = what+": the name does not resolve", "is the name of the host right?"
	case s.Class == record.TLS:
		what, hint = what+": no TLS that is trusted", "is that its name, and who signed its certificate? target.tls.ca (--ca) names another authority"
	case s.Class == record.Timeout:
		what += ": no answer in time"
	case s.Class == record.WrongBody:
		what, hint = what+": answered with another body than the request expects", "say what it has to answer"
	case s.Status != 0:
		what, hint = fmt.Sprintf("%s: answered %d, and that is no success", what, s.Status), "name a path that it serves, or the status that is a success"
	default:
		what += ": " + string(s.Class)
	}
	if s.Reason != "" {
		what += " (" + s.Reason + ")"
	}
	return &drivers.HintError{Err: errors.New(what), Hint: hint}
}

// reset takes back what the action of a trial did, before the next one.
func (t *trial) reset(ctx context.Context, folder string) error {
	argv := t.scenario.ResetOf(t.design)
	if !t.acted || len(argv) == 0 {
		return nil
	}
	t.cfg.Progress(t.update(PhaseReset, ""))
	limit := t.scenario.Action.Timeout
	timed, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ended within %v", limit))
	defer cancel()
	stop, err := command.Run(timed, argv, filepath.Join(folder, resetFile))
	stop()
	if err != nil && ctx.Err() == nil {
		return &EnvironmentError{"reset before the next trial", err}
	}
	return nil
}

// findCommands makes sure that there is everything that the trials will run.
func findCommands(ss []*scenarios.Scenario) error {
	for _, s := range ss {
		var all [][]string
		for _, d := range s.Designs {
			if s.Target.Address() {
				all = append(all, s.CommandOf(d), s.ResetOf(d))
			}
		}
		for i := range s.Faults {
			all = append(all, fault.Commands(&s.Faults[i])...)
		}
		for _, argv := range all {
			if len(argv) == 0 {
				continue
			}
			if err := command.Find(argv); err != nil {
				return &EnvironmentError{"scenario " + s.Name, &drivers.HintError{Err: err, Hint: "it is looked for in PATH; a program in this folder is ./NAME, and a line for a shell is sh -c 'LINE'"}}
			}
		}
	}
	return nil
}

// Watch is something that a runtime is asked about while trials run.
type Watch struct {
	Driver drivers.Observer
	What   string // in the words of the runtime
}

// observations are what is being watched.
type observations []drivers.Observation

// observe begins to watch what the user wants to be watched.
func (t *trial) observe(ctx context.Context) (all observations, err error) {
	for _, w := range t.cfg.Watch {
		o, err := w.Driver.Observe(ctx, w.What)
		if err != nil {
			return nil, &EnvironmentError{"watch " + w.What, errors.Join(err, all.close(ctx))}
		}
		all = append(all, o)
	}
	return all, nil
}

func (all observations) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	var errs error
	for _, o := range all {
		errs = errors.Join(errs, o.Close(ctx))
	}
	return errs
}
