package timeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Standstill is the longest time in which requests were due and none was answered whole,
// beginning in the window. It lasts until the next whole answer, whatever it says; a
// request that fails without one, or was never sent, ends none. One that begins there is
// followed to its end wherever that lies in the load.
func Standstill(d *record.TrialData, window Span) time.Duration {
	type ending struct {
		at       time.Duration
		answered bool
	}
	ends := make([]ending, 0, len(d.Samples))
	last := Load(d).To
	for i := range d.Samples {
		s := &d.Samples[i]
		ends = append(ends, ending{s.Done, answered(s.Class)})
		last = max(last, s.Done)
	}
	slices.SortFunc(ends, func(a, b ending) int { return cmp.Compare(a.at, b.at) })

	var longest time.Duration
	waiting, since := 0, time.Duration(-1) // since when nothing was answered; -1: nobody waits
	stop := func(at time.Duration) {
		if from := max(since, window.From); since >= 0 && window.Holds(from) {
			longest = max(longest, at-from)
		}
	}
	next := 0
	endUntil := func(at time.Duration) {
		for ; next < len(ends) && ends[next].at <= at; next++ {
			waiting--
			if !ends[next].answered {
				continue
			}
			stop(ends[next].at)
			since = -1
			if waiting > 0 {
				since = ends[next].at
			}
		}
	}
	for h := range Hits(d) {
		endUntil(h.Intended)
		if h.Sample != nil {
			waiting++
		}
		if since < 0 {
			since = h.Intended
		}
	}
	endUntil(last)
	stop(last)
	return longest
}

// answered reports whether a request of a class had a whole answer in time.
func answered(c record.Class) bool {
	switch c {
	case record.Refused, record.Reset, record.Timeout, record.Truncated, record.EOF, record.DNS, record.TLS, record.Harness, record.Other, record.Unsent:
		return false
	}
	return true // ok, another body or header, another status, or word that it was not processed
}
