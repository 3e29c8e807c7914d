package reports

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// What nobody lost a request by is said all the same, in every output, and where there is
// nothing to say there is no row.
func TestRowsAboutWaits(t *testing.T) {
	again := timeline.Intermittent{Total: 9 * time.Second, Period: 400 * time.Millisecond, Planned: 9000, Failures: 90, Instances: 1}
	values := func(standstill, slowest, late float64) map[string]float64 {
		return map[string]float64{metric.Standstill: standstill, metric.SlowestRequest: slowest, metric.LateFailures: late}
	}
	invalid := func(t judge.Trial) judge.Trial {
		t.Valid, t.InvalidReasons = false, []judge.Reason{{Kind: judge.LoadLate}}
		return t
	}
	for _, tc := range []struct {
		name  string
		trial func(t judge.Trial) judge.Trial
		gate  string
		want  []string // rows, as the terminal has them
	}{
		{"calm", func(t judge.Trial) judge.Trial { t.Values = values(12, 41, 0); return t }, "failed", nil},
		{"calm, and a limit on it", func(t judge.Trial) judge.Trial { t.Values = values(12, 41, 0); return t }, metric.Standstill,
			[]string{"standstill none 12 ms"}},
		{"1.4 s of nothing", func(t judge.Trial) judge.Trial { t.Values = values(1400, 1402, 0); return t }, "failed",
			[]string{"standstill none 1.40 s", "slowest request 5 ms 1.41 s"}},
		{"as slow as ever", func(t judge.Trial) judge.Trial {
			t.Baseline.P99, t.Values = 800*time.Millisecond, values(900, 1500, 0)
			return t
		}, "failed", nil},
		{"in a discarded trial", func(t judge.Trial) judge.Trial { t.Values = values(1400, 1402, 7); return invalid(t) }, "failed", nil},
		{"again and again", func(t judge.Trial) judge.Trial { t.Intermittent = again; return t }, "failed",
			[]string{"intermittent none 9.00 s", "lost meanwhile none 1.00 % (every 400 ms)", "from none 1 instance"}},
		{"again and again beside a longer outage", func(t judge.Trial) judge.Trial {
			t.Intermittent, t.LongestOutage = again, timeline.Outage{To: again.Total, Failures: 20}
			return t
		}, "failed", nil},
		{"failed by the target", func(t judge.Trial) judge.Trial {
			t.Failures = []judge.Reason{{Kind: judge.ActionFailed, Text: "it ended"}}
			return t
		}, "failed", []string{"failed none 1 trial"}},
		{"behind the window", func(t judge.Trial) judge.Trial { t.Values = values(0, 0, 7); return t }, "failed",
			[]string{"late failures 0 7"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			calm := counted("s", "process", "calm", 1, 0)
			calm.Values = values(0, 5, 0)
			desc := record.Run{Scenarios: []record.Scenario{{Name: "s", Designs: []string{"calm", "slow"}, Gates: []record.Gate{{Design: "slow", Metric: tc.gate, Op: "<=", Limit: 5000}}}}}
			run := judge.Judge(desc, &record.RunEnd{}, nil, []judge.Trial{calm, tc.trial(counted("s", "process", "slow", 1, 0))})
			text, page, junit := terminalText(t, &run, TerminalOptions{}), sections(t, htmlText(t, &run), "matrix"), string(junitText(t, &run))
			single := regexp.MustCompile(` +`).ReplaceAllString(text, " ")
			for _, want := range tc.want {
				if !strings.Contains(single, "\n "+want+"\n") {
					t.Errorf("the terminal has no row %q:\n%s", want, text)
				}
			}
			shown := strings.Join(tc.want, "\n")
			for _, name := range []string{"standstill", "slowest request", "intermittent", "lost meanwhile", "late failures"} {
				want := strings.Contains(shown, name)
				for where, out := range map[string]string{"terminal": text, "page": page, "junit.xml": junit} {
					if got := strings.Contains(strings.ReplaceAll(out, "standstill <=", ""), name); got != want {
						t.Errorf("%s: a row %q is there: %v, want %v", where, name, got, want)
					}
				}
			}
		})
	}
}

// The designs of a scenario stand side by side at 80 columns, whatever happened to them.
func TestTheMatrixFits(t *testing.T) {
	for name, run := range map[string]*judge.Run{"pass": fixtureRun(), "missed": missedRun(), "partial": partialRun(), "hostile": hostileRun()} {
		for i, line := range strings.Split(terminalText(t, run, TerminalOptions{}), "\n") {
			// A word of a command line is not broken: it is to be pasted.
			if n := utf8.RuneCountInString(line); n > 80 && !strings.HasPrefix(line, "rerun ") {
				t.Errorf("%s, line %d has %d columns: %s", name, i+1, n, line)
			}
		}
	}
	if text := terminalText(t, fixtureRun(), TerminalOptions{}); !strings.Contains(text, "naive (most lost)           stack-aware (least lost)") {
		t.Errorf("the designs do not stand side by side:\n%s", text)
	}
}
