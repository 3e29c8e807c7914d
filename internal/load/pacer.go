package load

import (
	"context"
	"time"
)

// precisePacing is the highest rate at which the pacer itself waits, in hits a second.
// Go's timers wake up to a millisecond late when the process idles; sleeping in the
// kernel does not. Above this rate the process does not idle, and a goroutine that sits
// in the kernel only gets in the way.
const precisePacing = 5_000

// coarse is how long before its time a long wait ends on a timer, which ctx can
// interrupt, to end in the kernel.
const coarse = 3 * time.Millisecond

// pacer tells vegeta when to fire: at the schedule's times, as many hits as there are,
// and none after ctx has ended. It waits itself and then asks for no further wait, and
// it is the pacer that ends the attack: with a duration vegeta would lose the last hits.
type pacer struct {
	ctx      context.Context // of one Run; vegeta's interface has no place for it
	schedule *schedule
	origin   time.Time // start of the schedule
	hits     uint64
	end      *End
	start    time.Duration // of the schedule, from the trial's base
	precise  bool
	sleep    func(time.Duration)

	released uint64 // hits that were let go; read it after the attack has ended
	ended    bool   // end has ended it
}

// Pace implements vegeta.Pacer. vegeta calls it from one goroutine.
func (p *pacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	p.released = hits
	if hits >= p.hits || p.ctx.Err() != nil {
		return 0, true
	}
	after := p.schedule.due(hits)
	if p.over(after) {
		return 0, true
	}
	due := p.origin.Add(after)
	wait := time.Until(due)
	if wait > coarse {
		timer := time.NewTimer(wait - coarse)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
			return 0, true
		}
		wait = time.Until(due)
	}
	if !p.precise {
		return max(wait, 0), p.over(after)
	}
	if wait > 0 {
		p.sleep(wait)
	}
	return 0, p.ctx.Err() != nil || p.over(after)
}

// over reports whether the load has ended before a hit that is due so long after its start.
func (p *pacer) over(after time.Duration) bool {
	p.ended = p.end.before(p.start + after)
	return p.ended
}

// Rate implements vegeta.Pacer.
func (p *pacer) Rate(time.Duration) float64 { return float64(time.Second) / p.schedule.period }
