package timeline

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// What recovery asks for: over recoveryHold, every bin of recoveryBin must have
// recoveryOK of its hits ok. Bins are moved by recoveryStep, which is the resolution of the
// result. For the latency to be calm the p99 of each must not exceed calmSlower times the
// baseline, or calmSlack more than it; a p99 needs calmCount values.
const (
	recoveryHold = 5 * time.Second
	recoveryBin  = time.Second
	recoveryStep = 100 * time.Millisecond
	recoveryOK   = 0.999
	calmSlower   = 1.5
	calmSlack    = 10 * time.Millisecond
	calmCount    = 100

	perBin, perHold = int(recoveryBin / recoveryStep), int(recoveryHold / recoveryStep)
)

// Recovery is the time from an instant to the first one behind every disruption after
// which, for 5 s, every bin of 1 s has at least 99.9 % of its planned hits ok; 0 where no
// hit failed from that instant on. A disruption is a bin with less, up to the end of the
// load: what holds for 5 s and breaks afterwards has not recovered. Instants are tried
// every 100 ms, and the bins begin at the one tried. A bin without a planned hit says
// nothing; 5 s without any are no recovery. ok is false when there is no such instant before
// the load ends, or no hit at all.
func Recovery(d *record.TrialData, from time.Duration) (recovery time.Duration, ok bool) {
	steps := stepsOf(d, from, 0)
	if n := len(steps); n == 0 || steps[n-1].planned == 0 {
		return 0, false
	} else if steps[n-1].ok == steps[n-1].planned {
		return 0, true
	}
	return steps.settled(func(bin tally) bool { return bin.served() })
}

// LatencyRecovery is the same with a condition more: every bin has at least 100 hits that
// were ok, and the p99 of their latency is at most 1.5 times the baseline, or 10 ms more
// than it if that is more. ok is false without a baseline.
func LatencyRecovery(d *record.TrialData, from, baseline time.Duration) (recovery time.Duration, ok bool) {
	if baseline <= 0 {
		return 0, false
	}
	limit := max(time.Duration(calmSlower*float64(baseline)), baseline+calmSlack)
	return stepsOf(d, from, limit).settled(func(bin tally) bool {
		// p99 <= limit is the same as: at least as many values as its rank do not exceed it.
		return bin.served() && bin.ok >= calmCount && bin.quick >= rank(bin.ok, 0.99)
	})
}

// tally counts hits; quick are those that were ok within a limit.
type tally struct{ planned, ok, quick int }

func (t tally) minus(o tally) tally {
	return tally{t.planned - o.planned, t.ok - o.ok, t.quick - o.quick}
}

// served reports whether as many hits of a bin were ok as must be.
func (t tally) served() bool {
	return t.planned == 0 || (t.ok > 0 && float64(t.ok) >= recoveryOK*float64(t.planned))
}

// sums are tallies: the one at i is that of everything before step i.
type sums []tally

// stepsOf counts the hits from an instant to the end of the load by steps. What lies behind
// the last whole step is counted with that one. It is empty without a whole step.
func stepsOf(d *record.TrialData, from, limit time.Duration) sums {
	// The last hit is due one period before the end of the load, or at it.
	steps := int((Load(d).To - from) / recoveryStep)
	if steps <= 0 {
		return nil
	}
	all := make(sums, steps+1)
	for h := range Hits(d) {
		if h.Intended < from {
			continue
		}
		t := &all[min(int((h.Intended-from)/recoveryStep), steps-1)+1]
		t.planned++
		if h.OK() {
			t.ok++
			if h.Sample.Latency() <= limit {
				t.quick++
			}
		}
	}
	for i := 1; i <= steps; i++ {
		b := all[i-1]
		all[i] = tally{all[i].planned + b.planned, all[i].ok + b.ok, all[i].quick + b.quick}
	}
	return all
}

// settled is the first instant behind every disruption after which each bin is good for as
// long as must be.
func (s sums) settled(good func(bin tally) bool) (time.Duration, bool) {
	bin := func(i int) tally { return s[i+perBin].minus(s[i]) }
	first := 0
	for i := 0; i+perBin < len(s); i++ {
		if !bin(i).served() {
			first = i + 1
		}
	}
	for i := first; i+perHold < len(s); i++ {
		all := s[i+perHold].planned > s[i].planned
		for b := i; b < i+perHold && all; b += perBin {
			all = bin(b).planned == 0 || good(bin(b))
		}
		if all {
			return time.Duration(i) * recoveryStep, true
		}
	}
	return 0, false
}
