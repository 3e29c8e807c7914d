package healthkit

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Loop is the handle of one work loop. The loop calls Tick each time round;
// when it has not for longer than the limit, the process is not live. All
// methods are safe for concurrent use.
type Loop struct {
	r     *Registry
	name  string
	limit time.Duration

	deadline atomic.Int64 // never while idle
	stuckNow atomic.Bool

	// Guarded by r.mu.
	stuck  bool
	since  int64 // since when it is stuck, or not
	stalls uint64
	closed bool
}

// RegisterLoop adds a work loop that must tick at least every limit, counted
// from now. Choose the limit well above the longest honest round: missing it
// gets the process restarted. Errors wrap ErrName, ErrDuplicate, ErrOptions or
// ErrClosed. Names of loops and of components are apart.
func (r *Registry) RegisterLoop(name string, limit time.Duration) (*Loop, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("register loop: %w", err)
	}
	if limit <= 0 {
		return nil, fmt.Errorf("register loop %q: %w: limit %v", name, ErrOptions, limit)
	}
	now := r.lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("register loop %q: %w", name, ErrClosed)
	}
	i, found := slices.BinarySearchFunc(r.loops, name, func(t *Loop, n string) int { return strings.Compare(t.name, n) })
	if found {
		return nil, fmt.Errorf("register loop %q: %w", name, ErrDuplicate)
	}
	t := &Loop{r: r, name: name, limit: limit, since: now}
	t.deadline.Store(now + int64(limit))
	r.loops = slices.Insert(r.loops, i, t)
	r.wakeBy(now + int64(limit))
	r.changed(now)
	return t, nil
}

// Tick says that the loop has gone round. It allocates nothing.
func (t *Loop) Tick() {
	at := t.r.now() + int64(t.limit)
	// As with reports: the deadline is written before the verdict is read, and
	// the registry does it the other way round.
	if old := t.deadline.Swap(at); old != never && !t.stuckNow.Load() {
		return
	}
	t.resume()
}

// Idle says that the loop waits for work and need not tick until it next does.
func (t *Loop) Idle() {
	t.deadline.Store(never)
	if t.stuckNow.Load() {
		t.resume()
	}
}

// resume makes the registry look at a loop that was idle or stuck.
func (t *Loop) resume() {
	r := t.r
	now := r.lock()
	defer r.mu.Unlock()
	if t.closed {
		return
	}
	if at := t.deadline.Load(); at > now {
		r.wakeBy(at)
		if t.stuck {
			t.setStuck(false, now)
			r.changed(now)
		}
	}
}

// Close takes the loop out of the registry, as it does when it ends on purpose. It is
// idempotent.
func (t *Loop) Close() {
	r := t.r
	now := r.lock()
	defer r.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	if t.stuck {
		t.setStuck(false, now)
	}
	i := slices.Index(r.loops, t)
	r.loops = slices.Delete(r.loops, i, i+1)
	r.changed(now)
}

func (t *Loop) setStuck(stuck bool, now int64) {
	t.stuck = stuck
	t.stuckNow.Store(stuck)
	t.since = now
	if stuck {
		t.stalls++
		t.r.stuck++
	} else {
		t.r.stuck--
	}
}

// settle applies the clock to this loop. The caller holds the lock.
func (t *Loop) settle(now int64) (changed bool, next int64) {
	next = t.deadline.Load()
	if t.stuck {
		return false, never
	}
	if next > now {
		return false, next
	}
	t.stuckNow.Store(true)
	if next = t.deadline.Load(); next > now {
		t.stuckNow.Store(false)
		return false, next
	}
	t.setStuck(true, now)
	return true, never
}
