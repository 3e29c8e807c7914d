package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// flushEvery is how long a line may wait in memory: what a killed lab can lose.
const flushEvery = 250 * time.Millisecond

// flushAt is the size of a buffer, in bytes, that is written without waiting.
const flushAt = 1 << 20

// ErrNotEmpty: a run needs a folder of its own.
var ErrNotEmpty = errors.New("the folder is not empty")

// RunWriter writes a run's folder. Its methods may be called concurrently.
type RunWriter struct {
	dir  string
	mask *Mask
}

// CreateRun makes the folder of a run, which must be absent or empty, and writes
// run.json. run.Schema is set to RunSchema. Of what the mask hides nothing is written, neither
// here nor of the trials.
func CreateRun(dir string, run Run, mask *Mask) (*RunWriter, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("create run: %s: %w", dir, ErrNotEmpty)
	}
	// Mkdir, not MkdirAll: of two runs that were given the same folder one must lose.
	if err := os.Mkdir(filepath.Join(dir, trialsDir), 0o755); err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	run.Schema = RunSchema
	if err := writeJSON(filepath.Join(dir, runFile), run, mask); err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	return &RunWriter{dir, mask}, nil
}

// Dir is the run's folder.
func (w *RunWriter) Dir() string { return w.dir }

// End writes end.json, which closes the run.
func (w *RunWriter) End(e RunEnd) error {
	return writeJSON(filepath.Join(w.dir, endFile), e, w.mask)
}

// Trial makes the trial's folder (see Folder), which must not exist, and writes
// trial.json. The caller must Close the writer, whatever happens.
func (w *RunWriter) Trial(t Trial) (*TrialWriter, error) {
	folder := filepath.Join(w.dir, filepath.FromSlash(Folder(t)))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, fmt.Errorf("create trial: %w", err)
	}
	if err := writeJSON(filepath.Join(folder, trialFile), t, w.mask); err != nil {
		return nil, fmt.Errorf("create trial: %w", err)
	}
	var files []*lineFile
	for _, f := range []struct{ name, header string }{
		{sampleFile, sampleHeader}, {referenceFile, sampleHeader}, {probeFile, probeHeader}, {eventFile, ""}, {pressureFile, pressureHeader},
	} {
		lf, err := createLineFile(filepath.Join(folder, f.name), f.header)
		if err != nil {
			for _, open := range files {
				err = errors.Join(err, open.out.Close())
			}
			return nil, fmt.Errorf("create trial: %w", err)
		}
		files = append(files, lf)
	}
	return newTrialWriter(folder, w.mask, files[0], files[1], files[2], files[3], files[4]), nil
}

// TrialWriter streams a trial to its folder. Its methods may be called concurrently.
//
// Sample, Reference, Probe, Pressure and Event put a line into memory and return: they never wait
// for the disk. A goroutine of the writer hands the lines to the system every 250 ms, so
// a lab that is killed loses no more than that. Nothing is dropped while the disk takes
// lines; while it is slow they pile up in memory. The first error (a full disk) is kept:
// the file that met it is not written to any further, so that no line follows a torn
// one, Err and Close return it, and end.json tells of it.
type TrialWriter struct {
	folder                                        string
	mask                                          *Mask
	samples, reference, probes, eventsF, pressure *lineFile

	kick chan struct{} // a buffer is large: do not wait for the tick
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex
	err    error
	closed bool
}

func newTrialWriter(folder string, mask *Mask, samples, reference, probes, events, pressure *lineFile) *TrialWriter {
	w := &TrialWriter{
		folder: folder, mask: mask, samples: samples, reference: reference, probes: probes, eventsF: events, pressure: pressure,
		kick: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go w.flushLoop()
	return w
}

func (w *TrialWriter) files() []*lineFile {
	return []*lineFile{w.samples, w.reference, w.probes, w.eventsF, w.pressure}
}

// Sample records what became of a request of the load.
func (w *TrialWriter) Sample(s Sample) {
	w.hide(&s)
	w.put(w.samples, func(b []byte) []byte { return appendSample(b, &s) })
}

// Reference records what became of a request of the independent client.
func (w *TrialWriter) Reference(s Sample) {
	w.hide(&s)
	w.put(w.reference, func(b []byte) []byte { return appendSample(b, &s) })
}

// hide takes out of a sample what the mask hides: a server may say it back.
func (w *TrialWriter) hide(s *Sample) {
	s.Instance, s.Revision, s.Reason = w.mask.Text(s.Instance), w.mask.Text(s.Revision), w.mask.Text(s.Reason)
}

// Probe records a direct probe.
func (w *TrialWriter) Probe(p ProbeResult) {
	p.Reason = w.mask.Text(p.Reason)
	w.put(w.probes, func(b []byte) []byte { return appendProbe(b, &p) })
}

// Pressure records how long tasks have waited for a CPU.
func (w *TrialWriter) Pressure(p Pressure) {
	w.put(w.pressure, func(b []byte) []byte { return appendPressure(b, &p) })
}

// Event records an event.
func (w *TrialWriter) Event(e Event) {
	text, err := json.Marshal(e)
	if err != nil {
		w.fail(fmt.Errorf("encode event: %w", err))
		return
	}
	text = w.mask.document(text)
	w.put(w.eventsF, func(b []byte) []byte { return append(append(b, text...), '\n') })
}

// Err is the first error that writing met, nil while there is none.
func (w *TrialWriter) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close writes what is left, makes it last and writes end.json, with the number of lines
// of each file filled in and the first error, if there was one, added to its text. It
// returns that error. A second Close writes nothing and returns the same error.
func (w *TrialWriter) Close(end End) error {
	w.mu.Lock()
	if w.closed {
		defer w.mu.Unlock()
		return w.err
	}
	w.closed = true
	w.mu.Unlock()

	close(w.stop)
	<-w.done
	for _, f := range w.files() {
		f.seal()
		w.fail(f.flush())
		w.fail(errors.Join(f.out.Sync(), f.out.Close()))
	}
	end.Lines = Lines{Samples: w.samples.count(), Reference: w.reference.count(), Probes: w.probes.count(), Events: w.eventsF.count(), Pressure: w.pressure.count()}
	if err := w.Err(); err != nil {
		if end.Error != "" {
			end.Error += "; "
		}
		end.Error += "the record is incomplete: " + err.Error()
	}
	w.fail(writeJSON(filepath.Join(w.folder, endFile), end, w.mask))
	return w.Err()
}

func (w *TrialWriter) put(f *lineFile, line func([]byte) []byte) {
	size, err := f.add(line)
	if err != nil {
		w.fail(err)
		return
	}
	if size >= flushAt {
		select {
		case w.kick <- struct{}{}:
		default: // a kick is pending
		}
	}
}

func (w *TrialWriter) fail(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *TrialWriter) flushLoop() {
	defer close(w.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		case <-w.kick:
		}
		for _, f := range w.files() {
			w.fail(f.flush())
		}
	}
}

// diskFile is the part of os.File that a lineFile needs.
type diskFile interface {
	io.WriteCloser
	Sync() error
}

// lineFile collects lines in memory and writes them out. Adding takes only the lock of
// the buffer; flush swaps the buffers and holds no lock while the disk works.
type lineFile struct {
	name string
	out  diskFile

	mu     sync.Mutex
	buf    []byte
	lines  uint64 // added, the header not among them
	sealed bool
	broken bool // a write failed: what follows would stand behind a torn line

	spare []byte // of flush, which has one caller at a time
}

func createLineFile(path, header string) (*lineFile, error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	f := &lineFile{name: filepath.Base(path), out: out}
	if header != "" {
		if _, err := io.WriteString(out, header+"\n"); err != nil {
			return nil, errors.Join(err, out.Close())
		}
	}
	return f, nil
}

func (f *lineFile) add(line func([]byte) []byte) (size int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sealed {
		return 0, fmt.Errorf("%s: a line came after Close and is lost", f.name)
	}
	f.lines++
	if f.broken {
		return 0, nil // the first error has been kept; the count tells what is missing
	}
	f.buf = line(f.buf)
	return len(f.buf), nil
}

func (f *lineFile) seal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = true
}

func (f *lineFile) count() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lines
}

func (f *lineFile) flush() error {
	f.mu.Lock()
	if f.broken || len(f.buf) == 0 {
		f.mu.Unlock()
		return nil
	}
	full := f.buf
	f.buf = f.spare[:0]
	f.mu.Unlock()

	_, err := f.out.Write(full)
	f.spare = full
	if err == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken, f.buf = true, nil
	return fmt.Errorf("write %s: %w", f.name, err)
}
