package reports

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestWhichRateIsHeldIsSaid(t *testing.T) {
	const ms = time.Millisecond
	for want, p := range map[string]record.Preflight{
		"this machine holds 1,000 requests a second (p99 of the schedule's lag 1.2 ms, limit 5 ms)":                                        {Asked: 1000, Held: 1000, Lag: 1200 * time.Microsecond, Limit: 5 * ms},
		"this machine holds about 620 requests a second (p99 of the schedule's lag 4 ms, limit 5 ms); s ran at 620 instead of 1,000":       {Asked: 1000, Held: 620, Lag: 4 * ms, Limit: 5 * ms, Auto: true, Instead: map[string]float64{"s": 1000}},
		"this machine holds none of the rates that were tried (p99 of the schedule's lag 9 ms, limit 5 ms); s ran at 620 instead of 1,000": {Asked: 1000, Lag: 9 * ms, Limit: 5 * ms, Auto: true, Instead: map[string]float64{"s": 1000}},
	} {
		run := judge.Judge(record.Run{Preflight: &p, Scenarios: []record.Scenario{{Name: "s", Rate: 620}}}, &record.RunEnd{}, nil, nil)
		if got := preflightText(&run); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		flat := strings.Join(strings.Fields(terminalText(t, &run, TerminalOptions{})), " ")
		if !strings.Contains(flat, want) || !strings.Contains(string(htmlText(t, &run)), want[:20]) {
			t.Errorf("the terminal or the page does not say it:\n%s", flat)
		}
		if doc := Results(&run); doc.Preflight.Text != want || (doc.Preflight.Held == nil) != (p.Held == 0) {
			t.Errorf("results.json: %+v", doc.Preflight)
		}
	}
	run := judge.Judge(record.Run{}, &record.RunEnd{}, nil, nil)
	if doc := Results(&run); doc.Preflight != nil || preflightText(&run) != "" {
		t.Errorf("nobody asked, and it says %+v", doc.Preflight)
	}
}

// Why there are no more trials is said wherever the run is shown.
func TestWhyTrialsStoppedIsSaid(t *testing.T) {
	scenario := record.Scenario{Name: "s", Action: "rollout", Designs: []string{"svc"}, Trials: record.TrialRange{Least: 3, Most: 8}, Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}}}
	for want, st := range map[string]record.Stopped{
		"s on process after 3 of up to 8 trials of each design: every gate is decided":                      {Why: record.GatesDecided, Rounds: 3, NotRun: make([]string, 5)},
		"s on process after 1 of up to 8 trials of each design: it fails, whatever more of them would show": {Why: record.VerdictFinal, Rounds: 1, NotRun: make([]string, 7)},
		"s on process after all 8 trials of each design that there may be":                                  {Why: record.MostTrials, Rounds: 8},
		"s on process: --max-time 5m left no time for 2 trials and 1 repeat of invalid trials":              {Why: record.OutOfTime, Rounds: 7, NotRun: make([]string, 2), Repeats: 1, Needs: time.Minute},
	} {
		st.Scenario, st.Driver = "s", "process"
		run := judge.Judge(record.Run{Scenarios: []record.Scenario{scenario}, MaxTime: 5 * time.Minute, Trials: make([]string, 8)},
			&record.RunEnd{Duration: 5 * time.Minute, Stopped: []record.Stopped{st}}, nil, []judge.Trial{counted("s", "process", "svc", 1, 0)})
		flat := strings.Join(strings.Fields(terminalText(t, &run, TerminalOptions{})), " ")
		if !strings.Contains(flat, want) || !strings.Contains(string(htmlText(t, &run)), want) {
			t.Errorf("the terminal or the page does not say %q:\n%s", want, flat)
		}
		doc := Results(&run)
		if len(doc.Stopped) != 1 || doc.Stopped[0].Text != want || doc.Stopped[0].NotRun != len(st.NotRun) {
			t.Errorf("results.json: %+v, want %q", doc.Stopped, want)
		}
		if late := st.Why == record.OutOfTime; late != strings.Contains(doc.Headline, "--max-time 5m left no time for 2 trials") || late != strings.Contains(doc.Do, "--max-time 396s") {
			t.Errorf("headline %q, do %q", doc.Headline, doc.Do)
		}
	}
}
