package timeline

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// outageOver is how many successes in a row end an outage.
const outageOver = 10

// Outages are the outages that begin in the window. One that begins there is followed to
// its end wherever that lies in the load, so the end of the window does not make an
// outage shorter; it is Open when the load ends before it does.
func Outages(d *record.TrialData, window Span) []Outage {
	var found []Outage
	var current Outage
	in := false
	lastOK := time.Duration(-1)
	row, rowFrom := 0, time.Duration(0) // successes in a row, and the first of them
	last := d.Trial.LoadTo
	for h := range Hits(d) {
		last = max(last, h.Intended)
		if h.OK() {
			if row++; row == 1 {
				rowFrom = h.Intended
			}
			if in && row == outageOver {
				current.To = rowFrom
				found = append(found, current)
				in = false
			}
			lastOK = h.Intended
			continue
		}
		row = 0
		if !in {
			if !window.Holds(h.Intended) {
				continue
			}
			in, current = true, Outage{From: h.Intended, LastOK: lastOK}
		}
		current.Failures++
	}
	if in {
		current.To, current.Open = last, true
		found = append(found, current)
	}
	return found
}

// What recovery asks for: over recoveryHold, every bin of recoveryBin must have
// recoveryOK of its hits ok and a p99 of at most recoverySlower times the baseline's.
// Bins are a second long, because a p99 needs some hundred values, and are moved by
// recoveryStep, which is the resolution of the result.
const (
	recoveryHold   = 5 * time.Second
	recoveryBin    = time.Second
	recoveryStep   = 100 * time.Millisecond
	recoveryOK     = 0.999
	recoverySlower = 1.5
	recoveryFloor  = 10 * time.Millisecond
)

// Recovery is the time from an instant to the first one behind every disruption after
// which, for 5 s, every bin of 1 s has at least 99.9 % of its planned hits ok and a p99 of
// the ok ones' latency of at most 1.5 times the baseline, or 10 ms if that is more: below
// it, a machine's noise would decide. A disruption is a bin with less than 99.9 % ok, up to
// the end of the load: what is calm for 5 s and breaks afterwards has not recovered.
// Instants are tried every 100 ms, and the bins begin at the one tried. A bin without a
// planned hit says nothing; 5 s without any are no recovery. ok is false when there is no
// such instant before the load ends, or no baseline.
func Recovery(d *record.TrialData, from, baseline time.Duration) (recovery time.Duration, ok bool) {
	if baseline <= 0 {
		return 0, false
	}
	limit := max(time.Duration(recoverySlower*float64(baseline)), recoveryFloor)
	load := Load(d)
	// The last hit is due one period before the end of the load, or at it.
	steps := int((load.To - from) / recoveryStep)
	if steps <= 0 {
		return 0, false
	}
	type tally struct{ planned, ok, quick int }
	sums := make([]tally, steps+1) // sums[i]: everything before step i
	for h := range Hits(d) {
		if h.Intended < from {
			continue
		}
		i := int((h.Intended - from) / recoveryStep)
		if i >= steps {
			break
		}
		t := &sums[i+1]
		t.planned++
		if h.OK() {
			t.ok++
			if h.Sample.Latency() <= limit {
				t.quick++
			}
		}
	}
	for i := 1; i <= steps; i++ {
		sums[i].planned += sums[i-1].planned
		sums[i].ok += sums[i-1].ok
		sums[i].quick += sums[i-1].quick
	}
	const perBin, bins = int(recoveryBin / recoveryStep), int(recoveryHold / recoveryBin)
	good := func(i int) bool {
		a, b := sums[i], sums[i+perBin]
		planned, ok, quick := b.planned-a.planned, b.ok-a.ok, b.quick-a.quick
		if planned == 0 {
			return true
		}
		// p99 <= limit is the same as: at least as many values as its rank do not exceed it.
		return float64(ok) >= recoveryOK*float64(planned) && ok > 0 && quick >= rank(ok, 0.99)
	}
	first := 0
	for i := 0; i+perBin <= steps; i++ {
		a, b := sums[i], sums[i+perBin]
		if planned := b.planned - a.planned; float64(b.ok-a.ok) < recoveryOK*float64(planned) {
			first = i + 1
		}
	}
	for i := first; i+bins*perBin <= steps; i++ {
		all := sums[i+bins*perBin].planned > sums[i].planned
		for b := 0; b < bins && all; b++ {
			all = good(i + b*perBin)
		}
		if all {
			return time.Duration(i) * recoveryStep, true
		}
	}
	return 0, false
}
