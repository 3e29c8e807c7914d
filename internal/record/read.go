package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// RunReader reads a run's folder. Its methods may be called concurrently.
type RunReader struct {
	Dir string
	Run Run
	End *RunEnd // nil when the run was cut short

	// Folders of the trials that were begun, relative to Dir: the planned ones in
	// their order, then the others (repeats), by name and number.
	Folders []string
	// Missing are the folders of planned trials that were never begun.
	Missing []string
	// Damage says what of the run's own files could not be read, for people.
	Damage []string
}

// OpenRun reads run.json and end.json and looks for the trials' folders. Without a
// readable run.json of the known schema there is no run, and an error.
func OpenRun(dir string) (*RunReader, error) {
	r := &RunReader{Dir: dir}
	files := os.DirFS(dir)
	switch err := readJSON(files, runFile, &r.Run); {
	case r.Run.Schema != RunSchema && (r.Run.Schema != "" || err == nil):
		return nil, fmt.Errorf("open run: %w", &FormatError{filepath.Join(dir, runFile), fmt.Sprintf("has the schema %q, this program reads %q", r.Run.Schema, RunSchema)})
	case err != nil:
		return nil, fmt.Errorf("open run %s: %w", dir, err)
	}
	var end RunEnd
	switch err := readJSON(files, endFile, &end); {
	case err == nil:
		r.End = &end
	case !errors.Is(err, fs.ErrNotExist):
		r.Damage = append(r.Damage, err.Error())
	}

	begun, err := r.begun()
	if err != nil {
		return nil, fmt.Errorf("open run %s: %w", dir, err)
	}
	planned := make(map[string]bool)
	notRun := r.notRun()
	for _, folder := range r.Run.Trials {
		switch {
		case planned[folder]:
			r.Damage = append(r.Damage, fmt.Sprintf("%s: the trial %q is planned twice", runFile, folder))
		case begun[folder]:
			r.Folders = append(r.Folders, folder)
		case notRun[folder]:
		default:
			r.Missing = append(r.Missing, folder)
		}
		planned[folder] = true
	}
	var others []string
	for folder := range begun {
		if !planned[folder] {
			others = append(others, folder)
		}
	}
	slices.SortFunc(others, compareNumbered)
	r.Folders = append(r.Folders, others...)
	return r, nil
}

// notRun are the planned trials that the run itself says were not begun.
func (r *RunReader) notRun() map[string]bool {
	all := map[string]bool{}
	if r.End != nil {
		for _, s := range r.End.Stopped {
			for _, folder := range s.NotRun {
				all[folder] = true
			}
		}
	}
	return all
}

// begun finds the folders that hold a trial.json, which is the first file of a trial.
func (r *RunReader) begun() (map[string]bool, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, trialsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found := make(map[string]bool)
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(r.Dir, trialsDir, e.Name(), trialFile)); err == nil {
			found[trialsDir+"/"+e.Name()] = true
		}
	}
	return found, nil
}

// Trial reads a trial back whole. What a killed lab leaves behind (no end.json, files that
// are absent or end in a torn line) is tolerated and told in End and Damage, and so are
// samples that cannot be (a Seq twice, or past the plan) and files shorter than end.json
// says. A malformed line in the middle is an error that names its file and line: a caller
// that goes on without the trial must tell judge that it is missing.
//
// The data are the same whatever the order of lines in the files, but for events at the
// same instant, which keep theirs.
func (r *RunReader) Trial(folder string) (*TrialData, error) {
	name, ok := strings.CutPrefix(folder, trialsDir+"/")
	if !ok || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
		return nil, fmt.Errorf("read trial: %q is not a trial's folder", folder)
	}
	d := &TrialData{Folder: folder}
	if err := d.read(os.DirFS(filepath.Join(r.Dir, trialsDir, name))); err != nil {
		return nil, fmt.Errorf("read trial %s: %w", folder, err)
	}
	for _, s := range r.Run.Scenarios {
		for _, g := range s.Gates {
			if s.Name == d.Trial.Scenario && g.Design == d.Trial.Design {
				d.Gates = append(d.Gates, g)
			}
		}
	}
	if d.Trial.Repeats == 0 && !slices.Contains(r.Run.Trials, folder) {
		d.damage("%s is neither planned nor the repeat of a trial", folder)
	}
	return d, nil
}

func (d *TrialData) read(dir fs.FS) error {
	if err := readJSON(dir, trialFile, &d.Trial); err != nil {
		return err
	}
	if err := d.Trial.check(); err != nil {
		return fmt.Errorf("%s: %w", trialFile, err)
	}
	if want := Folder(d.Trial); want != d.Folder {
		d.damage("%s is the one of %s", trialFile, want)
	}
	var end End
	switch err := readJSON(dir, endFile, &end); {
	case err == nil:
		d.End = &end
	case !errors.Is(err, fs.ErrNotExist):
		d.damage("%v", err)
	}

	if d.Trial.UntilCalm != (UntilCalm{}) {
		d.endLoad()
	}
	in := make(intern)
	var err error
	if d.Samples, err = readSamples(d, dir, sampleFile, d.Trial.Planned, end.Lines.Samples, in); err != nil {
		return err
	}
	if d.Trial.UntilCalm != (UntilCalm{}) && (d.End == nil || d.End.Load == nil) {
		d.cutLoad()
	}
	if n := d.misplaced(); n > 0 {
		d.damage("%s: %d samples were due at another time than the plan has for them", sampleFile, n)
	}
	if d.Reference, err = readSamples(d, dir, referenceFile, math.MaxUint64, end.Lines.Reference, in); err != nil {
		return err
	}
	if err := d.readProbes(dir, end.Lines.Probes, in); err != nil {
		return err
	}
	if err := d.readPressure(dir, end.Lines.Pressure, in); err != nil {
		return err
	}
	return d.readEvents(dir, end.Lines.Events)
}

func (d *TrialData) damage(format string, args ...any) {
	d.Damage = append(d.Damage, fmt.Sprintf(format, args...))
}

// endLoad makes the plan of a load that went on until nothing failed what it became.
func (d *TrialData) endLoad() {
	t := &d.Trial
	if d.End == nil || d.End.Load == nil {
		return
	}
	end := d.End.Load
	if end.At < t.WindowFrom || end.At > t.LoadTo || end.Planned > t.Planned {
		d.damage("%s: the load ended after %v with %d requests, and its plan is from %v to %v with %d", endFile, end.At, end.Planned, t.WindowFrom, t.LoadTo, t.Planned)
		return
	}
	t.Planned, t.LoadTo, t.WindowTo = end.Planned, end.At, end.At
}

// cutLoad does the same where nobody has written down how far it went: as far as its samples.
func (d *TrialData) cutLoad() {
	t := &d.Trial
	t.Planned, t.LoadTo, t.WindowTo = 0, t.WindowFrom, t.WindowFrom
	if n := len(d.Samples); n > 0 {
		t.Planned = d.Samples[n-1].Seq + 1
		t.LoadTo = max(d.Samples[n-1].Intended+1, t.WindowFrom)
		t.WindowTo = t.LoadTo
	}
}

// misplaced is how many samples have another intended time than the schedule has for their
// number, by more than it takes to round one: counted where they are not due, they could
// fill a window or leave it.
func (d *TrialData) misplaced() (n int) {
	if d.Trial.Rate <= 0 {
		return 0
	}
	for i := range d.Samples {
		s := &d.Samples[i]
		due := d.Trial.LoadFrom + time.Duration(float64(s.Seq+1)/d.Trial.Rate*float64(time.Second))
		if off := s.Intended - due; off < -time.Microsecond || off > time.Microsecond {
			n++
		}
	}
	return n
}

// farthest is the longest time from a trial's base that a record may speak of. A number
// beyond it is a broken record, and what is computed from it would not fit into memory.
const farthest = 48 * time.Hour

var errFar = fmt.Errorf("more than %v from the trial's base", farthest)

// check refuses a description with which no schedule and no bins can be made.
func (t *Trial) check() error {
	const longest = farthest / 2
	const most = 100_000_000 // hits
	if math.IsNaN(t.Rate) || math.IsInf(t.Rate, 0) || t.Rate < 0 {
		return fmt.Errorf("rate %v", t.Rate)
	}
	if t.Planned > most {
		return fmt.Errorf("planned %d is more than %d", t.Planned, uint64(most))
	}
	for _, p := range []struct {
		name     string
		from, to time.Duration
	}{
		{"load", t.LoadFrom, t.LoadTo}, {"baseline", t.BaselineFrom, t.BaselineTo}, {"window", t.WindowFrom, t.WindowTo},
	} {
		if p.from < -longest || p.to < p.from || p.to > longest {
			return fmt.Errorf("%s from %v to %v", p.name, p.from, p.to)
		}
	}
	return nil
}

// readSamples reads samples.csv or reference.csv: sorted by Seq, each Seq once and below planned.
func readSamples(d *TrialData, dir fs.FS, name string, planned, lines uint64, in intern) ([]Sample, error) {
	var all []Sample
	sorted := true
	past := 0
	n, err := d.eachLine(dir, name, sampleHeader, lines, func(size int64, line []byte) error {
		if all == nil {
			// Growing would hold the samples twice, so guess: the plan, unless the
			// file is too short for it.
			all = make([]Sample, 0, min(planned, uint64(size)/uint64(len(line)+1)+uint64(size)/minSampleLine/8+16))
		}
		var s Sample
		if err := parseSample(line, &s, in); err != nil {
			return err
		}
		if s.Seq >= planned {
			past++
			return nil
		}
		sorted = sorted && (len(all) == 0 || all[len(all)-1].Seq < s.Seq)
		all = append(all, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if past > 0 {
		d.damage("%s: %d of %d lines have a seq past the %d planned", name, past, n, planned)
	}
	if sorted {
		return all, nil
	}
	slices.SortFunc(all, compareSamples)
	once := slices.CompactFunc(all, func(a, b Sample) bool { return a.Seq == b.Seq })
	if twice := len(all) - len(once); twice > 0 {
		d.damage("%s: lines that repeat the seq of another: %d", name, twice)
	}
	return once, nil
}

func (d *TrialData) readProbes(dir fs.FS, lines uint64, in intern) error {
	_, err := d.eachLine(dir, probeFile, probeHeader, lines, func(size int64, line []byte) error {
		if d.Probes == nil {
			d.Probes = make([]ProbeResult, 0, size/int64(len(line)+1)+1)
		}
		var p ProbeResult
		if err := parseProbe(line, &p, in); err != nil {
			return err
		}
		d.Probes = append(d.Probes, p)
		return nil
	})
	slices.SortFunc(d.Probes, compareProbes)
	return err
}

func (d *TrialData) readPressure(dir fs.FS, lines uint64, in intern) error {
	_, err := d.eachLine(dir, pressureFile, pressureHeader, lines, func(_ int64, line []byte) error {
		var p Pressure
		if err := parsePressure(line, &p, in); err != nil {
			return err
		}
		d.Pressure = append(d.Pressure, p)
		return nil
	})
	slices.SortFunc(d.Pressure, func(a, b Pressure) int {
		return cmp.Or(compareDurations(a.At, b.At), compareDurations(a.Waited, b.Waited), compareDurations(a.Idle, b.Idle))
	})
	return err
}

func (d *TrialData) readEvents(dir fs.FS, lines uint64) error {
	_, err := d.eachLine(dir, eventFile, "", lines, func(_ int64, line []byte) error {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		if e.Kind == "" {
			return errors.New("an event without a kind")
		}
		if e.At < -farthest || e.At > farthest {
			return fmt.Errorf("at_ns: %d: %w", e.At, errFar)
		}
		d.Events = append(d.Events, e)
		return nil
	})
	slices.SortStableFunc(d.Events, func(a, b Event) int { return compareDurations(a.At, b.At) })
	return err
}

// eachLine calls f for each whole line behind the header. It notes as damage an absent
// file, a last line without its end, and another number of lines than want once the trial
// has an end.
func (d *TrialData) eachLine(dir fs.FS, name, header string, want uint64, f func(size int64, line []byte) error) (n uint64, err error) {
	file, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		d.damage("%s is missing", name)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close() // read only: nothing can be lost
	var size int64
	if info, err := file.Stat(); err == nil {
		size = info.Size() // a hint for preallocating, nothing more
	}
	n, torn, err := scanLines(file, name, header, func(line []byte) error { return f(size, line) })
	if err != nil {
		return n, err
	}
	if torn {
		d.damage("%s: the last line is torn", name)
	}
	if d.End != nil && n != want {
		d.damage("%s: %d lines, %d were written", name, n, want)
	}
	return n, nil
}

// scanLines reads whole lines; a last one without its end is reported as torn and not
// handed on. Lines are numbered from 1, the header's.
func scanLines(r io.Reader, name, header string, f func(line []byte) error) (n uint64, torn bool, err error) {
	lines := newLineReader(r)
	number := 0
	for {
		line, err := lines.next()
		if err != nil && err != io.EOF {
			return n, false, fmt.Errorf("read %s: %w", name, err)
		}
		if err == io.EOF {
			return n, len(line) > 0 || (header != "" && number == 0), nil
		}
		number++
		if number == 1 && header != "" {
			if !bytes.Equal(line, []byte(header)) {
				return n, false, fmt.Errorf("%s:1: the columns are %.120q, want %q", name, line, header)
			}
			continue
		}
		if err := f(line); err != nil {
			return n, false, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		n++
	}
}

// readJSON reads a file into v, and returns a *FormatError for one that holds more than v can.
func readJSON(dir fs.FS, name string, v any) error {
	text, err := fs.ReadFile(dir, name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// A key that is not known is a word of another version, and its value would be lost.
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(v); err != nil {
		return &FormatError{name, "is of another version: " + strings.TrimPrefix(err.Error(), "json: ")}
	}
	return nil
}
