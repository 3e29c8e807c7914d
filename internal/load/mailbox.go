package load

import "sync"

// mailbox hands items from many goroutines to one function, one at a time and in the
// order in which they came. Putting never waits for the function: what it has not taken
// yet is kept.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool

	wake chan struct{}
	done chan struct{}
}

// keepItems is the largest backlog whose memory is kept for the next one.
const keepItems = 1 << 10

func newMailbox[T any](deliver func(T)) *mailbox[T] {
	m := &mailbox[T]{wake: make(chan struct{}, 1), done: make(chan struct{})}
	go m.run(deliver)
	return m
}

// put must not be called after close.
func (m *mailbox[T]) put(item T) {
	m.mu.Lock()
	m.items = append(m.items, item)
	m.mu.Unlock()
	m.ring()
}

// close returns when everything was delivered.
func (m *mailbox[T]) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.ring()
	<-m.done
}

func (m *mailbox[T]) ring() {
	select {
	case m.wake <- struct{}{}:
	default: // it was rung already and will see everything
	}
}

func (m *mailbox[T]) run(deliver func(T)) {
	defer close(m.done)
	var batch []T
	for range m.wake {
		for {
			m.mu.Lock()
			batch, m.items = m.items, batch[:0]
			closed := m.closed
			m.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			for i := range batch {
				deliver(batch[i])
			}
			clear(batch)
			if cap(batch) > keepItems {
				batch = nil
			}
		}
	}
}
