package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sample(seq uint64) Sample {
	at := time.Duration(seq+1) * time.Millisecond
	return Sample{
		Seq: seq, Stream: "keepalive-get", Expect: Serve, Intended: at, Sent: at + 100, Done: at + 900_000,
		Class: OK, Status: 200, Attempts: 1, Bytes: 12, Instance: "proxy-1", Revision: "v1",
	}
}

func testTrial(planned uint64) Trial {
	return Trial{
		Scenario: "rollout", Driver: "process", Action: "rollout", Design: "naive", N: 1, Rate: 1000, Planned: planned,
		LoadTo: time.Duration(planned) * time.Millisecond, WindowTo: time.Duration(planned) * time.Millisecond,
		Streams: []Stream{{Name: "keepalive-get", Share: 1, Method: "GET", Reuse: true}},
	}
}

// naiveGate is the only one that is set on testTrial.
var naiveGate = Gate{Design: "naive", Metric: "failed", Op: "<=", Limit: 7}

// begin makes a run with one trial.
func begin(t *testing.T, trial Trial) (dir string, run *RunWriter, w *TrialWriter) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "run")
	run, err := CreateRun(dir, Run{ID: "r1", Trials: []string{Folder(trial)}, Scenarios: []Scenario{
		{Name: "other", Gates: []Gate{{Design: "naive", Metric: "breaches", Op: "<="}}},
		{Name: "rollout", Gates: []Gate{{Design: "aware", Metric: "breaches", Op: "<="}, naiveGate}},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err = run.Trial(trial)
	if err != nil {
		t.Fatal(err)
	}
	return dir, run, w
}

func readBack(t *testing.T, dir string) *TrialData {
	t.Helper()
	r, err := OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Folders) != 1 {
		t.Fatalf("folders = %v, want one", r.Folders)
	}
	d, err := r.Trial(r.Folders[0])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRoundTrip(t *testing.T) {
	const hostile = "dial tcp: \"no\",\r\n\\x2c such\thost \x00\x7f ü \xff,"
	trial := testTrial(4)
	dir, run, w := begin(t, trial)

	samples := []Sample{sample(0), sample(1), sample(2), sample(3)}
	samples[1].Class, samples[1].Reason, samples[1].Instance = Other, hostile, hostile
	samples[2].Expect, samples[2].Sent, samples[2].Attempts = Deny, -5, 3
	samples[0].Expect = Either
	samples[3].Class, samples[3].Status, samples[3].Expect = HTTPStatus(503), 503, DenyRevoked
	reference := []Sample{sample(0), sample(7)}
	probes := []ProbeResult{
		{At: 5, Took: 6, Instance: "a,b", Revision: hostile, OK: true, Class: OK},
		{At: 9, Took: 1, Instance: "b", Class: Refused, Reason: hostile},
	}
	events := []Event{{At: -3, Kind: Started, Instance: "a\nb", Revision: "v1"}, {At: 4, Kind: ActionFailed, Detail: "x,\"y\""}}
	for _, i := range []int{2, 0, 3, 1} { // completion order
		w.Sample(samples[i])
	}
	for _, s := range reference {
		w.Reference(s)
	}
	for i := range probes {
		w.Probe(probes[len(probes)-1-i])
	}
	for i := range events {
		w.Event(events[len(events)-1-i])
	}
	pressure := []Pressure{{At: -7, Waited: 1 << 50, Idle: 1 << 51}, {At: 100, Waited: 1<<50 + 9, Idle: 1<<51 + 8}}
	for i := range pressure {
		w.Pressure(pressure[len(pressure)-1-i])
	}
	end := End{At: time.Second, Sent: 4, Cost: Cost{CPU: 3, MaxRSS: 4}}
	if err := w.Close(end); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(end); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := run.End(RunEnd{Duration: time.Second}); err != nil {
		t.Fatal(err)
	}

	end.Lines = Lines{Samples: 4, Reference: 2, Probes: 2, Events: 2, Pressure: 2}
	want := &TrialData{Trial: trial, Gates: []Gate{naiveGate}, Folder: Folder(trial), Samples: samples, Reference: reference, Events: events, Probes: probes, Pressure: pressure, End: &end}
	if diff := cmp.Diff(want, readBack(t, dir)); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestLinesAreAwkSafe(t *testing.T) {
	s := sample(3)
	s.Reason, s.Instance, s.Class = "a,b\n\"c\"", "x,y", Other
	line := string(appendSample(nil, &s))
	if got := strings.Count(line, ","); got != 13 {
		t.Errorf("%d commas in %q, want 13", got, line)
	}
	if strings.Count(line, "\n") != 1 || strings.Contains(line, `"`) {
		t.Errorf("not one plain line: %q", line)
	}
}

func TestFolderNeverEscapes(t *testing.T) {
	seen := map[string]string{}
	for _, design := range []string{
		"naive", "../../etc/passwd", "..", ".", "", "/", `..\..\x`, "a/b", "a_b", "a:b", "a\x00b", "CON", "ü", strings.Repeat("x", 500), strings.Repeat("x", 501), "a\nb", "~", ".hidden",
	} {
		tr := testTrial(1)
		tr.Design = design
		folder := Folder(tr)
		rest, ok := strings.CutPrefix(folder, "trials/rollout-process-rollout-")
		if !ok || !filepath.IsLocal(folder) || strings.ContainsAny(rest, `/\:`+"\x00\n") || len(folder) > 200 {
			t.Errorf("Folder with design %q = %q", design, folder)
		}
		if other, taken := seen[folder]; taken {
			t.Errorf("designs %q and %q share the folder %q", design, other, folder)
		}
		seen[folder] = design
	}
	if got, want := Folder(testTrial(1)), "trials/rollout-process-rollout-naive-1"; got != want {
		t.Errorf("Folder = %q, want %q", got, want)
	}
}

func TestHostileTrialIsWrittenAndRead(t *testing.T) {
	trial := testTrial(1)
	trial.Design = "../../escape"
	dir, _, w := begin(t, trial)
	w.Sample(sample(0))
	if err := w.Close(End{Sent: 1}); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, dir); got.Trial.Design != trial.Design || len(got.Samples) != 1 || len(got.Damage) != 0 {
		t.Errorf("got design %q, %d samples, damage %v", got.Trial.Design, len(got.Samples), got.Damage)
	}
}

func TestCreateRunRefusesAFilledFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateRun(dir, Run{}, nil); err == nil {
		t.Error("a folder that is not empty was taken")
	}
	empty := t.TempDir()
	if _, err := CreateRun(empty, Run{}, nil); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestTrialTwiceIsRefused(t *testing.T) {
	_, run, w := begin(t, testTrial(1))
	defer w.Close(End{})
	if _, err := run.Trial(testTrial(1)); err == nil {
		t.Error("the same trial was begun twice")
	}
}

func TestWriterFlushesWithoutClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk fakeDisk
		f := func(name string) *lineFile { return &lineFile{name: name, out: &fakeDisk{}} }
		w := newTrialWriter(t.TempDir(), nil, &lineFile{name: "samples.csv", out: &disk}, f("w"), f("p"), f("e"), f("c"))
		w.Sample(sample(0))
		synctest.Wait()
		if got := disk.text(); got != "" {
			t.Errorf("written at once: %q", got)
		}
		time.Sleep(flushEvery)
		synctest.Wait()
		if got := strings.Count(disk.text(), "\n"); got != 1 {
			t.Errorf("%d lines after %v, want 1", got, flushEvery)
		}
		if err := w.Close(End{}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWriterDoesNotWaitForTheDisk: with a disk that takes nothing, ten thousand lines are
// accepted; once it takes them, none is lost.
func TestWriterDoesNotWaitForTheDisk(t *testing.T) {
	dir, _, w := begin(t, testTrial(10_000))
	slow := &stalledDisk{diskFile: w.samples.out, entered: make(chan struct{}), release: make(chan struct{})}
	w.samples.out = slow
	w.Sample(sample(0))
	w.kick <- struct{}{}
	<-slow.entered
	for i := uint64(1); i < 10_000; i++ {
		w.Sample(sample(i))
	}
	close(slow.release)
	if err := w.Close(End{Sent: 10_000}); err != nil {
		t.Fatal(err)
	}
	if d := readBack(t, dir); len(d.Samples) != 10_000 || len(d.Damage) != 0 {
		t.Errorf("%d samples, damage %v", len(d.Samples), d.Damage)
	}
}

func TestWriterKeepsTheFirstError(t *testing.T) {
	dir, _, w := begin(t, testTrial(10))
	w.Sample(sample(0))
	w.samples.out = &fullDisk{diskFile: w.samples.out, room: 10}
	err := w.Close(End{Sent: 10, Error: "load: late"})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close = %v, want ENOSPC", err)
	}
	if !errors.Is(w.Err(), syscall.ENOSPC) {
		t.Errorf("Err = %v, want ENOSPC", w.Err())
	}
	d := readBack(t, dir)
	if d.End == nil || !strings.Contains(d.End.Error, "load: late; the record is incomplete") {
		t.Errorf("end = %+v, want one that tells of the error", d.End)
	}
	if len(d.Damage) != 2 || len(d.Samples) != 0 {
		t.Errorf("damage %v and %d samples, want a torn line and a wrong count", d.Damage, len(d.Samples))
	}
}

// TestNothingFollowsATornLine: room that comes back must not put a line behind half of
// another, which would read as one that nobody wrote.
func TestNothingFollowsATornLine(t *testing.T) {
	dir, _, w := begin(t, testTrial(10))
	full := &fullDisk{diskFile: w.samples.out, room: 10}
	w.samples.out = full
	w.Sample(sample(0))
	if err := w.samples.flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("flush = %v, want ENOSPC", err)
	}
	full.room = 1 << 20
	w.Sample(sample(1))
	if err := w.Close(End{Sent: 10}); err != nil {
		t.Fatal(err) // the flush above kept its error to itself
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(Folder(testTrial(10))), "samples.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(text), len(sampleHeader)+1+10; got != want {
		t.Errorf("the file has %d bytes, want the %d up to the torn line", got, want)
	}
	if d := readBack(t, dir); len(d.Damage) != 2 {
		t.Errorf("damage %v, want a torn line and a wrong count", d.Damage)
	}
}

func TestWriterReportsLinesAfterClose(t *testing.T) {
	_, _, w := begin(t, testTrial(1))
	if err := w.Close(End{}); err != nil {
		t.Fatal(err)
	}
	w.Sample(sample(0))
	if w.Err() == nil {
		t.Error("a sample after Close vanished without an error")
	}
}

func TestWriterIsSafeForConcurrentUse(t *testing.T) {
	const workers, each = 8, 500
	dir, _, w := begin(t, testTrial(workers*each))
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for k := range each {
				w.Sample(sample(uint64(k*workers + i)))
				w.Reference(sample(uint64(k*workers + i)))
				w.Probe(ProbeResult{At: time.Duration(k), Instance: fmt.Sprint(i)})
				w.Event(Event{At: time.Duration(k), Kind: Ready, Instance: fmt.Sprint(i)})
			}
		})
	}
	wg.Wait()
	if err := w.Close(End{}); err != nil {
		t.Fatal(err)
	}
	d := readBack(t, dir)
	for what, got := range map[string]int{"samples": len(d.Samples), "reference": len(d.Reference), "probes": len(d.Probes), "events": len(d.Events)} {
		if got != workers*each {
			t.Errorf("%d %s, want %d", got, what, workers*each)
		}
	}
	if len(d.Damage) != 0 {
		t.Errorf("damage: %v", d.Damage)
	}
}

type fakeDisk struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (d *fakeDisk) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.buf.Write(b)
}
func (d *fakeDisk) Sync() error  { return nil }
func (d *fakeDisk) Close() error { return nil }
func (d *fakeDisk) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.buf.String()
}

// stalledDisk blocks its first write until it is released.
type stalledDisk struct {
	diskFile
	once             sync.Once
	entered, release chan struct{}
}

func (d *stalledDisk) Write(b []byte) (int, error) {
	d.once.Do(func() { close(d.entered); <-d.release })
	return d.diskFile.Write(b)
}

// fullDisk takes room bytes and no more.
type fullDisk struct {
	diskFile
	room int
}

func (d *fullDisk) Write(b []byte) (int, error) {
	n, err := d.diskFile.Write(b[:min(d.room, len(b))])
	d.room -= n
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

// Who had to be denied and got an answer that is no refusal was let in, whatever it says.
func TestBreach(t *testing.T) {
	for _, tc := range []struct {
		expect Expectation
		status int
		want   bool
	}{
		{Deny, 200, true}, {Deny, 201, true}, {Deny, 204, true}, {Deny, 206, true}, {Deny, 299, true},
		{Deny, 0, false}, {Deny, 301, false}, {Deny, 401, false}, {Deny, 403, false}, {Deny, 503, false}, {Serve, 200, false},
	} {
		s := Sample{Expect: tc.expect, Status: tc.status, Class: HTTPStatus(tc.status)}
		if got := s.Breach(); got != tc.want {
			t.Errorf("a request to %s answered with %d: a breach: %v, want %v", tc.expect, tc.status, got, tc.want)
		}
	}
}
