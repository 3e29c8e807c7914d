package reports

import (
	"bytes"
	"encoding/xml"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

func junitText(t *testing.T, run *judge.Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteJUnit(&b, run); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parseJUnit(t *testing.T, raw []byte) junitSuites {
	t.Helper()
	var doc junitSuites
	if err := xml.Unmarshal(raw, &doc); err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	return doc
}

func TestJUnitGolden(t *testing.T) {
	golden(t, "junit.xml", junitText(t, fixtureRun()))
	golden(t, "junit-missed.xml", junitText(t, missedRun()))
	golden(t, "junit-compared.xml", junitText(t, comparedRun()))
}

func TestJUnitCounts(t *testing.T) {
	controlLost := fixtureRun()
	controlLost.Controls[0].Held, controlLost.Verdict = false, judge.Inconclusive
	noGates := fixtureRun()
	noGates.Gates, noGates.Controls, noGates.Verdict = nil, nil, judge.Inconclusive
	noGatesFail := fixtureRun()
	noGatesFail.Gates, noGatesFail.Controls, noGatesFail.Verdict = nil, nil, judge.Fail
	tests := []struct {
		name                             string
		run                              *judge.Run
		tests, failures, errors, skipped int
	}{
		{"pass", fixtureRun(), 5, 0, 0, 0},
		{"gate missed, design skipped", missedRun(), 5, 1, 0, 1},
		{"cut short", partialRun(), 5, 0, 3, 1},
		{"control did not hold", controlLost, 4, 0, 1, 0},
		{"inconclusive without gates", noGates, 1, 0, 1, 0},
		{"failed without gates", noGatesFail, 1, 1, 0, 0},
		{"hostile", hostileRun(), 5, 3, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := parseJUnit(t, junitText(t, tt.run))
			if doc.Tests != tt.tests || doc.Failures != tt.failures || doc.Errors != tt.errors || doc.Skipped != tt.skipped {
				t.Errorf("got %d tests, %d failures, %d errors, %d skipped, want %d, %d, %d, %d",
					doc.Tests, doc.Failures, doc.Errors, doc.Skipped, tt.tests, tt.failures, tt.errors, tt.skipped)
			}
			if tt.run.Verdict != judge.Pass && doc.Failures+doc.Errors == 0 {
				t.Error("not a pass, and all green")
			}
		})
	}
}

// A cell that was not run has one case: skipped where the driver is not there, an error
// where it could not be deployed, a failure where the target did not serve.
func TestJUnitOfACellThatWasNotRun(t *testing.T) {
	desc := record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"svc", "bad"}, Positive: []string{"bad"}, Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}}}}}
	for _, tc := range []struct {
		name    string
		skipped record.Skipped
		want    string // what the case is
	}{
		{"no driver", record.Skipped{Design: "svc", Why: "no engine", Unavailable: true}, "skipped"},
		{"no program", record.Skipped{Design: "svc", Why: "trial 1: no such file", Hint: "say where it is"}, "error"},
		{"404 at deploy", record.Skipped{Design: "svc", Why: "trial 1: it answers 404", ByTarget: true}, "failure"},
		{"404 of a control at deploy", record.Skipped{Design: "bad", Why: "trial 1: it answers 404", ByTarget: true}, "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.skipped.Scenario, tc.skipped.Driver = "rollout", "process"
			other := "bad"
			if tc.skipped.Design == other {
				other = "svc"
			}
			run := judge.Judge(desc, &record.RunEnd{Skipped: []record.Skipped{tc.skipped}}, nil, []judge.Trial{counted("rollout", "process", other, 1, 0)})
			raw := string(junitText(t, &run))
			if strings.Contains(raw, "--design") || strings.Contains(raw, ">&#xA;<") {
				t.Errorf("it speaks of a flag that was not given, or of nothing:\n%s", raw)
			}
			var got []string
			for _, s := range parseJUnit(t, []byte(raw)).Suites {
				for _, c := range s.Cases {
					if !strings.HasPrefix(c.Name, tc.skipped.Design) {
						continue
					}
					for kind, outcome := range map[string]*junitOutcome{"skipped": c.Skipped, "error": c.Error, "failure": c.Failure} {
						if outcome != nil && strings.HasPrefix(outcome.Message, tc.skipped.Why) && strings.Contains(strings.ToLower(outcome.Message), tc.skipped.Hint) {
							got = append(got, kind)
						}
					}
				}
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("its case is %q, want %q:\n%s", got, tc.want, raw)
			}
		})
	}
}

// A cell of which only a later trial could not be run has the cases of its gates, and one that
// is red for what came later: a failure where the target did not serve.
func TestJUnitOfACellOfWhichATrialWasNotRun(t *testing.T) {
	desc := record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"svc"}, Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}, {Design: "svc", Metric: "failed", Op: "<="}}}}}
	for name, tc := range map[string]struct {
		skipped record.Skipped
		want    string
	}{
		"the target":  {record.Skipped{Why: "trial 2: it answers 404", ByTarget: true}, "svc: failed <= 0 green, svc: failed <= 0 (2) green, svc: completed green, svc: every trial is deployed failure"},
		"the runtime": {record.Skipped{Why: "trial 2: no space left"}, "svc: failed <= 0 green, svc: failed <= 0 (2) green, svc: completed green, svc: every trial is deployed error"},
		"the driver":  {record.Skipped{Why: "trial 2: no engine", Unavailable: true}, "svc: failed <= 0 green, svc: failed <= 0 (2) green, svc: completed green, svc: every trial is deployed skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.skipped.Scenario, tc.skipped.Driver, tc.skipped.Design = "rollout", "process", "svc"
			run := judge.Judge(desc, &record.RunEnd{Skipped: []record.Skipped{tc.skipped}}, nil, []judge.Trial{counted("rollout", "process", "svc", 1, 0)})
			doc := parseJUnit(t, junitText(t, &run))
			var got []string
			for _, c := range doc.Suites[0].Cases {
				switch {
				case c.Failure != nil:
					got = append(got, c.Name+" failure")
				case c.Error != nil:
					got = append(got, c.Name+" error")
				case c.Skipped != nil:
					got = append(got, c.Name+" skipped")
				default:
					got = append(got, c.Name+" green")
				}
			}
			if got := strings.Join(got, ", "); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

// A design that a run had no time for was not left out by a flag.
func TestJUnitOfARunThatWasCutShort(t *testing.T) {
	desc := record.Run{Trials: []string{"trials/a-1"}, Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"svc"}, Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}}}}}
	run := judge.Judge(desc, &record.RunEnd{Interrupted: true}, desc.Trials, nil)
	const want = "failed <= 0: observed no value; no trial of this design was recorded. Run it again to its end."
	if got := messages(t, junitText(t, &run)); len(got) == 0 || got[0] != want {
		t.Errorf("got %q, want first %q", got, want)
	}
}

// The times of the cases of a cell add up to that of its load.
func TestJUnitTellsHowLongEachCaseTook(t *testing.T) {
	run := comparedRun()
	seconds := 0.0
	for _, s := range parseJUnit(t, junitText(t, run)).Suites {
		for _, c := range s.Cases {
			if c.Time == "" {
				continue
			}
			of, err := strconv.ParseFloat(c.Time, 64)
			if err != nil {
				t.Fatal(err)
			}
			seconds += of
		}
	}
	want := 0.0
	for i := range run.Cells {
		c := &run.Cells[i]
		if slices.ContainsFunc(run.Gates, func(g judge.GateResult) bool { return g.Cell == c.Key() }) {
			for _, t := range c.Trials {
				want += (t.Meta.LoadTo - t.Meta.LoadFrom).Seconds()
			}
		}
	}
	if math.Abs(seconds-want) > 0.01 || want == 0 {
		t.Errorf("the cases took %.3f s, want %.3f s", seconds, want)
	}
}
