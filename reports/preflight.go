package reports

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// Preflight is which rate the machine held, before anything was deployed, against an echo. What a
// target takes of the machine is not in it.
type Preflight struct {
	// The most that a scenario asks for, in requests per second.
	Asked float64 `json:"asked"`
	// The most that was held, in requests per second, no more than asked. Null: nothing that was tried.
	Held *float64 `json:"held"`
	// The p99 of the schedule's lag at that rate, or at the lowest that was tried.
	LagP99MS Milliseconds `json:"lag_p99_ms"`
	// The lag up to which a rate is held.
	LagLimitMS Milliseconds `json:"lag_limit_ms"`
	// Whether the rate was to be chosen by it: --rate auto.
	Auto bool `json:"auto"`
	// What scenarios ask for, in requests per second and by their name, that ran at a lower rate for it.
	Instead map[string]float64 `json:"instead"`
	// The same in a sentence.
	Text string `json:"text"`
}

func newPreflight(run *judge.Run) *Preflight {
	p := run.Record.Preflight
	if p == nil {
		return nil
	}
	out := &Preflight{Asked: p.Asked, LagP99MS: Milliseconds(p.Lag), LagLimitMS: Milliseconds(p.Limit), Auto: p.Auto, Instead: map[string]float64{}, Text: preflightText(run)}
	maps.Copy(out.Instead, p.Instead)
	if p.Held > 0 {
		out.Held = finite(p.Held)
	}
	return out
}

// HeldText says which rate a machine holds.
func HeldText(p record.Preflight) string {
	lag := fmt.Sprintf("p99 of the schedule's lag %s, limit %s", format.Span(p.Lag), format.Span(p.Limit))
	switch {
	case p.Held == 0:
		return fmt.Sprintf("this machine holds none of the rates that were tried (%s)", lag)
	case p.Held >= p.Asked:
		return fmt.Sprintf("this machine holds %s requests a second (%s)", perSecond(p.Held), lag)
	}
	return fmt.Sprintf("this machine holds about %s requests a second (%s)", perSecond(p.Held), lag)
}

// preflightText is that with what followed from it, "" where nobody asked.
func preflightText(run *judge.Run) string {
	p := run.Record.Preflight
	if p == nil {
		return ""
	}
	text := HeldText(*p)
	for _, name := range slices.Sorted(maps.Keys(p.Instead)) {
		for _, s := range run.Record.Scenarios {
			if s.Name == name {
				text += fmt.Sprintf("; %s ran at %s instead of %s", name, perSecond(s.Rate), perSecond(p.Instead[name]))
			}
		}
	}
	return text
}

// perSecond is a rate for people.
func perSecond(rate float64) string {
	if rate == math.Trunc(rate) && rate >= 0 && rate < 1e15 {
		return format.Count(uint64(rate))
	}
	return FlagRate(rate)
}

// FlagRate is a rate as --rate takes it, no higher.
func FlagRate(rate float64) string {
	return format.TrimZeros(fmt.Sprintf("%.1f", math.Floor(rate*10)/10))
}
