package drivers

import "sync"

// Queue holds what one goroutine is to deal with, in the order in which it was put in, such
// as what a runtime says of an instance. It has no bound, so that whoever puts something in
// waits for nobody. Its methods may be called concurrently.
type Queue[T any] struct {
	ready chan struct{}
	mu    sync.Mutex
	items []T
}

// NewQueue returns an empty queue.
func NewQueue[T any]() *Queue[T] { return &Queue[T]{ready: make(chan struct{}, 1)} }

// Put adds an item.
func (q *Queue[T]) Put(item T) {
	q.mu.Lock()
	q.items = append(q.items, item)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Ready can be received from once something was put in that was not taken. It may be ready
// without need, as Take may have been called meanwhile.
func (q *Queue[T]) Ready() <-chan struct{} { return q.ready }

// Take returns everything that is in the queue, which is empty then.
func (q *Queue[T]) Take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.items
	q.items = nil
	return out
}
