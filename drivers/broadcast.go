package drivers

import (
	"context"
	"sync"
)

// Broadcast tells everybody who waits for it that something has changed, such as what a
// runtime says; what it is they must look up. Its zero value is ready. Its methods may be
// called concurrently.
type Broadcast struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next Send; nil until somebody waits
}

// Send wakes everybody who waits. It waits for nobody.
func (b *Broadcast) Send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Next returns a channel that is closed at the next Send. Who takes it before he looks at
// what may change misses no change.
func (b *Broadcast) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

// Wait asks done now and after every Send until it says true. When ctx ends before that it
// returns its cause.
func (b *Broadcast) Wait(ctx context.Context, done func() bool) error {
	for {
		next := b.Next()
		if done() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
