package reports

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// relayNotes say, of trials together, which dependencies are reached through a relay, and what that
// cost in the worst of them.
func relayNotes(trials []judge.Trial) (out []note) {
	var worst []record.Relay
	for i := range trials {
		for _, r := range trials[i].Meta.Relays {
			switch at := slices.IndexFunc(worst, func(w record.Relay) bool { return w.To == r.To }); {
			case at < 0:
				worst = append(worst, r)
			case worst[at].Unknown == "" && (r.Unknown != "" || r.Adds > worst[at].Adds):
				worst[at] = r
			}
		}
	}
	for _, r := range worst {
		out = append(out, note{like: "relay to " + r.To, Text: relayText(r), worst: relayCost(r)})
	}
	return out
}

// relaySteps are what a relay is said to cost less than: a figure would be more than was measured.
var relaySteps = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
}

func relayText(r record.Relay) string {
	text := fmt.Sprintf("connections to %s go through a relay (toxiproxy), in which the faults are made; ", r.To)
	if r.Unknown != "" {
		return text + "what it costs could not be measured: " + r.Unknown
	}
	for _, step := range relaySteps {
		if r.Adds < step {
			return text + fmt.Sprintf("at the median it adds less than %v ms to a request, as measured before the load", step.Seconds()*1000)
		}
	}
	return text + fmt.Sprintf("at the median it adds %v to a request, as measured before the load", r.Adds.Round(time.Millisecond))
}

// relayCost is by what the worst of several is told: one that is not known is worse than any.
func relayCost(r record.Relay) float64 {
	if r.Unknown != "" {
		return math.Inf(1)
	}
	return float64(r.Adds)
}

// trialNotes are the notes of one trial.
func trialNotes(t *judge.Trial) []string {
	all := append(Sentences(t.Remarks), t.Meta.Notes...)
	for _, r := range t.Meta.Relays {
		all = append(all, relayText(r))
	}
	return all
}
