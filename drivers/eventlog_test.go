package drivers

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func collect(watch <-chan Event) []Event {
	var out []Event
	for e := range watch {
		out = append(out, e)
	}
	return out
}

func TestEventLogTellsEveryWatcherTheSame(t *testing.T) {
	const writers, each = 4, 2000 // more than a watcher's buffer
	var l EventLog
	var writing, reading sync.WaitGroup
	got := make([][]Event, 5)
	for n := range got[:3] {
		watch := l.Watch()
		reading.Go(func() { got[n] = collect(watch) })
	}
	unread := l.Watch() // nobody reads it while events come in, and nobody waits for that
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				l.Append(Event{Kind: Ready, Instance: fmt.Sprint(w, n)})
			}
		})
	}
	writing.Wait()
	l.Close()
	l.Append(Event{Kind: Gone, Instance: "too late"})
	got[3] = collect(unread)
	got[4] = collect(l.Watch())
	reading.Wait()
	if len(got[0]) != writers*each {
		t.Errorf("%d events, want %d", len(got[0]), writers*each)
	}
	for n, events := range got[1:] {
		if diff := cmp.Diff(got[0], events); diff != "" {
			t.Errorf("watcher %d differs from the first one:\n%s", n+1, diff)
		}
	}
}

func TestEventLogIsInOrder(t *testing.T) {
	now := time.Now()
	var l EventLog
	l.Append(Event{At: now, Instance: "a"})
	l.Append(Event{At: now.Add(-time.Second), Instance: "b"})
	l.Append(Event{At: now.Add(time.Second), Instance: "c"})
	l.Close()
	want := []Event{{At: now, Instance: "a"}, {At: now, Instance: "b"}, {At: now.Add(time.Second), Instance: "c"}}
	if diff := cmp.Diff(want, collect(l.Watch())); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestEventLogDeliversAtOnce(t *testing.T) {
	var l EventLog
	defer l.Close()
	watch := l.Watch()
	for n := range 3 {
		id := fmt.Sprint(n)
		l.Append(Event{Instance: id})
		if e := <-watch; e.Instance != id || e.At.IsZero() {
			t.Errorf("got %+v, want instance %s with a time", e, id)
		}
	}
}
