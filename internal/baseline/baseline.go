// Package baseline keeps what earlier runs showed in a file, cell by cell, and says what of it a
// run may be held against. What was measured under other conditions or on another machine does
// not fit, and the field that differs is named. It compares no numbers (see judge) and reads no
// record: a run comes as what its results say.
package baseline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Schema names the layout of the file. Within v1 fields are only ever added.
const Schema = "rollout-lab.baseline/v1"

// MostTrials is how many trials of a cell are kept, the newest: what is older says less about
// now than it costs.
const MostTrials = 30

// FewestTrials is how many trials of a cell three new ones can be told apart from: of fewer no
// exact test is sure.
const FewestTrials = 3

// File is a baseline.
type File struct {
	Schema string `json:"schema"`
	// Environments are those that trials were measured in, by their fingerprint.
	Environments map[string]record.Environment `json:"environments"`
	// Accepted are the shifts that were accepted, the oldest first. What was measured before is
	// in the file no more.
	Accepted []Acceptance `json:"accepted,omitempty"`
	Cells    []Cell       `json:"cells"`
}

// Acceptance is a shift that somebody accepted.
type Acceptance struct {
	At     string   `json:"at"` // RFC 3339, UTC
	Reason string   `json:"reason"`
	Cells  []string `json:"cells"` // keys of those that it was about
}

// Cell is what runs showed of a design of a scenario on a driver.
type Cell struct {
	Scenario   string             `json:"scenario"`
	Driver     string             `json:"driver"`
	Action     string             `json:"action"`
	Design     string             `json:"design"`
	Conditions map[string]string  `json:"conditions"`
	Trials     []record.PastTrial `json:"trials"` // valid ones, the oldest first
}

// Key names the cell: scenario/driver/action/design.
func (c *Cell) Key() string {
	return strings.Join([]string{c.Scenario, c.Driver, c.Action, c.Design}, "/")
}

// Run is what a run has to add. Its cells hold the valid trials alone.
type Run struct {
	ID          string
	Environment record.Environment
	Cells       []Cell
}

// FormatError says that a file is no baseline that this program reads.
type FormatError struct {
	What string
}

func (e *FormatError) Error() string { return e.What }

// Hint says what to do about it.
func (e *FormatError) Hint() string {
	return "rollout-lab baseline add FILE RUN makes one; a file of another version has to be made anew"
}

// ErrEmpty is that a run has no valid trial to add.
var ErrEmpty = errors.New("it has no valid trial")

// MismatchError says that a run does not fit to what a baseline has of a cell.
type MismatchError struct {
	Cell    string
	Differs []record.Difference
}

func (e *MismatchError) Error() string {
	var parts []string
	for _, d := range e.Differs {
		parts = append(parts, fmt.Sprintf("%s is %s, in the baseline %s", d.Field, orNothing(d.Is), orNothing(d.Was)))
	}
	return fmt.Sprintf("%s does not fit: %s", e.Cell, strings.Join(parts, "; "))
}

// Hint says what to do about it.
func (e *MismatchError) Hint() string {
	hint := "rollout-lab baseline accept FILE --reason TEXT RUN begins the baseline anew with it"
	if !slices.ContainsFunc(e.Differs, func(d record.Difference) bool { return !strings.HasPrefix(d.Field, record.EnvironmentField) }) {
		hint += "; --allow-different-environment adds it all the same"
	}
	return hint
}

func orNothing(v string) string {
	if v == "" {
		return "not set"
	}
	return v
}

// New is a baseline with nothing in it.
func New() *File { return &File{Schema: Schema, Environments: map[string]record.Environment{}} }

// Read reads a baseline. Where there is no such file the error is fs.ErrNotExist; where it is
// none, a *FormatError.
func Read(name string) (*File, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f := New()
	f.Schema = ""
	if err := json.Unmarshal(data, f); err != nil {
		return nil, &FormatError{fmt.Sprintf("%s is no baseline: %v", name, err)}
	}
	if err := f.check(); err != nil {
		return nil, &FormatError{fmt.Sprintf("%s: %v", name, err)}
	}
	return f, nil
}

// check says what is wrong with a file that was read.
func (f *File) check() error {
	if f.Schema != Schema {
		return fmt.Errorf("schema is %q, and not %q", f.Schema, Schema)
	}
	seen := map[string]bool{}
	for i := range f.Cells {
		c := &f.Cells[i]
		switch key := c.Key(); {
		case slices.Contains([]string{c.Scenario, c.Driver, c.Action, c.Design}, ""):
			return fmt.Errorf("cells[%d] lacks its scenario, driver, action or design", i)
		case seen[key]:
			return fmt.Errorf("%s is in it twice", key)
		case len(c.Conditions) == 0:
			return fmt.Errorf("%s lacks its conditions", key)
		case len(c.Trials) > MostTrials:
			return fmt.Errorf("%s has %d trials, more than %d", key, len(c.Trials), MostTrials)
		default:
			seen[key] = true
		}
		for k, t := range c.Trials {
			if _, known := f.Environments[t.Fingerprint]; !known {
				return fmt.Errorf("%s: trial %d of run %s has the fingerprint %q, which is no environment's", c.Key(), t.N, t.RunID, t.Fingerprint)
			}
			if _, err := time.Parse(time.RFC3339, t.Started); err != nil {
				return fmt.Errorf("%s: trial %d of run %s began at %q, which is no time", c.Key(), t.N, t.RunID, t.Started)
			}
			if slices.ContainsFunc(c.Trials[:k], t.Same) {
				return fmt.Errorf("%s: trial %d of run %s is in it twice", c.Key(), t.N, t.RunID)
			}
		}
	}
	return nil
}

// Write writes the file. The bytes depend on nothing but its content.
func (f *File) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(f)
}

// Add adds a run's valid trials to its cells, and keeps the newest of each. A trial that is in
// the file already is not added again. The run fits where each of its cells was measured under
// the conditions that the file has for it, and on a machine like the one of the newest trial in
// it, or on any with anyEnvironment; else the error is a *MismatchError, and the file stays as
// it was.
func (f *File) Add(run Run, anyEnvironment bool) (added int, err error) {
	if !slices.ContainsFunc(run.Cells, func(c Cell) bool { return len(c.Trials) > 0 }) {
		return 0, ErrEmpty
	}
	for _, c := range run.Cells {
		own := f.cell(c)
		if own == nil || len(own.Trials) == 0 {
			continue
		}
		differs := differences(own.Conditions, c.Conditions)
		if !anyEnvironment {
			differs = append(differs, environments(f.Environments[own.newest().Fingerprint], run.Environment, c.Driver)...)
		}
		if len(differs) > 0 {
			return 0, &MismatchError{c.Key(), differs}
		}
	}
	for _, c := range run.Cells {
		added += f.add(c)
	}
	f.Environments[run.Environment.Fingerprint] = run.Environment
	f.forget()
	return added, nil
}

func (f *File) add(c Cell) (added int) {
	own := f.cell(c)
	if own == nil {
		f.Cells = append(f.Cells, Cell{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action, Design: c.Design})
		own = &f.Cells[len(f.Cells)-1]
	}
	own.Conditions = maps.Clone(c.Conditions)
	for _, t := range c.Trials {
		if !slices.ContainsFunc(own.Trials, t.Same) {
			own.Trials = append(own.Trials, t)
			added++
		}
	}
	slices.SortStableFunc(own.Trials, func(a, b record.PastTrial) int { return strings.Compare(a.Started, b.Started) })
	own.Trials = own.Trials[max(0, len(own.Trials)-MostTrials):]
	return added
}

// Accept drops what was measured of the cells of some runs, or without any of all cells, and
// begins them anew with the runs.
func (f *File) Accept(reason string, at time.Time, runs ...Run) error {
	made := Acceptance{At: at.UTC().Format(time.RFC3339), Reason: reason}
	fresh := New()
	for _, run := range runs {
		if _, err := fresh.Add(run, false); err != nil { // they have to fit to each other
			return err
		}
	}
	for i := range f.Cells {
		if c := &f.Cells[i]; len(runs) == 0 || fresh.cell(*c) != nil {
			c.Trials = nil
			made.Cells = append(made.Cells, c.Key())
		}
	}
	for _, c := range fresh.Cells {
		if !slices.Contains(made.Cells, c.Key()) {
			made.Cells = append(made.Cells, c.Key())
		}
		f.add(c)
	}
	maps.Copy(f.Environments, fresh.Environments)
	f.Accepted = append(f.Accepted, made)
	f.forget()
	return nil
}

// forget drops cells and environments of which no trial is left.
func (f *File) forget() {
	f.Cells = slices.DeleteFunc(f.Cells, func(c Cell) bool { return len(c.Trials) == 0 })
	maps.DeleteFunc(f.Environments, func(print string, _ record.Environment) bool {
		return !slices.ContainsFunc(f.Cells, func(c Cell) bool {
			return slices.ContainsFunc(c.Trials, func(t record.PastTrial) bool { return t.Fingerprint == print })
		})
	})
}

// cell is the file's own cell of the same key, nil where there is none.
func (f *File) cell(of Cell) *Cell {
	for i := range f.Cells {
		if f.Cells[i].Key() == of.Key() {
			return &f.Cells[i]
		}
	}
	return nil
}

func (c *Cell) newest() record.PastTrial { return c.Trials[len(c.Trials)-1] }
