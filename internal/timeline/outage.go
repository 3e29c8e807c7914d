package timeline

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// An outage ends with outageOver successes in a row, or with nothing but successes for
// outageOverAfter, which are fewer at a low rate.
const (
	outageOver      = 10
	outageOverAfter = time.Second
)

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
			if in && (row >= outageOver || h.Intended-rowFrom >= outageOverAfter) {
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
