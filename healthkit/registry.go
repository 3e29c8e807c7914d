package healthkit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a registry, to be tested with errors.Is.
var (
	// ErrName is returned for a name that is empty or holds anything but
	// letters, digits and . _ - / :
	ErrName = errors.New("invalid name")
	// ErrDuplicate is returned when the name is taken.
	ErrDuplicate = errors.New("name already registered")
	// ErrPhase is returned for a move that the lifecycle forbids.
	ErrPhase = errors.New("illegal lifecycle move")
	// ErrClosed is returned when something is registered after Close.
	ErrClosed = errors.New("registry closed")
	// ErrOptions is returned for options that contradict each other or are out
	// of range.
	ErrOptions = errors.New("invalid options")
)

// never is a deadline that does not come.
const never = math.MaxInt64

// Config configures a Registry. The zero Config is the careful one.
type Config struct {
	// Expect names components that must be registered before the process can
	// be ready. It closes the gap in which the first component is ready and
	// the second one is not registered yet. A name that is retracted is
	// missing again. One that no component can have (ErrName) keeps the process
	// unready for ever, and Validate says so.
	Expect []string
	// AllowEmpty makes a registry without any required component ready. Without
	// it such a registry is not ready: an empty set is more often a mistake
	// than a wish.
	AllowEmpty bool
	// Generations says what the generations of the generational components
	// must satisfy for readiness.
	Generations GenerationPolicy
	// Details says who may see the reasons in ?verbose and /statusz. They are
	// texts of errors, and such a text may hold a connection string with a
	// password. Everybody else sees "reason withheld" in their place, and
	// names, states, times and attributes as ever. Nil means FromLoopback.
	Details func(*http.Request) bool
	// OnDrain, if set, is called once, in its own goroutine, for the first
	// POST to /drainz, so that a preStop hook can start the shutdown that
	// SIGTERM would start. Without it POST /drainz is refused.
	OnDrain func()
	// DrainFrom says whose POST to /drainz is taken; nil means FromLoopback. A
	// preStop hook of kind exec comes from there; one of kind httpGet comes
	// from the node and sends a GET, which asks for no drain.
	DrainFrom func(*http.Request) bool
}

// Registry holds the components, checks and work loops of one process
// and judges them. All its methods are safe for concurrent use.
//
// A Registry owns goroutines only while checks are registered or a Close is
// under way; Close ends them.
type Registry struct {
	cfg  Config
	base time.Time        // the zero of every time kept here; only its monotonic part counts
	wall func() time.Time // the wall clock

	// What probes read without the lock. wake is a lower bound of the next
	// moment at which the verdict can change by the clock alone; past it a
	// reader takes the lock and judges anew, so a late timer cannot make a
	// probe answer from a stale report.
	ready    atomic.Bool
	live     atomic.Bool
	started  atomic.Bool
	phase    atomic.Uint32
	wake     atomic.Int64
	wallDue  atomic.Int64             // when the wall clock is to be looked at again
	snapshot atomic.Pointer[Snapshot] // of the current version; nil when nobody has asked for it yet
	inflight atomic.Int64
	asked    atomic.Bool   // inflight was not always zero
	refusing atomic.Bool   // Middleware lets nothing in any more
	empty    chan struct{} // holds a token when inflight fell to zero while draining

	mu         sync.Mutex
	anchor     time.Time // what the wall clock said
	anchored   int64     // and when that was
	version    uint64
	components []*Component // sorted by name
	byName     map[string]*Component
	loops      []*Loop // sorted by name
	expect     map[string]bool
	mentions   []mention
	missing    int  // expected and not registered
	required   int  // components that are not optional, groups in place of their members
	blocked    int  // components that keep the process unready
	killing    int  // components that fail liveness
	stuck      int  // loops that fail liveness
	settling   bool // groups are judged after all that the clock has changed, not in between
	outages    int  // failed components that are FailShared
	excusing   bool // outages was positive when the components were last counted

	gens generations

	shutting    chan struct{} // holds a token while a Shutdown is under way
	phaseSince  int64
	phaseReason string
	firstReady  int64 // time from base to the first readiness
	timer       *time.Timer
	watchers    []*watcher
	drainOnce   sync.Once
	closed      bool
	done        chan struct{}        // closed by Close
	stopping    chan struct{}        // closed by stop, when the process becomes a lame duck
	taking      map[*taking]struct{} // to be cancelled before; nil after
	finished    chan struct{}        // closed when the last check has ended after Close
	runners     sync.WaitGroup
	running     map[*Component]struct{} // checks whose function is running
}

// New returns an empty registry in PhaseStarting. It starts no goroutine.
func New(cfg Config) *Registry {
	r := &Registry{
		cfg:      cfg,
		base:     time.Now(),
		wall:     time.Now,
		byName:   make(map[string]*Component),
		expect:   make(map[string]bool),
		running:  make(map[*Component]struct{}),
		done:     make(chan struct{}),
		finished: make(chan struct{}),
		empty:    make(chan struct{}, 1),
		shutting: make(chan struct{}, 1),
		stopping: make(chan struct{}),
		taking:   make(map[*taking]struct{}),
	}
	for _, name := range cfg.Expect {
		r.expect[expectedName(name)] = true
	}
	r.missing = len(r.expect)
	r.gens.policy = cfg.Generations
	r.gens.floor = cfg.Generations.AtLeast
	r.gens.badSince = never
	r.live.Store(true)
	r.wake.Store(never)
	r.anchor = r.base
	r.wallDue.Store(int64(wallCheck))
	r.version = 1
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gens.judge(r, 0)
	r.decide(0)
	return r
}

// lock takes the lock and applies what the clock has changed until now, so that
// no report, move or registration is judged against a verdict that has expired.
func (r *Registry) lock() (now int64) {
	r.mu.Lock()
	now = r.now()
	if now >= r.wake.Load() {
		r.settle(now)
	}
	return now
}

// Ready tells whether requests should be routed to this process now. It does
// not block on checks, allocates nothing and costs the same whatever the number
// of components.
func (r *Registry) Ready() bool {
	if w := r.wake.Load(); w != never && r.now() >= w {
		r.catchUp()
	}
	return r.ready.Load()
}

// Live tells whether every work loop has ticked in time, and no component
// with LivenessOverride has failed. A process that is not live should be
// restarted.
func (r *Registry) Live() bool {
	if w := r.wake.Load(); w != never && r.now() >= w {
		r.catchUp()
	}
	return r.live.Load()
}

// Started tells whether the process was ready at least once.
func (r *Registry) Started() bool {
	return r.Ready() || r.started.Load()
}

// Phase returns where the process is in its life.
func (r *Registry) Phase() Phase { return Phase(r.phase.Load()) }

// Version returns the number of the current snapshot. It grows with every
// change that a snapshot shows.
func (r *Registry) Version() uint64 {
	r.lock()
	defer r.mu.Unlock()
	return r.version
}

// InFlight returns the number of requests inside Middleware and of holds (Hold).
func (r *Registry) InFlight() int { return int(r.inflight.Load()) }

// Register adds a component in state Starting. It can be called at any time: a
// required component that is added late makes the process unready until it
// reports. Errors wrap ErrName, ErrDuplicate, ErrOptions or ErrClosed.
func (r *Registry) Register(name string, opts Options) (*Component, error) {
	return r.register(name, opts, nil)
}

func (r *Registry) register(name string, opts Options, q *quorum) (*Component, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("register component: %w", err)
	}
	if err := opts.check(); err != nil {
		return nil, fmt.Errorf("register component %q: %w", name, err)
	}
	opts.DependsOn = slices.Clone(opts.DependsOn)
	c := &Component{r: r, name: name, opts: opts, quorum: q}
	c.rec.Store(&unreported)
	c.expires.Store(never)
	now := r.lock()
	defer r.mu.Unlock()
	if err := r.add(c, now); err != nil {
		return nil, fmt.Errorf("register component %q: %w", name, err)
	}
	return c, nil
}

// add takes a component in; the caller holds the lock.
func (r *Registry) add(c *Component, now int64) error {
	if r.closed {
		return ErrClosed
	}
	if r.byName[c.name] != nil {
		return ErrDuplicate
	}
	c.since = now
	i, _ := slices.BinarySearchFunc(r.components, c.name, func(o *Component, n string) int { return strings.Compare(o.name, n) })
	r.components = slices.Insert(r.components, i, c)
	r.byName[c.name] = c
	if r.expect[c.name] {
		r.missing--
	}
	r.enlist(c, now)
	c.recount()
	r.gens.judge(r, now)
	r.changed(now)
	return nil
}

// remove takes a component out; the caller holds the lock.
func (r *Registry) remove(c *Component, now int64) {
	c.retracted = true
	c.rec.Store(&withdrawn)
	c.expires.Store(never)
	delete(r.byName, c.name)
	c.recount()
	r.discharge(c, now)
	i := slices.Index(r.components, c)
	r.components = slices.Delete(r.components, i, i+1)
	if r.expect[c.name] {
		r.missing++
	}
	r.gens.judge(r, now)
	r.changed(now)
}

// changed records that a snapshot would look different now. The caller holds
// the lock.
func (r *Registry) changed(now int64) {
	r.version++
	if r.snapshot.Load() != nil {
		r.snapshot.Store(nil)
	}
	r.decide(now)
	for _, w := range r.watchers {
		w.poke()
	}
}

// decide derives the verdicts from the counters. The caller holds the lock.
func (r *Registry) decide(now int64) {
	phase := Phase(r.phase.Load())
	ready := phase <= PhaseServing && r.blocked == 0 && r.missing == 0 &&
		(r.required > 0 || r.cfg.AllowEmpty) && r.gens.ok(now)
	if ready && phase == PhaseStarting {
		r.setPhase(PhaseServing, "", now)
		r.firstReady = now
		r.started.Store(true)
	}
	if ready != r.ready.Load() {
		r.ready.Store(ready)
	}
	if live := r.stuck == 0 && r.killing == 0; live != r.live.Load() {
		r.live.Store(live)
	}
}

func (r *Registry) setPhase(p Phase, reason string, now int64) {
	r.phase.Store(uint32(p))
	r.phaseSince = now
	r.phaseReason = reason
}

// Advance moves the process on to the next phase of its end, for a service that does
// not leave this to Run or Shutdown. Only the next one can follow, and PhaseLameDuck
// PhaseStarting as well: a process can be told to stop before it was ever ready. To ask
// for the phase that is there already does nothing, so two callers may. Otherwise the
// error wraps ErrPhase; so it does for PhaseServing, which is the registry's own to
// begin. The reason is shown with the phase.
func (r *Registry) Advance(to Phase, reason string) error {
	now := r.lock()
	defer r.mu.Unlock()
	reason = clean(reason)
	from := Phase(r.phase.Load())
	if from == to {
		return nil
	}
	if !to.mayFollow(from) {
		return fmt.Errorf("from %s to %s: %w", from, to, ErrPhase)
	}
	r.setPhase(to, reason, now)
	r.changed(now)
	r.stop()
	return nil
}

// wakeBy makes sure that the registry judges itself at time t. The caller holds
// the lock.
func (r *Registry) wakeBy(t int64) {
	if t >= r.wake.Load() {
		return
	}
	r.wake.Store(t)
	r.arm()
}

func (r *Registry) arm() {
	w := r.wake.Load()
	if r.closed || w == never {
		return
	}
	d := time.Duration(max(0, w-r.now()))
	if r.timer == nil {
		r.timer = time.AfterFunc(d, r.catchUp)
		return
	}
	r.timer.Reset(d)
}

// catchUp applies what the clock alone has changed.
func (r *Registry) catchUp() {
	now := r.lock()
	defer r.mu.Unlock()
	if now < r.wake.Load() {
		// The timer may have fired for a deadline that has moved since.
		r.arm()
	}
}

// settle applies expiries, hysteresis that ran out, missed ticks and the grace
// of generations, up to now. The caller holds the lock.
func (r *Registry) settle(now int64) {
	next := int64(never)
	dirty := false
	r.settling = true
	for _, c := range r.components {
		moved, at := c.settle(now)
		dirty = dirty || moved
		next = min(next, at)
	}
	r.settling = false
	if dirty {
		for _, c := range r.components {
			if c.quorum != nil {
				c.regroup(now)
			}
		}
	}
	for _, t := range r.loops {
		moved, at := t.settle(now)
		dirty = dirty || moved
		next = min(next, at)
	}
	moved, at := r.gens.settle(r, now)
	if dirty || moved {
		r.changed(now)
	}
	// Last: a reader that sees the new deadline asks no further, so the verdict
	// must be there before it.
	r.wake.Store(min(next, at))
	r.arm()
}

// Close ends the registry at once, without a drain: it is unready from now on,
// checks are cancelled and no new one starts. It waits for check functions that
// are running until ctx ends; the error then names them. It is idempotent.
func (r *Registry) Close(ctx context.Context) error {
	now := r.lock()
	if !r.closed {
		r.closed = true
		if r.timer != nil {
			r.timer.Stop()
		}
		for p := Phase(r.phase.Load()); p < PhaseStopped; p = Phase(r.phase.Load()) {
			r.setPhase(max(PhaseLameDuck, p+1), "closed", now)
		}
		r.changed(now)
		r.stop()
		close(r.done)
		go func() {
			r.runners.Wait()
			close(r.finished)
		}()
	}
	r.mu.Unlock()

	select {
	case <-r.finished:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for c := range r.running {
		names = append(names, c.name)
	}
	if len(names) == 0 {
		return nil // the runners are on their way out
	}
	slices.Sort(names)
	return fmt.Errorf("close: waited for running checks %s: %w", strings.Join(names, ", "), context.Cause(ctx))
}

func checkName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: empty", ErrName)
	}
	for _, b := range []byte(name) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		case strings.IndexByte("._-/:", b) >= 0:
		default:
			return fmt.Errorf("%w: %q", ErrName, name)
		}
	}
	return nil
}
