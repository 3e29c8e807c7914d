package reports

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// TestARelayIsToldOnce: whatever it added in each trial, the worst of it is told once for a run, and
// once for a cell on the page, where more can be read; each trial has its own in results.json.
func TestARelayIsToldOnce(t *testing.T) {
	run := missedRun()
	adds := []time.Duration{300 * time.Microsecond, 4 * time.Millisecond, 700 * time.Microsecond}
	for i := range run.Cells {
		for k := range run.Cells[i].Trials {
			run.Cells[i].Trials[k].Meta.Relays = []record.Relay{{To: "upstream", Adds: adds[k%len(adds)]}}
		}
	}
	run.Cells[1].Trials[2].Meta.Relays[0].Adds = 30 * time.Millisecond
	const says = "connections to upstream go through a relay"
	got := terminalText(t, run, TerminalOptions{Width: 600})
	if strings.Count(got, says) != 1 || !strings.Contains(got, "adds less than 50 ms to a request, as measured before the load; so in ") {
		t.Errorf("the terminal must say it once, with the worst:\n%s", got)
	}
	var page bytes.Buffer
	if err := WriteHTML(&page, run); err != nil {
		t.Fatal(err)
	}
	evidence, _, _ := strings.Cut(page.String(), `<script`)
	if n := strings.Count(evidence, says); n != len(run.Cells) {
		t.Errorf("the page says it %d times, want once for each of %d cells", n, len(run.Cells))
	}
	for _, c := range Results(run).Cells {
		for _, tr := range c.Trials {
			if last := tr.Notes[len(tr.Notes)-1]; !strings.Contains(last, says) {
				t.Errorf("%s trial %d has no note of it: %q", c.Design, tr.N, tr.Notes)
			}
		}
	}
	run.Cells[0].Trials[0].Meta.Relays[0] = record.Relay{To: "upstream", Unknown: "connection refused"}
	if got := terminalText(t, run, TerminalOptions{Width: 600}); strings.Count(got, says) != 1 || !strings.Contains(got, "what it costs could not be measured: connection refused") {
		t.Errorf("what could not be measured is the worst:\n%s", got)
	}
}
