package healthkit

import (
	"context"
	"fmt"
	"iter"
	"slices"
)

// watcher is one Watch. Its channel holds at most one token: "there is
// something newer", not how much.
type watcher struct{ news chan struct{} }

func (w *watcher) poke() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// Watch yields the current snapshot and then each newer one, versions strictly
// rising. A slow consumer is never waited for: it may miss versions in between
// but always gets the last. The sequence ends when ctx ends, when the loop is
// left, or after the final snapshot of a closed registry. It starts no
// goroutine; snapshots are built in the consumer's.
func (r *Registry) Watch(ctx context.Context) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		w := &watcher{news: make(chan struct{}, 1)}
		r.mu.Lock()
		r.watchers = append(r.watchers, w)
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			r.watchers = slices.DeleteFunc(r.watchers, func(o *watcher) bool { return o == w })
			r.mu.Unlock()
		}()
		var last uint64
		for ctx.Err() == nil {
			// Asked before the snapshot is taken, so that the snapshot after a
			// close is not taken for one before it.
			closed := r.isClosed()
			if s := r.Snapshot(); s.Version > last {
				last = s.Version
				if !yield(s) {
					return
				}
				continue
			}
			if closed {
				return
			}
			select {
			case <-ctx.Done():
			case <-w.news:
			}
		}
	}
}

// WaitReady blocks until the process is ready. When ctx ends first the error says what keeps it
// unready, with every reason, and wraps the cause of ctx. When the process has been told to stop
// it will not be ready any more: then WaitReady returns at once and the error wraps ErrPhase.
func (r *Registry) WaitReady(ctx context.Context) error {
	for s := range r.Watch(ctx) {
		if s.Ready() {
			return nil
		}
		if s.Phase > PhaseServing {
			return fmt.Errorf("wait until ready: %s: %w", s.Reason(), ErrPhase)
		}
	}
	s := r.Snapshot()
	if s.Ready() {
		return nil
	}
	return fmt.Errorf("wait until ready: %s: %w", s.Reason(), context.Cause(ctx))
}

func (r *Registry) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
