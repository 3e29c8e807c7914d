package record

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// written makes a run with one closed trial of n samples and returns its trial's folder.
func written(t *testing.T, n uint64) (dir, trial string) {
	t.Helper()
	dir, run, w := begin(t, testTrial(n))
	for i := range n {
		w.Sample(sample(i))
		w.Reference(sample(i))
		w.Probe(ProbeResult{At: time.Duration(i), Instance: "a", OK: i%2 == 0})
		w.Event(Event{At: time.Duration(i), Kind: Ready, Instance: "a"})
	}
	if err := w.Close(End{Sent: n}); err != nil {
		t.Fatal(err)
	}
	if err := run.End(RunEnd{}); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, filepath.FromSlash(Folder(testTrial(n))))
}

// edit changes a file's text in place.
func edit(t *testing.T, path string, change func(string) string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsNoted(t *testing.T) {
	cut := func(n int) func(string) string { return func(s string) string { return s[:len(s)-n] } }
	dropLast := func(s string) string { return s[:strings.LastIndexByte(s[:len(s)-1], '\n')+1] }
	repeat := func(s string) string {
		lines := strings.SplitAfter(s, "\n")
		return s + lines[3]
	}
	for _, tc := range []struct {
		name, file string
		change     func(string) string
		want       []string // parts of the notes, in order
		samples    int
	}{
		{"torn sample", "samples.csv", cut(5), []string{"samples.csv: the last line is torn", "samples.csv: 4 lines, 5 were written"}, 4},
		{"only the newline missing", "samples.csv", cut(1), []string{"torn", "4 lines, 5 were written"}, 4},
		{"cut at the end of a line", "samples.csv", dropLast, []string{"4 lines, 5 were written"}, 4},
		{"reference cut at the end of a line", "reference.csv", dropLast, []string{"reference.csv: 4 lines, 5 were written"}, 5},
		{"probes cut at the end of a line", "probes.csv", dropLast, []string{"probes.csv: 4 lines"}, 5},
		{"events cut at the end of a line", "events.ndjson", dropLast, []string{"events.ndjson: 4 lines"}, 5},
		{"seq twice", "samples.csv", repeat, []string{"6 lines, 5 were written", "lines that repeat the seq of another: 1"}, 5},
		{"reference seq twice", "reference.csv", repeat, []string{"6 lines, 5 were written", "reference.csv: lines that repeat the seq of another: 1"}, 5},
		{"seq past the plan", "samples.csv", func(s string) string { return strings.Replace(s, "\n4,", "\n5,", 1) }, []string{"1 of 5 lines have a seq past the 5 planned"}, 4},
		{"counted where it was not due", "samples.csv", func(s string) string { return strings.Replace(s, ",5000000,", ",5003000,", 1) }, []string{"samples.csv: 1 samples were due at another time than the plan has for them"}, 5},
		{"empty file", "samples.csv", func(string) string { return "" }, []string{"torn", "0 lines, 5"}, 0},
		{"torn end", "end.json", cut(9), []string{"end.json"}, 5},
		{"another trial's description", "trial.json", func(s string) string { return strings.Replace(s, `"naive"`, `"good"`, 1) }, []string{"trial.json is the one of trials/rollout-process-rollout-good-1"}, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, trial := written(t, 5)
			edit(t, filepath.Join(trial, tc.file), tc.change)
			d := readBack(t, dir)
			if len(d.Samples) != tc.samples {
				t.Errorf("%d samples, want %d", len(d.Samples), tc.samples)
			}
			if len(d.Damage) != len(tc.want) {
				t.Fatalf("damage = %q, want %q", d.Damage, tc.want)
			}
			for i, want := range tc.want {
				if !strings.Contains(d.Damage[i], want) {
					t.Errorf("damage[%d] = %q, want it to say %q", i, d.Damage[i], want)
				}
			}
		})
	}
}

func TestMalformedLinesAreErrorsWithTheirPlace(t *testing.T) {
	line3 := func(with string) func(string) string {
		return func(s string) string {
			lines := strings.SplitAfter(s, "\n")
			lines[2] = with + "\n"
			return strings.Join(lines, "")
		}
	}
	for _, tc := range []struct {
		name, file string
		change     func(string) string
		want       string
	}{
		{"too few columns", "samples.csv", line3("1,get,0,serve,1,2,3,ok"), "samples.csv:3: the line ends in the column class"},
		{"too many columns", "samples.csv", line3("1,get,0,serve,1,2,3,ok,200,1,0,a,v1,,"), "samples.csv:3: more columns"},
		{"text for a number", "samples.csv", line3("1,get,0,serve,x,2,3,ok,200,1,0,a,v1,"), "samples.csv:3: intended_ns"},
		{"negative seq", "samples.csv", line3("-1,get,0,serve,1,2,3,ok,200,1,0,a,v1,"), "samples.csv:3: seq"},
		{"huge number", "samples.csv", line3("1,get,0,serve,9999999999999999999,2,3,ok,200,1,0,a,v1,"), "samples.csv:3: intended_ns"},
		{"far away", "samples.csv", line3("1,get,0,serve,172800000000001,2,3,ok,200,1,0,a,v1,"), "samples.csv:3: intended_ns: more than 48h0m0s"},
		{"event far away", "events.ndjson", line3(`{"at_ns":-172800000000001,"kind":"ready"}`), "events.ndjson:3: at_ns: -172800000000001: more than 48h0m0s"},
		{"unknown expectation", "samples.csv", line3("1,get,0,maybe,1,2,3,ok,200,1,0,a,v1,"), "samples.csv:3: expect"},
		{"no class", "samples.csv", line3("1,get,0,serve,1,2,3,,200,1,0,a,v1,"), "samples.csv:3: class is empty"},
		{"bad escape", "samples.csv", line3(`1,get,0,serve,1,2,3,ok,200,1,0,a,v1,\q`), "samples.csv:3: reason"},
		{"empty line", "reference.csv", line3(""), "reference.csv:3: the line ends in the column seq"},
		{"other columns", "samples.csv", func(s string) string { return "x" + s }, "samples.csv:1: the columns are"},
		{"probe without instance", "probes.csv", line3("1,2,,v1,true,ok,"), "probes.csv:3: instance is empty"},
		{"probe neither true nor false", "probes.csv", line3("1,2,a,v1,1,ok,"), "probes.csv:3: ok"},
		{"event not JSON", "events.ndjson", line3("{"), "events.ndjson:3: "},
		{"event without kind", "events.ndjson", line3("{}"), "events.ndjson:3: an event without a kind"},
		{"trial not JSON", "trial.json", func(string) string { return "{" }, "trial.json"},
		{"absurd plan", "trial.json", func(s string) string { return strings.Replace(s, `"planned": 5`, `"planned": 5000000000`, 1) }, "trial.json: planned"},
		{"window backwards", "trial.json", func(s string) string {
			return strings.Replace(s, `"window_from_ns": 0`, `"window_from_ns": 999999999999`, 1)
		}, "trial.json: window"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, trial := written(t, 5)
			edit(t, filepath.Join(trial, tc.file), tc.change)
			r, err := OpenRun(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Trial(r.Folders[0]); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want it to say %q", err, tc.want)
			}
		})
	}
}

func TestAKilledLabLeavesAPartialTrial(t *testing.T) {
	trial := testTrial(3)
	dir, _, w := begin(t, trial)
	defer w.Close(End{})
	w.Sample(sample(0))
	for _, f := range w.files() { // as the ticker would
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.End != nil {
		t.Error("a run that was cut short has an end")
	}
	d, err := r.Trial(r.Folders[0])
	if err != nil {
		t.Fatal(err)
	}
	if d.End != nil || len(d.Samples) != 1 {
		t.Errorf("end = %v, %d samples, want none and 1", d.End, len(d.Samples))
	}
	if err := os.Remove(filepath.Join(dir, filepath.FromSlash(d.Folder), "reference.csv")); err != nil {
		t.Fatal(err)
	}
	if d = readBack(t, dir); len(d.Damage) != 1 || d.Damage[0] != "reference.csv is missing" {
		t.Errorf("damage = %q, want the missing file", d.Damage)
	}
}

func TestOpenRunListsTrials(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	at := func(n, repeats int) Trial {
		tr := testTrial(1)
		tr.N, tr.Repeats = n, repeats
		return tr
	}
	run, err := CreateRun(dir, Run{Trials: []string{Folder(at(2, 0)), Folder(at(1, 0)), Folder(at(3, 0))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range []Trial{at(1, 0), at(2, 0), at(10, 1), at(9, 1)} {
		w, err := run.Trial(tr)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(End{}); err != nil {
			t.Fatal(err)
		}
	}
	// A folder without a description is a trial that never began.
	if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(Folder(at(3, 0)))), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{Folder(at(2, 0)), Folder(at(1, 0)), Folder(at(9, 1)), Folder(at(10, 1))}
	if diff := cmp.Diff(want, r.Folders); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{Folder(at(3, 0))}, r.Missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

// A trial from elsewhere is none of the run's: only what was planned counts, and its repeats.
func TestATrialThatWasNotPlannedIsDamaged(t *testing.T) {
	_, run, w := begin(t, testTrial(1))
	if err := w.Close(End{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		n, repeats int
		damaged    bool
	}{{1, 0, false}, {2, 1, false}, {3, 0, true}} {
		other := testTrial(1)
		other.N, other.Repeats = tc.n, tc.repeats
		if tc.n > 1 {
			w, err := run.Trial(other)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Close(End{}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := OpenRun(run.Dir())
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.Trial(Folder(other))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(d.Damage) > 0; got != tc.damaged {
			t.Errorf("trial %d, a repeat of %d: damage %q, want some: %v", tc.n, tc.repeats, d.Damage, tc.damaged)
		}
	}
}

func TestOpenRunRefusesWhatItDoesNotKnow(t *testing.T) {
	dir, trial := written(t, 1)
	for name, change := range map[string][2]string{
		"an older version":        {"run/v3", "run/v2"},
		"a newer version":         {"run/v3", "run/v4"},
		"no version":              {`"schema": "rollout-lab.run/v3"`, `"schema": ""`},
		"a key of older words":    {`"run_id"`, `"runid"`},
		"an older version's type": {`"schema": "rollout-lab.run/v3",`, `"schema": "rollout-lab.run/v1", "tool": 3,`},
	} {
		edit(t, filepath.Join(dir, "run.json"), func(s string) string {
			if !strings.Contains(s, change[0]) {
				t.Fatalf("no %s in %s", change[0], s)
			}
			return strings.Replace(s, change[0], change[1], 1)
		})
		_, err := OpenRun(dir)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(format.Hint(), "record the run again") {
			t.Errorf("%s: err = %v, want one with the advice to record again", name, err)
		}
		edit(t, filepath.Join(dir, "run.json"), func(s string) string { return strings.Replace(s, change[1], change[0], 1) })
	}
	if _, err := OpenRun(dir); err != nil {
		t.Fatalf("changed and changed back: %v", err)
	}
	// The same in a trial: a phase under an old name would be a phase of length 0.
	edit(t, filepath.Join(trial, "trial.json"), func(s string) string {
		return strings.Replace(s, "baseline_from_ns", "quiet_from_ns", 1)
	})
	r, err := OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	var format *FormatError
	if _, err := r.Trial(r.Folders[0]); !errors.As(err, &format) || !strings.Contains(err.Error(), "quiet_from_ns") {
		t.Errorf("err = %v, want one about quiet_from_ns", err)
	}
	if _, err := OpenRun(t.TempDir()); err == nil {
		t.Error("an empty folder was opened as a run")
	}
}

func TestTrialStaysInsideTheRun(t *testing.T) {
	dir, _ := written(t, 1)
	r, err := OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"", "trials", "trials/", "trials/..", "trials/../..", "/etc", "trials/a/b", `trials/..\..`, "../run/trials/x"} {
		if _, err := r.Trial(folder); err == nil || !strings.Contains(err.Error(), "is not a trial's folder") {
			t.Errorf("Trial(%q) = %v, want a refusal", folder, err)
		}
	}
}

// TestOrderOfLinesDoesNotMatter: load results arrive in completion order.
func TestOrderOfLinesDoesNotMatter(t *testing.T) {
	dir, trial := written(t, 200)
	want := readBack(t, dir)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"samples.csv", "reference.csv", "probes.csv", "events.ndjson"} {
		edit(t, filepath.Join(trial, name), func(s string) string {
			lines := strings.SplitAfter(strings.TrimSuffix(s, "\n"), "\n")
			lines[len(lines)-1] += "\n"
			header := 0
			if strings.HasSuffix(name, ".csv") {
				header = 1
			}
			rng.Shuffle(len(lines)-header, func(i, j int) {
				lines[header+i], lines[header+j] = lines[header+j], lines[header+i]
			})
			return strings.Join(lines, "")
		})
	}
	if diff := cmp.Diff(want, readBack(t, dir)); diff != "" {
		t.Errorf("shuffled lines read differently (-want +got):\n%s", diff)
	}
}

// TestASeqTwiceKeepsTheFailure: damage must not flatter.
func TestASeqTwiceKeepsTheFailure(t *testing.T) {
	for _, order := range [][]Class{{OK, Reset}, {Reset, OK}} {
		dir, _, w := begin(t, testTrial(1))
		for _, c := range order {
			s := sample(0)
			s.Class = c
			w.Sample(s)
		}
		if err := w.Close(End{Sent: 1}); err != nil {
			t.Fatal(err)
		}
		d := readBack(t, dir)
		if len(d.Samples) != 1 || d.Samples[0].Class != Reset || len(d.Damage) != 1 {
			t.Errorf("order %v: samples %v, damage %v", order, d.Samples, d.Damage)
		}
	}
}

func TestVeryLongLine(t *testing.T) {
	s := sample(0)
	s.Class, s.Reason = Other, strings.Repeat("why, ", 200_000)
	dir, _, w := begin(t, testTrial(1))
	w.Sample(s)
	if err := w.Close(End{Sent: 1}); err != nil {
		t.Fatal(err)
	}
	if d := readBack(t, dir); len(d.Samples) != 1 || d.Samples[0].Reason != s.Reason {
		t.Error("a line of a megabyte was not read back")
	}
}

func FuzzReadSamples(f *testing.F) {
	var good []byte
	for i := range uint64(3) {
		s := sample(2 - i)
		good = appendSample(good, &s)
	}
	f.Add(append([]byte(sampleHeader+"\n"), good...))
	f.Add([]byte(sampleHeader + "\n1,get,0,serve,1,2,3,ok,200,1,0,a,v1,\\x2c"))
	f.Add([]byte(sampleHeader + "\n\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := fstest.MapFS{sampleFile: {Data: text}}
		var d TrialData
		got, err := readSamples(&d, dir, sampleFile, 100, 0, make(intern))
		if err != nil {
			return
		}
		if whole := bytes.Count(text, []byte("\n")) - 1; len(got) != whole && len(d.Damage) == 0 {
			t.Errorf("%d samples of %d whole lines, and no damage", len(got), whole)
		}
		out := []byte(sampleHeader + "\n")
		for i := range got {
			if i > 0 && got[i-1].Seq >= got[i].Seq {
				t.Fatalf("seq %d behind %d", got[i].Seq, got[i-1].Seq)
			}
			out = appendSample(out, &got[i])
		}
		dir[sampleFile] = &fstest.MapFile{Data: out}
		again, err := readSamples(&d, dir, sampleFile, 100, 0, make(intern))
		if err != nil || !slices.Equal(got, again) {
			t.Errorf("written and read again: %v, %v; want %v", again, err, got)
		}
	})
}

func FuzzReadTrial(f *testing.F) {
	probes := appendProbe([]byte(probeHeader+"\n"), &ProbeResult{At: 1, Instance: "a,", OK: true})
	f.Add([]byte(`{"planned":3,"rate":10}`), probes, []byte(`{"at_ns":1,"kind":"ready"}`+"\n"), []byte(`{"sent":3}`))
	f.Add([]byte(`{}`), []byte(probeHeader+"\n"), []byte("{\n"), []byte(`{`))
	f.Fuzz(func(t *testing.T, trial, probes, events, end []byte) {
		dir := fstest.MapFS{trialFile: {Data: trial}, probeFile: {Data: probes}, eventFile: {Data: events}, endFile: {Data: end}}
		var d TrialData
		if err := d.read(dir); err != nil {
			return
		}
		if len(d.Damage) == 0 {
			t.Error("a trial without samples.csv was read as whole")
		}
		if !slices.IsSortedFunc(d.Events, func(a, b Event) int { return compareDurations(a.At, b.At) }) {
			t.Error("events are not sorted")
		}
	})
}
