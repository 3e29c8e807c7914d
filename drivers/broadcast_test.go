package drivers

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestBroadcastWakesEverybody(t *testing.T) {
	var b Broadcast
	b.Send() // to nobody
	var value atomic.Int32
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() {
			if err := b.Wait(t.Context(), func() bool { return value.Load() == 100 }); err != nil {
				t.Error(err)
			}
		})
	}
	for range 100 {
		value.Add(1)
		b.Send()
	}
	waiting.Wait() // hangs if the last change was missed
}

func TestBroadcastNextIsOfTheChangeToCome(t *testing.T) {
	var b Broadcast
	b.Send()
	next := b.Next()
	select {
	case <-next:
		t.Error("closed by a Send of before")
	default:
	}
	b.Send()
	<-next
}

func TestBroadcastWaitEndsWithItsContext(t *testing.T) {
	var b Broadcast
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := 0
	err := b.Wait(ctx, func() bool {
		asked++
		cancel(why)
		return false
	})
	if !errors.Is(err, why) || asked != 1 {
		t.Errorf("got %v after %d questions, want %v after 1", err, asked, why)
	}
	if err := b.Wait(ctx, func() bool { return true }); err != nil {
		t.Errorf("what is true already: got %v", err)
	}
}
