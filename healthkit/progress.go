package healthkit

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Progress is the token of one work loop. The loop calls Tick each time round;
// when it has not for longer than the limit, the process is not live. All
// methods are safe for concurrent use.
type Progress struct {
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

// Progress registers a work loop that must tick at least every limit, counted
// from now. Choose the limit well above the longest honest round: missing it
// gets the process restarted. Errors wrap ErrName, ErrDuplicate, ErrOptions or
// ErrClosed. Names of tokens and of components are apart.
func (r *Registry) Progress(name string, limit time.Duration) (*Progress, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("register progress token: %w", err)
	}
	if limit <= 0 {
		return nil, fmt.Errorf("register progress token %q: %w: limit %v", name, ErrOptions, limit)
	}
	now := r.lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("register progress token %q: %w", name, ErrClosed)
	}
	i, found := slices.BinarySearchFunc(r.tokens, name, func(t *Progress, n string) int { return strings.Compare(t.name, n) })
	if found {
		return nil, fmt.Errorf("register progress token %q: %w", name, ErrDuplicate)
	}
	t := &Progress{r: r, name: name, limit: limit, since: now}
	t.deadline.Store(now + int64(limit))
	r.tokens = slices.Insert(r.tokens, i, t)
	r.wakeBy(now + int64(limit))
	r.changed(now)
	return t, nil
}

// Tick says that the loop has gone round. It allocates nothing.
func (t *Progress) Tick() {
	at := t.r.now() + int64(t.limit)
	// As with reports: the deadline is written before the verdict is read, and
	// the registry does it the other way round.
	if old := t.deadline.Swap(at); old != never && !t.stuckNow.Load() {
		return
	}
	t.resume()
}

// Idle says that the loop waits for work and need not tick until it next does.
func (t *Progress) Idle() {
	t.deadline.Store(never)
	if t.stuckNow.Load() {
		t.resume()
	}
}

// resume makes the registry look at a token that was idle or stuck.
func (t *Progress) resume() {
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

// Close gives the token back, as the loop does when it ends on purpose. It is
// idempotent.
func (t *Progress) Close() {
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
	i := slices.Index(r.tokens, t)
	r.tokens = slices.Delete(r.tokens, i, i+1)
	r.changed(now)
}

func (t *Progress) setStuck(stuck bool, now int64) {
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

// settle applies the clock to this token. The caller holds the lock.
func (t *Progress) settle(now int64) (changed bool, next int64) {
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
