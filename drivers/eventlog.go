package drivers

import (
	"sync"
	"time"
)

// watchBuffer is how many events a watcher's channel holds by itself.
const watchBuffer = 1024

// EventLog keeps the events of an Env and replays them to any number of watchers, as
// Env.Watch demands. Its zero value is empty and open. Its methods may be called
// concurrently, and none of them waits for a watcher.
type EventLog struct {
	mu      sync.Mutex
	events  []Event
	closed  bool
	changed Broadcast
}

// Append adds an event. An event without a time gets the present one, and one that is
// older than its predecessor gets the predecessor's, so that the log is in order.
// Appending to a closed log does nothing.
func (l *EventLog) Append(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if n := len(l.events); n > 0 && e.At.Before(l.events[n-1].At) {
		e.At = l.events[n-1].At
	}
	l.events = append(l.events, e)
	l.changed.Send()
}

// Close ends the log: watchers get what is left, then their channel is closed.
func (l *EventLog) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.changed.Send()
}

// Watch returns a channel that carries every event from the first one on and is closed
// after the last one once the log is closed. A reader that gives up before that must
// drain the channel, else what is beyond its buffer keeps a goroutine alive.
func (l *EventLog) Watch() <-chan Event {
	out := make(chan Event, watchBuffer)
	go func() {
		defer close(out)
		for n := 0; ; {
			changed := l.changed.Next()
			l.mu.Lock()
			batch, closed := l.events[n:], l.closed
			l.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				<-changed
				continue
			}
			for _, e := range batch {
				out <- e
			}
			n += len(batch)
		}
	}()
	return out
}
