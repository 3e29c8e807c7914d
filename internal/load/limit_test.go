package load

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDemand(t *testing.T) {
	tests := []struct {
		name    string
		d       Demand
		workers uint64
		err     string // of a process that may open 4096 files, "" where it is enough
		hint    string
	}{
		{"the runtime's balancer", Demand{Rate: 1000, Hits: 20_000, Timeout: 2 * time.Second}, 3000, "", ""},
		{"the lab's balancer", Demand{Rate: 1000, Hits: 20_000, Timeout: 2 * time.Second, LabBalancer: true}, 3000,
			"1000 requests a second with a timeout of 2s, all of them hanging, would hold 6512 files open, and this process may open 4096",
			"ulimit -n 6512, or --rate 597, or load.timeout: 1.194s"},
		{"kept connections", Demand{Rate: 1000, Hits: 20_000, Timeout: 2 * time.Second, Kept: 64, LabBalancer: true}, 3000,
			"1000 requests a second with a timeout of 2s, all of them hanging, would hold 6704 files open, and this process may open 4096",
			"ulimit -n 6704, or --rate 565, or load.timeout: 1.13s"},
		{"the reference client hangs as well", Demand{Rate: 25, Hits: 20_000, Timeout: 30 * time.Second, LabBalancer: true, Reference: 25}, 1125,
			"25 requests a second with a timeout of 30s, all of them hanging, would hold 6137 files open, and this process may open 4096",
			"ulimit -n 6137, or --rate 2, or load.timeout: 2.786s"},
		{"what the hint says", Demand{Rate: 597, Hits: 20_000, Timeout: 2 * time.Second, LabBalancer: true}, 1791, "", ""},
		{"what else it says", Demand{Rate: 1000, Hits: 20_000, Timeout: 1194 * time.Millisecond, LabBalancer: true}, 1791, "", ""},
		{"few", Demand{Rate: 1, Hits: 100, Timeout: time.Second, LabBalancer: true}, 16, "", ""},
		{"fewer than one", Demand{Rate: 0.1, Hits: 100, Timeout: time.Second}, 16, "", ""},
		{"no more than there are", Demand{Rate: 1e5, Hits: 500, Timeout: 30 * time.Second, LabBalancer: true}, 750, "", ""},
		{"no silent limit", Demand{Rate: 20_000, Hits: 1e6, Timeout: 2 * time.Second}, 60_000,
			"20000 requests a second with a timeout of 2s, all of them hanging, would hold 40512 files open, and this process may open 4096",
			"ulimit -n 40512, or --rate 1792, or load.timeout: 179ms"},
		{"more than memory holds", Demand{Rate: 100_000, Hits: 1e7, Timeout: 2 * time.Second}, 300_000,
			"100000 requests a second with a timeout of 2s, all of them hanging, would hold 200000 requests in flight, and the lab can hold 131072",
			"--rate 65536, or load.timeout: 1.31s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.d.workers(); got != tt.workers {
				t.Errorf("%d workers, want %d", got, tt.workers)
			}
			err := tt.d.prepare(func(uint64) (uint64, error) { return 4096, nil })
			var limit *LimitError
			if errors.As(err, &limit) != (tt.err != "") || err != nil && err.Error() != tt.err {
				t.Fatalf("got %v, want %q", err, tt.err)
			}
			if limit != nil && limit.Hint() != tt.hint {
				t.Errorf("hint %q, want %q", limit.Hint(), tt.hint)
			}
		})
	}
}

func TestTooFewDescriptors(t *testing.T) {
	have, err := ensureDescriptors(1 << 60)
	if err != nil {
		t.Fatal(err)
	}
	if have == 0 {
		t.Error("this process may open no file")
	}
	if have >= 1<<60 {
		t.Skip("no limit of open files here")
	}
	again, err := ensureDescriptors(have)
	if err != nil || again != have {
		t.Errorf("got %d and %v, want %d again", again, err, have)
	}
}

func TestRunRefusesWhatItCannotHold(t *testing.T) {
	plan := Plan{URL: "http://" + refusing(t), Base: time.Now(), Rate: 1e6, Hits: 1e7, Timeout: ample, Streams: threeStreams()}
	_, err := Run(t.Context(), plan, nil)
	var limit *LimitError
	if !errors.As(err, &limit) || !strings.Contains(limit.Hint(), "--rate") {
		t.Errorf("got %v, want a LimitError with advice", err)
	}
}
