package drivers_test

import (
	"slices"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// TestQueue: nothing is lost, nothing changes its place, and nobody waits to put it in.
func TestQueue(t *testing.T) {
	const n = 1000
	q := drivers.NewQueue[int]()
	go func() {
		for i := range n {
			q.Put(i)
		}
	}()
	var got []int
	for len(got) < n {
		<-q.Ready()
		got = append(got, q.Take()...)
	}
	if !slices.IsSorted(got) || len(got) != n {
		t.Errorf("%d items in another order than they were put in: %v", len(got), got)
	}
	if rest := q.Take(); len(rest) != 0 {
		t.Errorf("taken twice: %v", rest)
	}
}
