package reports

import (
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// As many gates are counted as the sentence behind a pass says were met: one that nobody has
// asked for is told of where it was missed.
func TestAGateThatNobodyAskedForIsCountedWhenItIsMissed(t *testing.T) {
	asked := judge.GateResult{Gate: record.Gate{Metric: "failed", Op: "<="}, Verdict: judge.Pass}
	implied := judge.GateResult{Gate: record.Gate{Metric: metric.Completed}, Implicit: true}
	for verdict, want := range map[judge.Verdict]string{
		judge.Pass:         "1 passed, 0 missed, 0 inconclusive",
		judge.Inconclusive: "1 passed, 0 missed, 0 inconclusive",
		judge.Fail:         "1 passed, 1 missed, 0 inconclusive",
	} {
		implied.Verdict = verdict
		run := &judge.Run{Gates: []judge.GateResult{asked, implied}}
		if got := gateTally(run); got != want {
			t.Errorf("implied %s: %q, want %q", verdict, got, want)
		}
		if got, want := strings.Contains(markdownGates(run), metric.Completed), verdict == judge.Fail; got != want {
			t.Errorf("implied %s: among the gates %v, want %v", verdict, got, want)
		}
	}
	if got := gatesMet(&judge.Run{Gates: []judge.GateResult{asked, implied}}); !strings.Contains(got, "was met") {
		t.Errorf("%q, want the one gate", got)
	}
}
