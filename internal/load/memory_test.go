package load

import (
	"runtime"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// heapAtEnd is the live heap when the last sample of a load of so many hits arrives. All
// of them are refused and few can be in flight, so that neither connections nor workers,
// which depend on how busy the machine is, have a part in it.
func heapAtEnd(t *testing.T, hits uint64) uint64 {
	t.Helper()
	plan := Plan{URL: "http://" + refusing(t), Base: time.Now(), Rate: 10_000, Hits: hits, Timeout: 10 * time.Millisecond, Streams: threeStreams()}
	plan.Start = headStart
	var heap, seen uint64
	_, err := Run(t.Context(), plan, func(s record.Sample) {
		if seen++; seen == hits {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap = m.HeapAlloc
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return heap
}

// Ten times the hits, the same memory: what is kept per hit, be it only its number,
// would show. A machine that is busy may leave a backlog of samples in one try, but not
// in each.
func TestMemoryIsFlat(t *testing.T) {
	const short, long = 2_000, 20_000
	const limit = 16 * (long - short)
	var small, large uint64
	for range 5 {
		small, large = heapAtEnd(t, short), heapAtEnd(t, long)
		t.Logf("live heap at the end: %d bytes after %d hits, %d after %d", small, short, large, long)
		if large < small+limit {
			return
		}
	}
	t.Errorf("live heap grew from %d to %d bytes: by %d bytes per hit, want less than 16",
		small, large, (large-small)/(long-short))
}

func TestMailboxKeepsOrderAndLosesNothing(t *testing.T) {
	const senders, each = 8, 5_000
	type item struct{ sender, n int }
	next := make([]int, senders)
	block := make(chan struct{})
	m := newMailbox(func(i item) {
		<-block // the sender must not care
		if next[i.sender] != i.n {
			t.Errorf("sender %d: got item %d, want %d", i.sender, i.n, next[i.sender])
		}
		next[i.sender]++
	})
	done := make(chan struct{})
	for s := range senders {
		go func() {
			for n := range each {
				m.put(item{s, n})
			}
			done <- struct{}{}
		}()
	}
	for range senders {
		<-done
	}
	close(block)
	m.close()
	for s, n := range next {
		if n != each {
			t.Errorf("sender %d: %d items arrived, want %d", s, n, each)
		}
	}
}
