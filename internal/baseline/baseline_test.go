package baseline

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

var here = record.Environment{OS: "linux", Arch: "amd64", CPUs: 2, Kernel: "6.1", Go: "go1.26", Fingerprint: "here", Runtimes: map[string]string{"process": "embedded", "docker": "20"}}

func elsewhere(change func(*record.Environment)) record.Environment {
	e := here
	e.Runtimes = map[string]string{"process": "embedded", "docker": "20"}
	e.Fingerprint = "elsewhere"
	change(&e)
	return e
}

func newer(e *record.Environment) { e.Kernel = "6.2" }

var under = map[string]string{"load.rate": "100", "replicas": "3"}

// trials are some of a run that began on a day of a month.
func trials(day, n int, print string) (all []record.PastTrial) {
	for i := range n {
		all = append(all, record.PastTrial{RunID: fmt.Sprint("run", day), N: i + 1, Started: fmt.Sprintf("2026-11-%02dT09:00:00Z", day),
			Commit: fmt.Sprint("commit", day), Fingerprint: print, Values: map[string]*float64{"downtime": new(float64(day)), "recovery": nil}})
	}
	return all
}

func cell(design string, trials ...record.PastTrial) Cell {
	return Cell{Scenario: "s", Driver: "process", Action: "rollout", Design: design, Conditions: under, Trials: trials}
}

func run(day, n int) Run {
	return Run{ID: fmt.Sprint("run", day), Environment: here, Cells: []Cell{cell("svc", trials(day, n, "here")...)}}
}

// in is the same run in another environment.
func (r Run) in(e record.Environment) Run {
	r.Environment = e
	for i := range r.Cells {
		for k := range r.Cells[i].Trials {
			r.Cells[i].Trials[k].Fingerprint = e.Fingerprint
		}
	}
	return r
}

func (r Run) with(conditions map[string]string) Run {
	for i := range r.Cells {
		r.Cells[i].Conditions = conditions
	}
	return r
}

// filled is a baseline with a run of three trials on each of some days.
func filled(t *testing.T, days ...int) *File {
	t.Helper()
	f := New()
	for _, day := range days {
		if added, err := f.Add(run(day, 3), false); err != nil || added != 3 {
			t.Fatalf("day %d: %d added, %v", day, added, err)
		}
	}
	return f
}

// days are those on which the trials of a cell were measured, each once.
func days(c *Cell) (out []string) {
	for _, t := range c.Trials {
		if n := len(out); n == 0 || out[n-1] != t.RunID {
			out = append(out, t.RunID)
		}
	}
	return out
}

func TestAFileComesBackAsItWas(t *testing.T) {
	f := filled(t, 3, 4)
	if err := f.Accept("a new library", time.Date(2026, 11, 5, 10, 0, 0, 0, time.FixedZone("", 3600)), run(5, 3)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "base.json")
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v, known := got.Cells[0].Trials[0].Values["recovery"]; v != nil || !known {
		t.Errorf("what did not happen came back as %v, %v", v, known)
	}
	if got.Accepted[0].At != "2026-11-05T09:00:00Z" {
		t.Errorf("accepted at %s", got.Accepted[0].At)
	}
}

func TestReadRefuses(t *testing.T) {
	whole := func(change func(*File)) string {
		f := filled(t, 3)
		change(f)
		var b bytes.Buffer
		if err := f.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, tc := range []struct{ name, text, want string }{
		{"no JSON", "{", "is no baseline"},
		{"something else", `{"schema": "rollout-lab.results/v1"}`, `schema is "rollout-lab.results/v1", and not "rollout-lab.baseline/v1"`},
		{"no schema", `{}`, `schema is ""`},
		{"a cell without a design", whole(func(f *File) { f.Cells[0].Design = "" }), "cells[0] lacks its scenario, driver, action or design"},
		{"a cell without an action", whole(func(f *File) { f.Cells[0].Action = "" }), "cells[0] lacks"},
		{"a cell twice", whole(func(f *File) { f.Cells = append(f.Cells, f.Cells[0]) }), "s/process/rollout/svc is in it twice"},
		{"no conditions", whole(func(f *File) { f.Cells[0].Conditions = nil }), "s/process/rollout/svc lacks its conditions"},
		{"too many trials", whole(func(f *File) { f.Cells[0].Trials = trials(3, 31, "here") }), "has 31 trials, more than 30"},
		{"an unknown environment", whole(func(f *File) { f.Cells[0].Trials[1].Fingerprint = "other" }), `trial 2 of run run3 has the fingerprint "other", which is no environment's`},
		{"no time", whole(func(f *File) { f.Cells[0].Trials[0].Started = "today" }), `began at "today", which is no time`},
		{"a trial twice", whole(func(f *File) { f.Cells[0].Trials[1].N = 1 }), "trial 1 of run run3 is in it twice"},
	} {
		name := filepath.Join(t.TempDir(), "base.json")
		if err := os.WriteFile(name, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(name)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), name) || format.Hint() == "" {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestAddKeepsTheNewest(t *testing.T) {
	f := filled(t, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	if n := len(f.Cells[0].Trials); n != MostTrials {
		t.Fatalf("%d trials, want %d", n, MostTrials)
	}
	if added, err := f.Add(run(13, 2), false); added != 2 || err != nil {
		t.Fatalf("%d added, %v", added, err)
	}
	if got := f.Cells[0].Trials; len(got) != MostTrials || got[0].RunID != "run3" || got[0].N != 3 || got[29].RunID != "run13" {
		t.Errorf("%d trials, from %s %d to %s", len(got), got[0].RunID, got[0].N, got[29].RunID)
	}
	if added, err := f.Add(run(13, 2), false); added != 0 || err != nil || len(f.Cells[0].Trials) != MostTrials {
		t.Errorf("a run that it has: %d added, %v", added, err)
	}
	// A run that is older than what there is takes its place by age.
	f = filled(t, 4, 6)
	if _, err := f.Add(run(5, 3), false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"run4", "run5", "run6"}, days(&f.Cells[0])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddTellsCellsApart(t *testing.T) {
	f := filled(t, 3)
	other := run(4, 3)
	base := other.Cells[0]
	other.Cells = nil
	for _, change := range []func(*Cell){
		func(c *Cell) { c.Scenario = "other" }, func(c *Cell) { c.Driver = "docker" }, func(c *Cell) { c.Action = "restart" }, func(c *Cell) { c.Design = "other" },
	} {
		c := base
		change(&c)
		other.Cells = append(other.Cells, c)
	}
	if added, err := f.Add(other, false); added != 12 || err != nil || len(f.Cells) != 5 {
		t.Fatalf("%d added, %v, %d cells", added, err, len(f.Cells))
	}
	if diff := cmp.Diff([]string{"run3"}, days(&f.Cells[0])); diff != "" {
		t.Errorf("the first cell (-want +got):\n%s", diff)
	}
}

// Whatever does not fit is refused, and the field that differs is named.
func TestAddRefusesWhatDoesNotFit(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  Run
		want string // "" fits
		any  bool   // and with any environment it does
	}{
		{"the same", run(4, 3), "", true},
		{"another rate", run(4, 3).with(map[string]string{"load.rate": "200", "replicas": "3"}), "load.rate is 200, in the baseline 100", false},
		{"one more", run(4, 3).with(map[string]string{"load.rate": "100", "replicas": "3", "load.deny": "0.02"}), "load.deny is 0.02, in the baseline not set", false},
		{"one less", run(4, 3).with(map[string]string{"load.rate": "100"}), "replicas is not set, in the baseline 3", false},
		{"another kernel", run(4, 3).in(elsewhere(newer)), "environment.kernel is 6.2, in the baseline 6.1", true},
		{"another system", run(4, 3).in(elsewhere(func(e *record.Environment) { e.OS = "darwin" })), "environment.os is darwin, in the baseline linux", true},
		{"another processor", run(4, 3).in(elsewhere(func(e *record.Environment) { e.Arch = "arm64" })), "environment.arch is arm64", true},
		{"more processors", run(4, 3).in(elsewhere(func(e *record.Environment) { e.CPUs = 4 })), "environment.cpus is 4, in the baseline 2", true},
		{"another Go", run(4, 3).in(elsewhere(func(e *record.Environment) { e.Go = "go1.27" })), "environment.go is go1.27", true},
		{"another runtime", run(4, 3).in(elsewhere(func(e *record.Environment) { e.Runtimes["process"] = "1" })), "environment.runtimes.process is 1, in the baseline embedded", true},
		{"another driver's runtime", run(4, 3).in(elsewhere(func(e *record.Environment) { e.Runtimes["docker"] = "27" })), "", true},
		{"two things", run(4, 3).with(map[string]string{"load.rate": "200", "replicas": "3"}).in(elsewhere(newer)), "load.rate is 200, in the baseline 100; environment.kernel", false},
	} {
		f := filled(t, 3)
		before := *filled(t, 3)
		_, err := f.Add(tc.run, false)
		var mismatch *MismatchError
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
		} else if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "s/process/rollout/svc does not fit: "+tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		} else if strings.Contains(mismatch.Hint(), "--allow-different-environment") != tc.any {
			t.Errorf("%s: hint %q", tc.name, mismatch.Hint())
		}
		if diff := cmp.Diff(before.Cells, f.Cells); (diff == "") != (tc.want != "") {
			t.Errorf("%s: changed what it refused, or not what it took:\n%s", tc.name, diff)
		}
		if _, err := filled(t, 3).Add(tc.run, true); (err == nil) != tc.any {
			t.Errorf("%s, in any environment: %v", tc.name, err)
		}
	}
	// The machine is the one of the newest trial.
	f := filled(t, 3)
	if _, err := f.Add(run(4, 3).in(elsewhere(newer)), true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Add(run(5, 3).in(elsewhere(newer)), false); err != nil {
		t.Errorf("like the newest: %v", err)
	}
	if _, err := f.Add(run(6, 3), false); err == nil {
		t.Error("like the oldest alone: taken")
	}
}

// Of a run of which one cell does not fit nothing is added.
func TestAddIsWholeOrNothing(t *testing.T) {
	f := filled(t, 3)
	mixed := run(4, 3)
	mixed.Cells = append([]Cell{cell("new", trials(4, 3, "here")...)}, mixed.with(map[string]string{"load.rate": "1"}).Cells...)
	if added, err := f.Add(mixed, false); err == nil || added != 0 || len(f.Cells) != 1 {
		t.Errorf("%d added, %v, %d cells", added, err, len(f.Cells))
	}
	empty := run(4, 0)
	if _, err := f.Add(empty, false); !errors.Is(err, ErrEmpty) {
		t.Errorf("a run without a valid trial: %v", err)
	}
	if _, err := New().Add(Run{}, false); !errors.Is(err, ErrEmpty) {
		t.Errorf("a run without a cell: %v", err)
	}
}

func TestAccept(t *testing.T) {
	f := filled(t, 3, 4)
	if _, err := f.Add(Run{Environment: here, Cells: []Cell{cell("other", trials(4, 3, "here")...)}}, false); err != nil {
		t.Fatal(err)
	}
	shifted := run(5, 3).with(map[string]string{"load.rate": "200"}).in(elsewhere(newer))
	if err := f.Accept("twice the rate", time.Now(), shifted); err != nil {
		t.Fatal(err)
	}
	svc, other := f.cell(cell("svc")), f.cell(cell("other"))
	if diff := cmp.Diff([]string{"run5"}, days(svc)); diff != "" || svc.Conditions["load.rate"] != "200" {
		t.Errorf("it did not begin anew (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"run4"}, days(other)); diff != "" {
		t.Errorf("what the run is not about (-want +got):\n%s", diff)
	}
	if len(f.Environments) != 2 {
		t.Errorf("environments %v", f.Environments)
	}
	if diff := cmp.Diff([]string{"s/process/rollout/svc"}, f.Accepted[0].Cells); diff != "" || f.Accepted[0].Reason != "twice the rate" {
		t.Errorf("%+v (-want +got):\n%s", f.Accepted[0], diff)
	}
	if err := f.Accept("all of it", time.Now()); err != nil {
		t.Fatal(err)
	}
	if len(f.Cells) != 0 || len(f.Environments) != 0 || len(f.Accepted) != 2 || len(f.Accepted[1].Cells) != 2 {
		t.Errorf("without a run: %+v", f)
	}
	if err := f.Accept("a new one", time.Now(), run(6, 3)); err != nil || len(f.Cells) != 1 || len(f.Accepted[2].Cells) != 1 {
		t.Errorf("what was not in it: %v, %+v", err, f)
	}
	before := len(f.Accepted)
	if err := f.Accept("two that do not fit", time.Now(), run(7, 3), run(8, 3).in(elsewhere(newer))); err == nil || len(f.Accepted) != before || f.Cells[0].Trials[0].RunID != "run6" {
		t.Errorf("runs that do not fit to each other: %v, %+v", err, f)
	}
}

// What a run may be held against, and what of it is refused.
func TestFor(t *testing.T) {
	of := func(change func(*record.Scenario)) record.Run {
		s := record.Scenario{Name: "s", Action: "rollout", Designs: []string{"naive", "svc"}, Conditions: under}
		change(&s)
		return record.Run{Scenarios: []record.Scenario{{Name: "another"}, s}, Environment: here}
	}
	same := func(*record.Scenario) {}
	mixed := filled(t, 3)
	if _, err := mixed.Add(run(4, 2).in(elsewhere(newer)), true); err != nil {
		t.Fatal(err)
	}
	faster := map[string]string{"load.rate": "200", "replicas": "3"}
	for _, tc := range []struct {
		name    string
		file    *File
		run     record.Run
		in      record.Environment
		any     bool
		want    []string // the runs whose trials count; nil: there is no such cell
		refused bool
		differs string
	}{
		{"all of it", filled(t, 3, 4), of(same), here, false, []string{"run3", "run4"}, false, ""},
		{"another scenario", filled(t, 3), of(func(s *record.Scenario) { s.Name = "other" }), here, false, nil, false, ""},
		{"another action", filled(t, 3), of(func(s *record.Scenario) { s.Action = "restart" }), here, false, nil, false, ""},
		{"another design", filled(t, 3), of(func(s *record.Scenario) { s.Designs = []string{"naive"} }), here, false, nil, false, ""},
		{"nothing", New(), of(same), here, false, nil, false, ""},
		{"another rate", filled(t, 3), of(func(s *record.Scenario) { s.Conditions = faster }), here, false, []string{}, true, "load.rate 100 200"},
		{"another rate, in any environment", filled(t, 3), of(func(s *record.Scenario) { s.Conditions = faster }), here, true, []string{}, true, "load.rate 100 200"},
		{"no conditions", filled(t, 3), of(func(s *record.Scenario) { s.Conditions = nil }), here, false, []string{}, true, "load.rate 100 , replicas 3 "},
		{"another machine", filled(t, 3), of(same), elsewhere(newer), false, []string{}, true, "environment.kernel 6.1 6.2"},
		{"any machine", filled(t, 3), of(same), elsewhere(newer), true, []string{"run3"}, false, "environment.kernel 6.1 6.2"},
		{"those of this machine", mixed, of(same), elsewhere(newer), false, []string{"run4"}, false, ""},
		{"those of that machine", mixed, of(same), here, false, []string{"run3"}, false, ""},
		{"those of any machine", mixed, of(same), here, true, []string{"run3", "run4"}, false, "environment.kernel 6.2 6.1"},
		{"any machine, and it is this one", filled(t, 3), of(same), here, true, []string{"run3"}, false, ""},
	} {
		tc.run.Environment = tc.in
		got := tc.file.For(tc.run, "base.json", tc.any)
		if got.File != "base.json" || got.AnyEnvironment != tc.any || got.Missing != "" {
			t.Errorf("%s: %+v", tc.name, got)
		}
		if len(got.Cells) != min(len(tc.want), 1) && tc.want == nil || tc.want != nil && len(got.Cells) != 1 {
			t.Errorf("%s: %d cells", tc.name, len(got.Cells))
			continue
		}
		if tc.want == nil {
			continue
		}
		c := got.Cells[0]
		var differs []string
		for _, d := range c.Differs {
			differs = append(differs, d.Field+" "+d.Was+" "+d.Is)
		}
		runs := append([]string{}, days(&Cell{Trials: c.Trials})...)
		if !cmp.Equal(runs, tc.want) || c.Refused != tc.refused || strings.Join(differs, ", ") != tc.differs {
			t.Errorf("%s: runs %v, refused %v, differs %q; want %v, %v, %q", tc.name, runs, c.Refused, differs, tc.want, tc.refused, tc.differs)
		}
	}
}
