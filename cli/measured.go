package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rollout-lab/rollout-lab/internal/baseline"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports"
)

// readMeasured reads what a run came to: from its folder, where it is judged anew if its record
// is there, or from its results.json.
func readMeasured(name string) (*reports.Document, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, &usageError{err, "want the folder of a run, or its results.json; runs are kept in rollout-lab-runs"}
	}
	file := name
	if info.IsDir() {
		judged, err := lab.Judge(name)
		if err == nil {
			doc := reports.Results(judged)
			return &doc, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, &usageError{fmt.Errorf("%s: %w", name, err), ""}
		}
		file = filepath.Join(name, "results.json") // what a pipeline kept may be this alone
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &usageError{fmt.Errorf("%s holds no run: %w", name, err), "want the folder of a run, or its results.json"}
	}
	var doc reports.Document
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil {
		return nil, &usageError{fmt.Errorf("%s is no results.json: %w", file, err), "want the folder of a run, or its results.json"}
	}
	if doc.Schema != reports.SchemaName {
		return nil, &usageError{fmt.Errorf("%s: schema is %q, and not %q", file, doc.Schema, reports.SchemaName), "another version of rollout-lab wrote it"}
	}
	return &doc, nil
}

// measuredRun is what a run has to add to a baseline.
func measuredRun(doc *reports.Document) baseline.Run {
	e := doc.Environment
	run := baseline.Run{ID: doc.RunID, Environment: record.Environment{
		OS: e.OS, Arch: e.Arch, CPUs: e.CPUs, Kernel: e.Kernel, Go: e.Go, Runtimes: e.Runtimes, Fingerprint: e.Fingerprint}}
	for i := range doc.Cells {
		c := &doc.Cells[i]
		of := baseline.Cell{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action, Design: c.Design, Trials: doc.Past(c)}
		for _, s := range doc.Scenarios {
			if s.Name == c.Scenario {
				of.Conditions = s.Conditions
			}
		}
		run.Cells = append(run.Cells, of)
	}
	return run
}

// worse is a gate of a run that was missed because something got worse than in earlier runs, nil
// where there is none.
func worse(doc *reports.Document) *reports.Gate {
	for i := range doc.Gates {
		if g := &doc.Gates[i]; g.Against == record.PastRuns && g.Verdict == reports.GateVerdict(judge.Fail) {
			return g
		}
	}
	return nil
}
