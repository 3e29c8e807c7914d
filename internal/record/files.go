package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// The files of a run. A run's folder holds run.json, end.json and one folder below
// trials/ for each trial; a trial's folder holds the files named below it.
const (
	runFile       = "run.json"
	endFile       = "end.json"
	trialsDir     = "trials"
	trialFile     = "trial.json"
	sampleFile    = "samples.csv"
	referenceFile = "reference.csv"
	probeFile     = "probes.csv"
	eventFile     = "events.ndjson"
	pressureFile  = "pressure.csv"
)

// The header lines say what the columns hold and double as the version of the layout:
// a reader refuses a file with another one.
const (
	sampleHeader = "seq,stream,request,expect,intended_ns,sent_ns,done_ns,class,status,attempts,bytes,instance,revision,reason"
	probeHeader  = "at_ns,took_ns,instance,revision,ok,class,reason"

	pressureHeader = "at_ns,waited_ns,idle_ns"
)

// Folder is where a trial's files lie, relative to the run's folder, with slashes:
// trials/<scenario>-<driver>-<action>-<design>-<n>. Whatever the names hold, it is one
// plain folder directly below trials: a name with anything but letters, digits, dots,
// dashes and underscores, or a very long one, is cut down and told apart by a hash.
func Folder(t Trial) string {
	parts := []string{plainName(t.Scenario), plainName(t.Driver), plainName(t.Action), plainName(t.Design), strconv.Itoa(t.N)}
	return trialsDir + "/" + strings.Join(parts, "-")
}

// plainName makes a name safe as a part of a file's name on every system.
func plainName(name string) string {
	const longest = 40
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, name)
	plain = strings.TrimLeft(plain, ".")
	if len(plain) > longest {
		plain = plain[:longest]
	}
	if plain == name && name != "" {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return plain + "~" + hex.EncodeToString(sum[:4])
}

// writeJSON writes a whole file or none: a reader never sees a torn one, not even after
// a crash.
func writeJSON(path string, v any, mask *Mask) (err error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(append(mask.document(text), '\n'))
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// syncDir makes a rename in a folder last. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// appendField appends a text so that the line stays one line and its commas separate
// columns and nothing else: the bytes that would break that, and the backslash, are
// written as \xHH. So awk -F, reads the files, and so does every CSV reader.
func appendField(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == ',' || c == '"' || c == '\\' || c == 0x7f {
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

func appendSample(b []byte, s *Sample) []byte {
	b = strconv.AppendUint(b, s.Seq, 10)
	b = appendField(append(b, ','), s.Stream)
	b = strconv.AppendInt(append(b, ','), int64(s.Request), 10)
	b = appendField(append(b, ','), string(s.Expect))
	b = strconv.AppendInt(append(b, ','), int64(s.Intended), 10)
	b = strconv.AppendInt(append(b, ','), int64(s.Sent), 10)
	b = strconv.AppendInt(append(b, ','), int64(s.Done), 10)
	b = appendField(append(b, ','), string(s.Class))
	b = strconv.AppendInt(append(b, ','), int64(s.Status), 10)
	b = strconv.AppendInt(append(b, ','), int64(s.Attempts), 10)
	b = strconv.AppendInt(append(b, ','), s.Bytes, 10)
	b = appendField(append(b, ','), s.Instance)
	b = appendField(append(b, ','), s.Revision)
	b = appendField(append(b, ','), s.Reason)
	return append(b, '\n')
}

func appendProbe(b []byte, p *ProbeResult) []byte {
	b = strconv.AppendInt(b, int64(p.At), 10)
	b = strconv.AppendInt(append(b, ','), int64(p.Took), 10)
	b = appendField(append(b, ','), p.Instance)
	b = appendField(append(b, ','), p.Revision)
	b = strconv.AppendBool(append(b, ','), p.OK)
	b = appendField(append(b, ','), string(p.Class))
	b = appendField(append(b, ','), p.Reason)
	return append(b, '\n')
}

func appendPressure(b []byte, p *Pressure) []byte {
	b = strconv.AppendInt(b, int64(p.At), 10)
	b = strconv.AppendInt(append(b, ','), int64(p.Waited), 10)
	b = strconv.AppendInt(append(b, ','), int64(p.Idle), 10)
	return append(b, '\n')
}
