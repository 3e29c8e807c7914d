package healthkit

import (
	"fmt"
	"strings"
	"time"
)

// Hysteresis dampens the change between serving (Ready, Degraded) and failing
// (Failed). A change takes effect when enough reports in a row say so and the
// first of them is old enough; until then the old state stands and the new one
// is shown as pending. The zero value dampens nothing.
//
// It never holds back the first readiness, a report of Starting, Draining or
// Stopped, nor staleness: a time to live is a tolerance in itself.
type Hysteresis struct {
	// FailCount is how many reports of failure in a row it takes to fail; zero
	// and one both mean the first.
	FailCount int
	// FailFor is how long failure must have been reported, without a report
	// to the contrary.
	FailFor time.Duration
	// RecoverCount is how many good reports in a row it takes to recover.
	RecoverCount int
	// RecoverFor is how long good reports must have gone on.
	RecoverFor time.Duration
}

func (h Hysteresis) check() error {
	if h.FailCount < 0 || h.RecoverCount < 0 || h.FailFor < 0 || h.RecoverFor < 0 {
		return fmt.Errorf("%w: negative hysteresis", ErrOptions)
	}
	return nil
}

// pending is a change that hysteresis holds back.
type pending struct {
	count  int
	first  int64
	state  State
	reason string
}

// needs returns what a change to s takes.
func (h Hysteresis) needs(s State) (count int, wait int64) {
	if s.serves() {
		return max(1, h.RecoverCount), int64(h.RecoverFor)
	}
	return max(1, h.FailCount), int64(h.FailFor)
}

// deadline returns when the change takes effect by the clock alone.
func (p pending) deadline(h Hysteresis) int64 {
	count, wait := h.needs(p.state)
	if p.count == 0 || p.count < count {
		return never
	}
	return p.first + wait
}

// dampen tells whether hysteresis holds the report back, and keeps it if so.
// The caller holds the lock.
func (c *Component) dampen(s State, reason string, now int64) bool {
	h := c.opts.Hysteresis
	if h == (Hysteresis{}) || !c.everReady || (s != Failed && !s.serves()) {
		return false
	}
	switch c.state {
	case Ready, Degraded, Failed, Stale:
	default:
		return false
	}
	if s.serves() == c.state.serves() {
		return false
	}
	if c.pending.count == 0 {
		c.pending.first = now
	}
	c.pending.count++
	c.pending.state, c.pending.reason = s, reason
	at := c.pending.deadline(h)
	if at <= now {
		return false
	}
	c.r.wakeBy(at)
	return true
}

// pendingReason is what stands before the reason in a description, and nowhere before that.
const pendingReason = "): "

// describe says in words what is held back; empty when nothing is.
func (p pending) describe(h Hysteresis) string {
	if p.count == 0 {
		return ""
	}
	count, wait := h.needs(p.state)
	text := fmt.Sprintf("%s (%d of %d reports, for %v)", p.state, p.count, count, time.Duration(wait))
	if p.reason != "" {
		text = strings.TrimSuffix(text, ")") + pendingReason + p.reason
	}
	return text
}
