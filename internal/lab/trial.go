package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/fault"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const (
	// lead is between the end of the deployment and the trial's base, for the load to
	// get ready in.
	lead = 250 * time.Millisecond

	deployTimeout  = time.Minute
	cleanupTimeout = 30 * time.Second

	// prepareTimeout is for what is made before the first deployment: a program that is
	// compiled, the nodes of a cluster.
	prepareTimeout = 10 * time.Minute

	probePeriod  = 50 * time.Millisecond // 20 Hz
	probeTimeout = time.Second
	greetTimeout = 5 * time.Second

	// referenceRate is the independent client's: enough to tell an outage from none, too
	// little to be a load.
	referenceRate = 25

	// pressurePeriod is how often the machine is asked how its CPUs fare.
	pressurePeriod = 100 * time.Millisecond

	progressPeriod = 250 * time.Millisecond
)

// errRecord marks the errors of writing the record.
var errRecord = errors.New("record")

// trial runs one planned trial.
type trial struct {
	plannedTrial
	cfg       Config
	index, of int
	hold      func(ctx context.Context, env drivers.Env)
	left      func() time.Duration // how long the run still takes, nil where nobody asks
	preparing time.Duration        // what the driver took to get ready for its first deployment
	acted     bool                 // the action was begun
	observed  bool                 // the load and the action had their time; an interrupt after this costs nothing
}

func (p plannedTrial) describe() record.Trial {
	s := p.scenario
	capable := drivers.CapabilitiesOf(p.driver)
	meta := record.Trial{
		Scenario: s.Name, Driver: p.driver.Name(), Action: s.ActionName(), Design: p.design.Name,
		N: p.n, Repeats: p.repeats,
		Rate: s.Load.Rate, Planned: s.Planned(), Timeout: s.Load.Timeout,
		LoadFrom: 0, LoadTo: s.Length(),
		BaselineFrom: s.Phases.Baseline.From, BaselineTo: s.Phases.Baseline.To,
		WindowFrom: s.Phases.Window.From, WindowTo: s.Phases.Window.To,
		ReplicasBefore: s.Replicas, ReplicasAfter: s.Replicas,
		ProbeEvery: probeEvery(p.driver), LabBalancer: capable.LabBalancer, Routing: capable.Routing,
		MayStop: s.Action.MayStop, AllowUnfinished: s.Action.AllowUnfinished, AllowSaturation: s.Load.Saturation != "",
	}
	meta.Faults = fault.Describe(s)
	target := p.target()
	before, after := target.RevisionNames()
	meta.Revisions = record.Revisions{Before: before, After: before}
	if s.Target.Address() {
		meta.Address, meta.Revisions = s.Target.URL, record.Revisions{}
		meta.UntilCalm = record.UntilCalm{Settle: s.Action.Settle, Max: s.Action.Max}
	}
	switch s.Action.Kind {
	case scenarios.Scale:
		meta.ReplicasAfter = s.Action.To
	case scenarios.Rollout:
		meta.Revisions.After, meta.Revisions.Differ = after, target.RevisionsDiffer() || slices.ContainsFunc(s.Faults, func(f scenarios.Fault) bool { return f.Kind == scenarios.BadRevision })
	}
	return meta
}

// target is the scenario's as it is on the trial's driver.
func (p plannedTrial) target() scenarios.Target {
	is, _ := p.scenario.Target.For(p.driver.Name()) // where it has none nothing is deployed
	return is
}

// probeEvery is how often each instance is asked directly.
func probeEvery(d drivers.Driver) time.Duration {
	if s, ok := d.(drivers.ProbeIntervaler); ok {
		return max(probePeriod, s.ProbeInterval())
	}
	return probePeriod
}

func (p plannedTrial) folder() string { return record.Folder(p.describe()) }

// run deploys the stack, fires the load, acts, and takes everything down again. The
// error is an *EnvironmentError or ctx's; the folder holds what was recorded, "" when
// the deployment failed.
func (t *trial) run(ctx context.Context, w *record.RunWriter) (folder string, err error) {
	t.cfg.Progress(t.update(t.firstPhase(), ""))
	tgt, err := target.Build(t.scenario, t.design, t.driver.Name())
	if err != nil {
		return "", &EnvironmentError{"prepare the target", err}
	}
	if t.cfg.feignFaults {
		tgt.Stack.Revisions = nil // the one after is as good as the one before
	}
	tgt.Stack.RunID = t.cfg.RunID
	tgt.Stack.Name = fmt.Sprintf("%s-%s-%d", t.scenario.Name, t.design.Name, t.n)

	childrenBefore := childrenCPU()
	env, err := t.deploy(ctx, tgt)
	if err != nil {
		return "", &EnvironmentError{string(t.firstPhase()), err}
	}
	closeEnv := sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		return env.Close(ctx)
	})
	defer closeEnv() // for the ways out before the one below

	if err := t.greet(ctx, env, tgt); err != nil {
		return "", &EnvironmentError{"ask the target before the load", err}
	}
	watched, err := t.observe(ctx)
	if err != nil {
		return "", err
	}
	defer watched.close(ctx)

	meta := t.describe()
	if t.scenario.Target.Address() {
		meta.UntilCalm.For = cmp.Or(t.cfg.calm, scenarios.Calm)
	}
	meta.Streams = tgt.RecordStreams()
	if meta.Passthrough = meta.LabBalancer && tgt.PassesThrough(); meta.Passthrough {
		meta.Routing = strings.TrimSpace(meta.Routing + " " + passesOn)
	}
	if p := tgt.Stack.Subject.Signal; p.Interval > 0 {
		meta.Checks = record.Checks{Every: p.Interval, Rise: max(p.Rise, 1), Fall: max(p.Fall, 1)}
	}
	meta.Relays = fault.Relays(ctx, env, tgt.Stack)
	base := time.Now().Add(lead)
	meta.Notes = append(tgt.Notes, notesOf(t.driver, t.design, tgt.Stack)...)
	if n, ok := env.(drivers.Noter); ok {
		meta.Notes = append(meta.Notes, n.Notes()...)
	}
	meta.Began = base.UTC().Format(time.RFC3339Nano)
	cpus := openCPUs(os.DirFS("/"))
	meta.Pressure = cpus.sources
	tw, err := w.Trial(meta)
	if err != nil {
		return "", &EnvironmentError{"write the record", errors.Join(errRecord, err)}
	}
	folder = record.Folder(meta)

	obs := observation{trial: t, env: env, target: tgt, base: base, out: tw, cpus: cpus, watched: watched, passthrough: meta.Passthrough}
	if t.scenario.Target.Address() {
		obs.calm = newCalm(t.scenario, meta.UntilCalm.For)
	}
	end := obs.run(ctx, filepath.Join(w.Dir(), filepath.FromSlash(folder)))
	t.acted = obs.acted
	t.observed = ctx.Err() == nil

	if t.hold != nil && t.observed {
		t.hold(ctx, env)
	}
	t.cfg.Progress(t.update(PhaseCleanup, ""))
	closeErr := errors.Join(closeEnv(), watched.close(ctx))
	obs.watching.Wait() // the watch ends when the environment is closed
	end.Cost.Children = childrenCPU() - childrenBefore
	if writeErr := tw.Close(end); writeErr != nil {
		return folder, &EnvironmentError{"write the record", errors.Join(errRecord, writeErr)}
	}
	if closeErr != nil {
		return folder, &EnvironmentError{"clean up", closeErr}
	}
	return folder, nil
}

// prepare lets the driver make what it needs first, so that the target is not short of its
// time to deploy, and is not to blame for what that takes.
func (t *trial) prepare(ctx context.Context) error {
	p, ok := t.driver.(drivers.Preparer)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, prepareTimeout, fmt.Errorf("not ready for a deployment within %v", prepareTimeout))
	defer cancel()
	began := time.Now()
	err := p.Prepare(ctx)
	if t.preparing = time.Since(began); err != nil {
		return fmt.Errorf("prepare %s: %w", t.driver.Name(), err)
	}
	return nil
}

func (t *trial) deploy(ctx context.Context, tgt target.Target) (drivers.Env, error) {
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	timeout := t.scenario.DeployTimeout
	if timeout == 0 {
		timeout = deployTimeout // of what was there already, which is only asked
	}
	if p := t.scenario.Target.Refproxy; p != nil {
		timeout += p.SyncTime()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &drivers.HintError{
		Err:  fmt.Errorf("no complete deployment within %v", timeout),
		Hint: "send one instance the scenario's request, its path and its status, by itself; one that only takes longer to start needs a longer deploy_timeout",
	})
	defer cancel()
	env, err := t.driver.Deploy(ctx, tgt.Stack)
	if err != nil || tgt.Stack.Address == "" {
		return env, err
	}
	if err := t.ask(ctx, env.URL(), tgt); err != nil {
		return nil, errors.Join(err, env.Close(ctx))
	}
	return env, nil
}

// passesOn is what is to be known of a balancer that does not read what it balances.
const passesOn = "It passes connections on unread: each one stays with its instance until either side closes it, also when that is taken out."

// greet asks the target one question where it will be asked so many, for what no load shows as
// well: that the lab and the target do not come to trust each other.
func (t *trial) greet(ctx context.Context, env drivers.Env, tgt target.Target) error {
	wire := tgt.Front
	if wire.TLS == nil || tgt.Stack.Address != "" {
		return nil // of what is at an address more was asked
	}
	u, err := url.Parse(env.URL())
	if err != nil {
		return err
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "443")
	}
	if class, _, reason := load.ProbeOnce(ctx, addr, wire, tgt.Truth, greetTimeout); class == record.TLS {
		return &drivers.HintError{
			Err:  fmt.Errorf("%s: no trust in TLS: %s", env.URL(), reason),
			Hint: "see target.tls: whom to trust (ca), under which name (server_name), what to show (certificate, key), or that nobody is verified (insecure)",
		}
	}
	return nil
}

// observation is everything that goes on between deployment and clean-up: the load, the
// action, and those who watch.
type observation struct {
	*trial
	env    drivers.Env
	target target.Target
	base   time.Time
	out    *record.TrialWriter
	cpus   *cpuReader
	calm   *calm // nil where the load ends when it was planned to

	watched observations
	acted   bool // the action was begun
	loadEnd *record.LoadEnd

	passthrough bool // the lab's balancer passes connections on unread

	watching sync.WaitGroup
	prober   *load.Prober

	phase      atomic.Value // Phase
	ok, failed atomic.Uint64
}

func (o *observation) now() time.Duration { return time.Since(o.base) }

func (o *observation) event(kind record.EventKind, detail string) {
	o.out.Event(record.Event{At: o.now(), Kind: kind, Detail: detail})
}

// run observes one trial to the end of its load, or to the end of its action if that is
// later, and says how it ended.
// What a command says goes into a file in the folder.
func (o *observation) run(ctx context.Context, folder string) record.End {
	prober, err := load.NewProber(load.ProbePlan{
		Base: o.base, Period: probeEvery(o.driver), Wire: o.target.Stack.Subject.Wire, Timeout: probeTimeout, Request: o.target.Truth,
	}, o.out.Probe)
	if err != nil {
		return record.End{At: o.now(), Error: "direct probes: " + err.Error()}
	}
	o.prober = prober
	o.phase.Store(PhaseWarmup)
	o.watch(ctx)

	loadCtx, stopLoad := context.WithCancelCause(ctx)
	defer stopLoad(nil)
	var others sync.WaitGroup
	var referenceErr error
	referenceCtx, stopReference := context.WithCancel(loadCtx)
	defer stopReference()
	others.Go(func() { referenceErr = o.reference(referenceCtx) })
	loaded := make(chan struct{}) // closed when the load has ended
	end := &load.End{}
	faultCtx, endFaults := context.WithCancelCause(loadCtx)
	defer endFaults(nil)
	inject := func() { o.inject(faultCtx, folder) }
	if o.calm != nil {
		others.Go(func() { o.measureCommand(ctx, loaded, end, folder, inject) })
	} else {
		others.Go(func() { o.act(ctx) })
		others.Go(inject)
	}
	stopProgress := o.progress(stopLoad)
	stopPressure := o.pressure(o.cpus)

	plan := load.Plan{
		URL: o.env.URL(), Wire: o.target.Front, Base: o.base, Rate: o.scenario.Load.Rate, Hits: o.scenario.Planned(),
		Timeout: o.scenario.Load.Timeout, Deny: o.scenario.Load.Deny, Streams: o.target.Streams,
		LabBalancer: drivers.CapabilitiesOf(o.driver).LabBalancer, End: end,
	}
	if tracer, ok := o.env.(drivers.Tracer); ok && o.passthrough {
		plan.Trace = tracer.Trace
	}
	o.event(record.LoadStarted, "")
	sum, loadErr := load.Run(loadCtx, plan, o.sample)
	o.event(record.LoadEnded, "")
	close(loaded)
	endFaults(errLoadEnded)
	if o.calm != nil {
		stopReference()
	}

	others.Wait()
	o.prober.Close()
	stopProgress()
	stopPressure()

	ended := record.End{At: o.now(), Sent: sum.Fired, Cost: sum.Cost, Load: o.loadEnd}
	if ctx.Err() != nil {
		o.event(record.TrialInterrupt, context.Cause(ctx).Error())
		ended.Error = "interrupted"
		return ended
	}
	// These mean that the observation itself has a hole; the action's own error is an
	// event and is judged as such.
	if err := errors.Join(prefix("load", loadErr), prefix("reference", referenceErr)); err != nil {
		ended.Error = err.Error()
	}
	return ended
}

func prefix(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (o *observation) sample(s record.Sample) {
	if s.Class == record.OK {
		o.ok.Add(1)
	} else {
		o.failed.Add(1)
	}
	if o.calm != nil {
		o.calm.sample(s)
	}
	o.out.Sample(s)
}

// watch records what the runtime says until the environment is closed, and keeps the
// direct probes aimed at the instances that exist.
func (o *observation) watch(ctx context.Context) {
	o.follow(ctx, o.env.Watch(), o.aim)
	for _, w := range o.watched {
		o.follow(ctx, w.Watch(), o.aimAt)
	}
}

// follow records events until there are no more, and has direct probes aimed at what starts.
func (o *observation) follow(ctx context.Context, events <-chan drivers.Event, aim func(context.Context, drivers.Event)) {
	o.watching.Go(func() {
		for e := range events {
			if o.calm != nil {
				o.calm.hear(e, e.At.Sub(o.base))
			}
			o.out.Event(record.Event{At: e.At.Sub(o.base), Kind: e.Kind, Instance: e.Instance, Revision: e.Revision, Detail: e.Detail})
			switch e.Kind {
			case drivers.Started:
				aim(ctx, e)
			case drivers.Gone:
				o.prober.Remove(e.Instance)
			}
		}
	})
}

// aimAt points one at an instance that can be asked from here.
func (o *observation) aimAt(_ context.Context, e drivers.Event) {
	if e.Addr != "" {
		o.prober.Add(e.Instance, e.Revision, e.Addr)
	}
}

// aim points a direct probe at an instance that has just started.
func (o *observation) aim(ctx context.Context, e drivers.Event) {
	if e.Addr != "" {
		o.prober.Add(e.Instance, e.Revision, e.Addr)
		return
	}
	instances, err := o.env.Instances(ctx)
	if err != nil {
		// Without its probes the instance's truth is unknown, which judge reports.
		o.event(record.Lost, fmt.Sprintf("address of %s: %v", e.Instance, err))
		return
	}
	for _, i := range instances {
		if i.ID == e.Instance {
			o.prober.Add(i.ID, i.Revision, i.Addr)
		}
	}
}

// act waits for the planned moment and does the scenario's action. How it went is in
// the events.
func (o *observation) act(ctx context.Context) {
	a := o.scenario.Action
	if !o.wait(ctx, o.scenario.Phases.Baseline.From) {
		return
	}
	o.phase.Store(PhaseBaseline)
	if !o.wait(ctx, o.scenario.Phases.Window.From) {
		return
	}
	if a.Kind == scenarios.None {
		o.phase.Store(PhaseWindow)
		return
	}
	o.phase.Store(PhaseAction)
	target := o.plannedTrial.target()
	before, after := target.RevisionNames()
	switch a.Kind {
	case scenarios.Rollout:
		went := o.step(ctx, string(a.Kind), func(ctx context.Context) error { return o.env.Rollout(ctx, after) })
		if a.Then == scenarios.Rollback && went {
			o.step(ctx, a.Then, func(ctx context.Context) error { return o.env.Rollout(ctx, before) })
		}
	case scenarios.Restart:
		o.step(ctx, string(a.Kind), o.env.Restart)
	case scenarios.Scale:
		o.step(ctx, string(a.Kind), func(ctx context.Context) error { return o.env.Scale(ctx, a.To) })
	default:
		o.step(ctx, string(a.Kind), func(context.Context) error { return errors.New("the action is not known") })
	}
	o.phase.Store(PhaseWindow)
}

// step is one step of an action, for which there is the action's timeout. It says whether
// the runtime did its part: what the target did not get done may be taken back.
func (o *observation) step(ctx context.Context, what string, do func(context.Context) error) (went bool) {
	limit := o.scenario.Action.Timeout
	timed, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s did not complete within %v", what, limit))
	defer cancel()
	o.event(record.ActionStarted, what)
	err := do(timed)
	switch {
	case err == nil:
		o.event(record.ActionDone, "")
	case ctx.Err() == nil && (timed.Err() != nil || errors.Is(err, drivers.ErrNotServing)):
		kind := record.ActionFailed
		if o.scenario.Action.MayStop && what != scenarios.Rollback {
			kind = record.ActionStopped
		}
		o.event(kind, err.Error())
	default:
		o.event(record.ActionError, err.Error())
		return false
	}
	return true
}

// wait returns at an offset from the base, or says false when ctx ended first.
func (o *observation) wait(ctx context.Context, offset time.Duration) bool {
	timer := time.NewTimer(time.Until(o.base.Add(offset)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reference sends a few requests with the independent client, through the whole load.
func (o *observation) reference(ctx context.Context) error {
	err := load.RunReference(ctx, load.ReferencePlan{
		URL: o.env.URL(), Wire: o.target.Front, Base: o.base, Rate: referenceRate,
		Length: o.scenario.Length(), Timeout: o.scenario.Load.Timeout,
		Deny: o.scenario.Load.Deny, Streams: o.target.Streams,
		LabBalancer: drivers.CapabilitiesOf(o.driver).LabBalancer,
	}, o.out.Reference)
	return ignoreCancel(err)
}

// progress reports until the returned function is called. It ends the load when the
// record cannot be written any more: nothing that follows would be on it.
func (o *observation) progress(stopLoad context.CancelCauseFunc) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressPeriod)
		defer tick.Stop()
		var past []counts // one per tick, over the last second
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if err := o.out.Err(); err != nil {
				stopLoad(err)
			}
			u := o.update(o.phase.Load().(Phase), "")
			u.Elapsed, u.OK, u.Failed = o.now(), o.ok.Load(), o.failed.Load()
			past = append(past, counts{u.OK, u.Failed})
			if len(past) > int(time.Second/progressPeriod) {
				past = past[1:]
			}
			u.RecentSuccess = past[len(past)-1].since(past[0])
			o.cfg.Progress(u)
		}
	})
	return func() { close(done); wg.Wait() }
}

// pressure records how the machine's CPUs fare, until the returned function is called. Where the
// system does not tell, nothing is recorded.
func (o *observation) pressure(cpus *cpuReader) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(pressurePeriod)
		defer tick.Stop()
		for {
			p, ok := cpus.read(time.Now())
			if !ok {
				return
			}
			p.At = o.now()
			o.out.Pressure(p)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

type counts struct{ ok, failed uint64 }

// since is the share of successes since an earlier count, -1 when nothing happened.
func (c counts) since(earlier counts) float64 {
	ok, failed := c.ok-earlier.ok, c.failed-earlier.failed
	if ok+failed == 0 {
		return -1
	}
	return float64(ok) / float64(ok+failed)
}
