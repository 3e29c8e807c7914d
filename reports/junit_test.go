package reports

import (
	"bytes"
	"encoding/xml"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
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
		{"pass", fixtureRun(), 3, 0, 0, 0},
		{"gate missed, design skipped", missedRun(), 4, 1, 0, 1},
		{"cut short", partialRun(), 4, 0, 3, 0},
		{"control did not hold", controlLost, 3, 0, 1, 0},
		{"inconclusive without gates", noGates, 1, 0, 1, 0},
		{"failed without gates", noGatesFail, 1, 1, 0, 0},
		{"hostile", hostileRun(), 4, 2, 1, 1},
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
