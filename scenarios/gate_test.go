package scenarios

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Every kind of gate, what the record holds of it, and that it is the same when the scenario
// that was written out is read again.
func TestKindsOfGates(t *testing.T) {
	for _, tt := range []struct {
		gate string
		want record.Gate
	}{
		{"{design: own, metric: failed, op: <=, limit: 0}", record.Gate{Metric: "failed", Op: "<="}},
		{"{design: own, metric: failed, op: <=, limit: 0.1%}", record.Gate{Metric: "failed", Op: "<=", Limit: 0.001, Share: true}},
		{"{design: own, metric: failed, op: <=, limit: 12.345%}", record.Gate{Metric: "failed", Op: "<=", Limit: 0.12345, Share: true}},
		{"{design: own, metric: failed, op: <=, limit: 3, stream: newconn-get}", record.Gate{Metric: "failed", Op: "<=", Limit: 3, Stream: "newconn-get"}},
		{"{design: own, metric: failed, op: <=, limit: 3, level: warn}", record.Gate{Metric: "failed", Op: "<=", Limit: 3, Warn: true}},
		{"{design: own, metric: failed, op: <=, limit: 3, level: fail}", record.Gate{Metric: "failed", Op: "<=", Limit: 3}},
		{"{design: own, metric: completed, op: \">=\", limit: 1, level: warn}", record.Gate{Metric: "completed", Op: ">=", Limit: 1, Warn: true}},
		{"{design: own, metric: downtime, against: naive}", record.Gate{Metric: "downtime", Against: "naive"}},
		{"{design: own, metric: downtime, against: baseline, margin: 80ms}", record.Gate{Metric: "downtime", Against: record.PastRuns, Margin: 80 * time.Millisecond}},
	} {
		tt.want.Design = "own"
		text := strings.Replace(good, limited, "- "+tt.gate, 1)
		s, err := Parse("gates.yaml", []byte(strings.Replace(text, "trials: 1", "trials: 3", 1)), offered)
		if err != nil {
			t.Errorf("%s: %v", tt.gate, err)
			continue
		}
		if diff := cmp.Diff(tt.want, s.Gates[0].Recorded()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.gate, diff)
		}
		again, err := Parse("again.yaml", []byte(s.Source), offered)
		if err != nil {
			t.Errorf("%s, written out: %v\n%s", tt.gate, err, s.Source)
		} else if again.Source != s.Source || again.Gates[0].Recorded() != s.Gates[0].Recorded() {
			t.Errorf("%s came back as %+v", tt.gate, again.Gates[0].Recorded())
		}
	}
}

// A gate on a comparison needs both of its designs.
func TestDesignsThatAComparisonNeeds(t *testing.T) {
	text := strings.Replace(good, limited, "- {design: own, metric: downtime, against: naive}\n  - {design: own, metric: downtime, against: baseline}", 1)
	s, err := Parse("gates.yaml", []byte(strings.Replace(text, "trials: 1", "trials: 3", 1)), offered)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WithDesigns([]string{"own"}); err != nil {
		t.Fatal(err)
	}
	if len(s.Gates) != 1 || s.Gates[0].Against != record.PastRuns || len(s.NotChosen.Gates) != 1 {
		t.Errorf("without naive there are the gates %+v, and not chosen are %+v", s.Gates, s.NotChosen.Gates)
	}
	trials := record.TrialRange{Least: 2, Most: 2}
	if err := s.Override(Overrides{Trials: &trials}); err != nil {
		t.Errorf("against a baseline, 2 trials may do: %v", err)
	}
}

// Where several looks share what one may spend, three trials against three are never enough.
func TestAComparisonInAnOpenNumberOfTrials(t *testing.T) {
	text := strings.Replace(good, limited, "- {design: own, metric: downtime, against: naive}", 1)
	for trials, hint := range map[string]string{"3": "", "2": "trials: 3 or more", "2..3": "trials: 4 or more", "2..4": ""} {
		_, err := Parse("gates.yaml", []byte(strings.Replace(text, "trials: 1", "trials: "+trials, 1)), offered)
		if problems, _ := errors.AsType[Errors](err); (err != nil) != (hint != "") || hint != "" && problems[0].Hint != hint {
			t.Errorf("trials: %s: %v, want %q", trials, err, hint)
		}
	}
}

func TestShifted(t *testing.T) {
	for decimal, want := range map[string]string{"0": "0", "1": "100", "0.1": "10", "0.01": "1", "0.001": "0.1", "0.12345": "12.345", "0.999": "99.9", "0.07": "7"} {
		if got := shifted(decimal); got != want {
			t.Errorf("%s x 100 is %s, want %s", decimal, got, want)
		}
	}
}
