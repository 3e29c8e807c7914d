package program

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// made is a made-up ELF file.
type made struct {
	machine elf.Machine
	segment elf.ProgType
	kind    elf.Type
	system  elf.OSABI
}

func (m made) bytes(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	header := elf.Header64{
		Type: uint16(m.kind), Machine: uint16(m.machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	header.Ident[elf.EI_OSABI] = byte(m.system)
	for _, part := range []any{header, elf.Prog64{Type: uint32(m.segment)}} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

var forAMD64 = made{elf.EM_X86_64, elf.PT_LOAD, elf.ET_EXEC, elf.ELFOSABI_NONE}

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStatic(t *testing.T) {
	with := func(change func(*made)) []byte {
		m := forAMD64
		change(&m)
		return m.bytes(t)
	}
	for name, c := range map[string]struct {
		program []byte
		arch    string
		want    string // in the error
	}{
		"static":             {with(func(*made) {}), "amd64", ""},
		"static, other":      {with(func(m *made) { m.machine = elf.EM_AARCH64 }), "arm64", ""},
		"static, anywhere":   {with(func(m *made) { m.kind = elf.ET_DYN }), "amd64", ""},
		"static, GNU":        {with(func(m *made) { m.system = elf.ELFOSABI_LINUX }), "amd64", ""},
		"another processor":  {with(func(m *made) { m.machine = elf.EM_AARCH64 }), "amd64", "EM_AARCH64"},
		"another system":     {with(func(m *made) { m.system = elf.ELFOSABI_FREEBSD }), "amd64", "ELFOSABI_FREEBSD"},
		"interpreter":        {with(func(m *made) { m.segment = elf.PT_INTERP }), "amd64", "not linked statically"},
		"object":             {with(func(m *made) { m.kind = elf.ET_REL }), "amd64", "no program"},
		"not ELF":            {[]byte("#!/bin/sh\n"), "amd64", "no program for Linux"},
		"empty":              {nil, "amd64", "no program for Linux"},
		"unknown processors": {with(func(*made) {}), "abacus", "abacus"},
	} {
		err := Static(write(t, filepath.Join(t.TempDir(), "p"), c.program), c.arch)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

// TestCheck: what cannot be had is said at once and with advice, and nothing is built.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good"), forAMD64.bytes(t))
	script := write(t, filepath.Join(dir, "script"), []byte("#!/bin/sh\n"))
	absent := filepath.Join(dir, "absent")
	for name, c := range map[string]struct {
		source     Source
		noGo       bool
		want, hint string // in the error and its hint
	}{
		"static":                 {source: Source{Path: good}},
		"static, nothing else":   {source: Source{Path: good, Package: absent}, noGo: true},
		"not static, a source":   {source: Source{Path: script, Package: absent}},
		"not static, no source":  {source: Source{Path: script}, want: script, hint: "make build"},
		"not static, and no Go":  {source: Source{Path: script, Package: "."}, noGo: true, want: `"go"`, hint: "install Go"},
		"absent, with a source":  {source: Source{Path: absent, Package: "."}, want: absent, hint: "exists"},
		"a folder with a source": {source: Source{Path: dir, Package: "."}, want: dir, hint: "can be read"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			if c.noGo {
				t.Setenv("PATH", dir)
			}
			err := c.source.Check("amd64")
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var hint *drivers.HintError
			if !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) ||
				!strings.Contains(err.Error(), c.want) || !strings.Contains(hint.Hint, c.hint) {
				t.Errorf("got %v, want ErrUnavailable with %q and a hint with %q", err, c.want, c.hint)
			}
		})
	}
}

// TestBuild: what is not static is built, for another processor too, and what the compiler
// says of it is in the error.
func TestBuild(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	script := write(t, filepath.Join(dir, "script"), []byte("#!/bin/sh\n"))
	write(t, filepath.Join(dir, "go.mod"), []byte("module built\n\ngo 1.26\n"))
	main := write(t, filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"))
	for name, s := range map[string]Source{
		"a folder":               {Path: script, Package: dir},
		"a path within a folder": {Path: script, Package: "built", Dir: dir},
		"a folder in a folder":   {Path: script, Package: ".", Dir: dir},
	} {
		path, err := s.File(t.Context(), "arm64", out)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := Static(path, "arm64"); err != nil || filepath.Dir(path) != out {
			t.Errorf("%s: built %s: %v", name, path, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	s := Source{Path: script, Package: dir}
	if b, err := s.Read(t.Context(), "arm64"); err != nil || static(bytes.NewReader(b), "arm64") != nil {
		t.Errorf("read %d bytes, %v, want a program", len(b), err)
	}
	done, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := s.Read(done, "arm64"); !errors.Is(err, enough) || errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("cancelled: got %v, want why and nothing else", err)
	}
	write(t, main, []byte("package main\n\nfunc main() { nonsense() }\n"))
	var hint *drivers.HintError
	if _, err := s.Read(t.Context(), "amd64"); !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v, want ErrUnavailable with a hint and what the compiler says", err)
	}
}

// TestAStaticProgramIsTakenAsItIs: nothing is built or copied.
func TestAStaticProgramIsTakenAsItIs(t *testing.T) {
	dir := t.TempDir()
	content := forAMD64.bytes(t)
	s := Source{Path: write(t, filepath.Join(dir, "good"), content), Package: filepath.Join(dir, "absent")}
	if got, err := s.File(t.Context(), "amd64", dir); err != nil || got != s.Path {
		t.Errorf("got %q, %v, want %q", got, err, s.Path)
	}
	if got, err := s.Read(t.Context(), "amd64"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v, want the %d of the file", len(got), err, len(content))
	}
}

// TestNoPathIsThisProgram: the test binary is a program, static or not.
func TestNoPathIsThisProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	err = Source{}.Static("abacus")
	if err == nil || !strings.Contains(err.Error(), self) {
		t.Errorf("got %v, want an error about %s", err, self)
	}
}
