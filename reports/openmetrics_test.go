package reports

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
)

func metricsText(t *testing.T, run *judge.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteMetrics(&b, run); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMetricsGolden(t *testing.T) {
	golden(t, "metrics.txt", []byte(metricsText(t, fixtureRun())))
}

// Nothing measured is no zero, and a median over the trials that came to an end flatters.
func TestWhatIsNotKnownIsNoMetric(t *testing.T) {
	run := fixtureRun()
	for i := range run.Cells[1].Trials {
		run.Cells[1].Trials[i].Valid = false
	}
	estimate(&run.Cells[1])
	run.Cells[0].Estimates[metric.Recovery] = judge.Estimate{Median: 1, N: 2} // of 3 valid trials
	text := metricsText(t, run)
	if !strings.Contains(text, `rollout_lab_valid_trials{scenario="quickstart",driver="process",design="stack-aware"} 0`) {
		t.Errorf("it does not say that no trial is valid:\n%s", text)
	}
	if n := strings.Count(text, `design="stack-aware"`); n != 1 {
		t.Errorf("%d numbers about a cell without a valid trial:\n%s", n, text)
	}
	if strings.Contains(text, "recovery") {
		t.Errorf("a recovery that one trial did not see:\n%s", text)
	}
}

// Every line is one that a reader of the format takes, whatever the names hold.
func TestMetricsOfAHostileRun(t *testing.T) {
	line := regexp.MustCompile(`^(# (TYPE [a-z_0-9]+ gauge|HELP [a-z_0-9]+ .+|EOF)|[a-z_0-9]+\{([a-z]+="([^"\\]|\\[\\"n])*",?){3}\} [0-9.]+)$`)
	for l := range strings.Lines(metricsText(t, hostileRun())) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("%q is no line of the format", l)
		}
	}
}
