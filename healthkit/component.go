package healthkit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Options configure a component. The zero value is a required, fail-closed
// component whose reports do not expire.
type Options struct {
	// Optional components never make the process unready, only degraded.
	Optional bool
	// DependsOn names components whose trouble explains trouble of this one:
	// which component is named as the cause, what a failure under FailShared
	// excuses, and that Shutdown stops this one before them. Otherwise it
	// changes no verdict. The names may be registered later; Validate says which
	// are not.
	DependsOn []string
	// Group makes the component a member of the group registered under that
	// name (RegisterGroup): the group counts and the member does not. While
	// there is no such group, the member counts by itself. A member is neither
	// Optional nor Generational, and its OnFailure is the group's affair.
	Group string
	// TTL is how long a report counts. Past it the component is Stale. Zero
	// means for ever.
	TTL time.Duration
	// OnFailure says whether failure makes the process unready.
	OnFailure FailurePolicy
	// Hysteresis dampens changes between serving and not serving.
	Hysteresis Hysteresis
	// Generational components take part in Config.Generations: they must
	// report a generation before the process is ready.
	Generational bool
	// LivenessOverride makes failure or staleness of this component fail
	// /livez, so that the process is restarted. That is hardly ever right for
	// a dependency: a restart does not repair it.
	LivenessOverride bool
}

func (o Options) check() error {
	if o.TTL < 0 {
		return fmt.Errorf("%w: negative TTL %v", ErrOptions, o.TTL)
	}
	if o.OnFailure > FailShared {
		return fmt.Errorf("%w: unknown failure policy %d", ErrOptions, o.OnFailure)
	}
	for _, name := range o.DependsOn {
		if err := checkName(name); err != nil {
			return fmt.Errorf("dependency: %w", err)
		}
	}
	if o.Group != "" {
		if err := checkName(o.Group); err != nil {
			return fmt.Errorf("group: %w", err)
		}
		if o.Optional || o.Generational || o.OnFailure != FailClosed {
			return fmt.Errorf("%w: a member of a group is neither optional nor generational and has no failure policy", ErrOptions)
		}
	}
	return o.Hysteresis.check()
}

// record is the last accepted report. It is immutable, so a reporter compares
// it without the lock. Only a settled record lets a report that repeats it
// skip the lock; one that hysteresis holds back, or that the clock made stale,
// is not settled.
type record struct {
	reason  string
	state   State
	settled bool
}

var (
	unreported = record{state: Starting}
	withdrawn  = record{state: Stopped}
	expired    = record{state: Stale}
	plain      = [...]record{
		Starting: {state: Starting, settled: true},
		Ready:    {state: Ready, settled: true},
		Degraded: {state: Degraded, settled: true},
		Failed:   {state: Failed, settled: true},
		Stale:    {state: Stale},
		Draining: {state: Draining, settled: true},
		Stopped:  {state: Stopped, settled: true},
	}
)

// Component is the handle through which one part of the service reports. All
// methods are safe for concurrent use and none blocks on anything but a short
// lock. Reports after Retract, and reports that would leave Draining or
// Stopped, change nothing; the latter are counted in ComponentStatus.Rejected.
type Component struct {
	r    *Registry
	name string
	opts Options

	rec     atomic.Pointer[record]
	expires atomic.Int64
	gen     atomic.Uint64
	hasGen  atomic.Bool

	// Guarded by r.mu.
	state       State
	reason      string
	since       int64
	transitions uint64
	rejected    uint64
	lastErr     string
	lastErrAt   int64
	everReady   bool
	required    bool // counted in r.required
	blocking    bool // counted in r.blocked
	killing     bool // counted in r.killing
	outage      bool // counted in r.outages
	retracted   bool
	pending     pending
	usual       *record           // the last one with a reason, to be used again
	attributes  map[string]string // never written to: there is another one instead
	genSince    int64
	genAt       int64      // when the generation was last reported
	genOld      bool       // longer ago than GenerationPolicy.MaxAge
	quorum      *quorum    // of a group
	group       *Component // the group that counts in place of this member
	drain, stop func(context.Context) error
	cancel      func()        // ends the check of a pull component
	again       chan struct{} // holds a token when its check is to run at once
}

// Name returns the name under which the component is registered.
func (c *Component) Name() string { return c.name }

// Starting reports that the component is not ready yet, and what it waits for.
func (c *Component) Starting(reason string) { c.report(Starting, reason) }

// Ready reports that the component can serve.
func (c *Component) Ready() { c.report(Ready, "") }

// Degraded reports that the component serves with less than it should have.
func (c *Component) Degraded(reason string) { c.report(Degraded, reason) }

// Failed reports that the component cannot serve. The text of err is taken at
// once; a nil err stands for "failed without an error". Of a text of more than 1 KiB the beginning is
// kept, as of every reason; who sees it is up to Config.Details.
func (c *Component) Failed(err error) {
	if err == nil {
		c.report(Failed, "failed without an error")
		return
	}
	c.report(Failed, err.Error())
}

// Draining reports that the component finishes what it has. Only Stopped is
// accepted after it.
func (c *Component) Draining(reason string) { c.report(Draining, reason) }

// Stopped reports that the component is over. No report is accepted after it;
// to begin again, retract the component and register it anew.
func (c *Component) Stopped(reason string) { c.report(Stopped, reason) }

// ReadyFor reports Ready with a time to live of its own instead of Options.TTL.
// Zero or less means that the report does not expire.
func (c *Component) ReadyFor(ttl time.Duration) { c.apply(Ready, "", max(0, ttl), true) }

// Retract takes the component out of the registry. The process is judged
// without it from now on, and its name is free again. A check is cancelled, not
// waited for. It is idempotent.
func (c *Component) Retract() {
	now := c.r.lock()
	defer c.r.mu.Unlock()
	if c.retracted {
		return
	}
	if c.cancel != nil {
		c.cancel()
	}
	c.r.remove(c, now)
}

func (c *Component) report(s State, reason string) {
	if rec := c.rec.Load(); rec.state == s && rec.settled && rec.reason == reason {
		if c.opts.TTL == 0 || s >= Draining {
			return
		}
		// A report that comes too late has to be seen as a recovery, also when
		// nobody has noticed yet.
		if now := c.r.now(); now < c.expires.Load() {
			// The registry marks the record first and reads the expiry after
			// that; here the expiry is written first and the record read after
			// that. So one of the two sees the other and no fresh report is lost.
			c.expires.Store(now + int64(c.opts.TTL))
			if c.rec.Load() == rec {
				return
			}
		}
	}
	c.apply(s, reason, c.opts.TTL, false)
}

// apply takes a report under the lock. custom says that ttl is the report's
// own, so the next report has to come here as well to restore the usual one.
func (c *Component) apply(s State, reason string, ttl time.Duration, custom bool) {
	r := c.r
	now := r.lock()
	defer r.mu.Unlock()
	if c.retracted {
		return
	}
	if c.state == Stopped && s != Stopped || c.state == Draining && s < Draining {
		c.rejected++
		r.changed(now)
		return
	}
	expires := int64(never)
	if ttl > 0 && s < Draining {
		expires = now + int64(ttl)
	}
	if expires != c.expires.Load() {
		c.expires.Store(expires)
		r.wakeBy(expires)
	}
	// What is kept is clean; only a text that is not can be the same report and look new.
	if u := c.usual; reason != "" && (u == nil || u.reason != reason) {
		if !isClean(reason) {
			reason = clean(reason)
			if rec := c.rec.Load(); rec.state == s && rec.settled && rec.reason == reason && !custom {
				return
			}
		}
	}
	if s == Failed {
		c.lastErr, c.lastErrAt = reason, now
	}
	if c.dampen(s, reason, now) {
		c.rec.Store(&record{state: s, reason: reason})
		r.changed(now)
		return
	}
	switch {
	case custom:
		c.rec.Store(&record{state: s, reason: reason})
	case reason == "":
		c.rec.Store(&plain[s])
	default:
		// What flaps fails again for the same reason, as a rule.
		if u := c.usual; u == nil || u.state != s || u.reason != reason {
			c.usual = &record{state: s, reason: reason, settled: true}
		}
		c.rec.Store(c.usual)
	}
	c.become(s, reason, now)
	r.changed(now)
}

// become sets the judged state. The caller holds the lock and calls changed.
func (c *Component) become(s State, reason string, now int64) {
	c.pending = pending{}
	if s != c.state {
		if c.group != nil {
			c.group.quorum.move(c.state, s)
		}
		c.state = s
		c.since = now
		c.transitions++
	}
	c.reason = reason
	if s.serves() {
		c.everReady = true
	}
	c.recount()
	if c.group != nil && !c.r.settling {
		c.group.regroup(now)
	}
}

// recount keeps the registry's counters equal to what the components say. The
// caller holds the lock.
func (c *Component) recount() {
	r := c.r
	outage := !c.retracted && c.opts.OnFailure == FailShared && c.everReady && c.state == Failed
	if count(&c.outage, outage, &r.outages); r.outages > 0 || r.excusing {
		// What is excused depends on more than one component. This costs time
		// in the number of components only during an outage of a shared one.
		r.excusing = r.outages > 0
		for _, o := range r.components {
			o.weigh()
		}
		return
	}
	c.weigh()
}

// weigh counts this component alone.
func (c *Component) weigh() {
	r := c.r
	required := !c.retracted && !c.opts.Optional && c.group == nil
	count(&c.required, required, &r.required)
	count(&c.blocking, required && blocks(false, c.opts.OnFailure, c.everReady, c.state) && c.excuse() == nil, &r.blocked)
	count(&c.killing, !c.retracted && c.opts.LivenessOverride && c.state.fails(), &r.killing)
}

// count moves a flag and the counter of those that have it.
func count(flag *bool, now bool, counter *int) {
	if *flag == now {
		return
	}
	*flag = now
	if now {
		*counter++
	} else {
		*counter--
	}
}

// excuse returns the shared dependency whose outage excuses the failure or the
// silence of this component, nil when none does.
func (c *Component) excuse() *Component {
	if c.r.outages == 0 || !c.state.fails() || !c.everReady || c.retracted {
		return nil
	}
	return c.r.outageBelow(c, map[*Component]bool{c: true})
}

// outageBelow finds the first outage of a shared dependency that is reachable
// over dependencies that have failed or gone stale.
func (r *Registry) outageBelow(c *Component, seen map[*Component]bool) *Component {
	for _, name := range c.opts.DependsOn {
		d := r.byName[name]
		if d == nil || !d.state.fails() || seen[d] {
			continue
		}
		if d.outage {
			return d
		}
		seen[d] = true
		if found := r.outageBelow(d, seen); found != nil {
			return found
		}
	}
	return nil
}

// blocks is the rule by which one component keeps the process unready.
func blocks(optional bool, policy FailurePolicy, everReady bool, s State) bool {
	switch {
	case optional, s.serves():
		return false
	case s == Failed && policy != FailClosed && everReady:
		return false
	}
	return true
}

// settle applies the clock to this component and returns whether it changed
// and when to look again. The caller holds the lock.
func (c *Component) settle(now int64) (changed bool, next int64) {
	next = c.expires.Load()
	// Silence also ends a recovery that hysteresis holds back: its reports were
	// not in a row.
	if next <= now && (c.state != Stale || c.pending.count > 0) {
		old := c.rec.Load()
		c.rec.Store(&expired)
		if next = c.expires.Load(); next > now {
			// A reporter was faster: its report stands.
			c.rec.Store(old)
		} else {
			reason := c.reason
			if c.state != Stale {
				reason = "no report within its time to live; last was " + c.state.String()
				if c.reason != "" {
					reason = clean(reason + ": " + c.reason)
				}
			}
			c.become(Stale, reason, now)
			changed = true
		}
	}
	if c.state == Stale && c.pending.count == 0 {
		next = never
	}
	if at := c.pending.deadline(c.opts.Hysteresis); at != never {
		if at > now {
			return changed, min(next, at)
		}
		s, reason := c.pending.state, c.pending.reason
		c.rec.Store(&record{state: s, reason: reason, settled: true})
		c.become(s, reason, now)
		changed = true
	}
	return changed, next
}
