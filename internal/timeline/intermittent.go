package timeline

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Failures are intermittent where they come in intermittentRuns runs and more, each at most
// intermittentGap behind the one before it (or twenty hits, where those take longer), for
// intermittentFrom and longer. A run of as many failures as successes end an outage is one.
const (
	intermittentRuns = 3
	intermittentGap  = time.Second
	intermittentHits = 20
	intermittentFrom = time.Second
)

// Intermittent is what failed again and again between successes, as where one instance of
// several is broken: no outage, however long it lasts.
type Intermittent struct {
	Total     time.Duration // of the stretches from a first to a last failure
	Period    time.Duration // mean time from one run of failures to the next
	Planned   int           // hits in those stretches
	Failures  int           // of them
	Instances int           // distinct ones that answered those failures, as far as answers name them
}

// failureRun is a run of failures.
type failureRun struct {
	from, to    time.Duration // intended times of the first and the last
	first, last int           // which hits of the window those are
	instances   []string      // who answered them
}

// IntermittentIn finds the intermittent failures of a window.
func IntermittentIn(d *record.TrialData, window Span) Intermittent {
	var all Intermittent
	between := 0 // how many times from run to run Period is the sum of
	instances := make(map[string]bool)
	var runs []failureRun // of a stretch
	end := func() {
		if n := len(runs); n >= intermittentRuns && runs[n-1].to-runs[0].from >= intermittentFrom {
			all.Total += runs[n-1].to - runs[0].from
			all.Period += runs[n-1].from - runs[0].from
			between += n - 1
			all.Planned += runs[n-1].last - runs[0].first + 1
			for _, r := range runs {
				all.Failures += r.last - r.first + 1
				for _, name := range r.instances {
					instances[name] = true
				}
			}
		}
		runs = runs[:0]
	}

	gap := max(intermittentGap, hitsLast(&d.Trial, intermittentHits))
	at, row := -1, 0 // which hit, and how many failures in a row
	for h := range Hits(d) {
		if !window.Holds(h.Intended) {
			continue
		}
		at++
		if h.OK() {
			row = 0
			continue
		}
		switch row++; {
		case row > outageOver:
			continue
		case row == outageOver: // an outage: it ends the stretch before it, and is no part of one
			runs = runs[:len(runs)-1]
			end()
			continue
		case row == 1:
			if n := len(runs); n > 0 && h.Intended-runs[n-1].to > gap {
				end()
			}
			runs = append(runs, failureRun{from: h.Intended, first: at})
		}
		run := &runs[len(runs)-1]
		run.to, run.last = h.Intended, at
		if h.Sample != nil && h.Sample.Instance != "" {
			run.instances = append(run.instances, h.Sample.Instance)
		}
	}
	end()
	if between > 0 {
		all.Period /= time.Duration(between)
	}
	all.Instances = len(instances)
	return all
}
