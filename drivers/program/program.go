// Package program provides a program that runs where there is nothing else, such as in an
// empty image: a static one for Linux, as it is or built for that. It puts it nowhere.
package program

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Source is where a program comes from.
type Source struct {
	// Path is a binary, which is taken when it is static; "" means the one that runs now.
	Path string
	// Package is what go build is told to build otherwise, an import path or a folder; ""
	// means that there is nothing to build from.
	Package string
	// Dir is the folder to build in; "" means the current one.
	Dir string
}

// machines are the processors of ELF files, by Go's names for them.
var machines = map[string]elf.Machine{
	"386": elf.EM_386, "amd64": elf.EM_X86_64, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64,
	"loong64": elf.EM_LOONGARCH, "ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
}

// Static reports why a file does not run by itself on Linux on an architecture, which has
// Go's name for it; nil means that it does. A file that cannot be read is a *fs.PathError.
func Static(path, arch string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := static(f, arch); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func static(program io.ReaderAt, arch string) error {
	machine, ok := machines[arch]
	if !ok {
		return fmt.Errorf("unknown architecture %q", arch)
	}
	f, err := elf.NewFile(program)
	if err != nil {
		return fmt.Errorf("no program for Linux: %w", err)
	}
	defer f.Close()
	if f.Machine != machine {
		return fmt.Errorf("a program for %v, want one for %v", f.Machine, machine)
	}
	if f.OSABI != elf.ELFOSABI_NONE && f.OSABI != elf.ELFOSABI_LINUX {
		return fmt.Errorf("no program for Linux but for %v", f.OSABI)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("no program but a file of type %v", f.Type)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("not linked statically")
		}
	}
	return nil
}

func (s Source) path() (string, error) {
	if s.Path != "" {
		return s.Path, nil
	}
	return os.Executable()
}

// Static is the function Static for the source's binary.
func (s Source) Static(arch string) error {
	path, err := s.path()
	if err != nil {
		return err
	}
	return Static(path, arch)
}

// Check reports why there is no static program for an architecture and none can be built.
// The error wraps drivers.ErrUnavailable and has a hint. It builds nothing: what the
// compiler has to say is not known yet.
func (s Source) Check(arch string) error {
	err := s.Static(arch)
	if err == nil {
		return nil
	}
	var unreadable *fs.PathError
	switch {
	case errors.As(err, &unreadable):
		return unavailable(err, "give a program that exists and can be read")
	case s.Package == "":
		return unavailable(fmt.Errorf("%w, and there is no source to build it from", err), hint(arch))
	}
	if _, lookErr := exec.LookPath("go"); lookErr != nil {
		return unavailable(fmt.Errorf("%w, and it cannot be built: %w", err, lookErr), "install Go, or "+hint(arch))
	}
	return nil
}

func hint(arch string) string {
	return "build the lab with CGO_ENABLED=0, as make build does, for GOOS=linux GOARCH=" + arch
}

func unavailable(err error, hint string) error {
	return &drivers.HintError{Err: fmt.Errorf("%w: %w", drivers.ErrUnavailable, err), Hint: hint}
}

// File returns the path of a static program for an architecture: the source's own binary,
// or a file in dir, which must exist, that was built now. Errors are as those of Check.
func (s Source) File(ctx context.Context, arch, dir string) (string, error) {
	if err := s.Check(arch); err != nil {
		return "", err
	}
	path, err := s.path()
	if err != nil {
		return "", err
	}
	if Static(path, arch) == nil {
		return path, nil
	}
	out, err := filepath.Abs(filepath.Join(dir, "program"))
	if err != nil {
		return "", err
	}
	return out, s.build(ctx, arch, out)
}

// Read returns what File would, as bytes, and leaves nothing on the disk.
func (s Source) Read(ctx context.Context, arch string) (program []byte, err error) {
	dir, err := os.MkdirTemp("", "rollout-lab-build-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path, err := s.File(ctx, arch, dir)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// outputLimit is how long the compilers of a build that was cancelled may hold its output.
const outputLimit = 5 * time.Second

func (s Source) build(ctx context.Context, arch, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, s.Package)
	cmd.Dir, cmd.WaitDelay = s.Dir, outputLimit
	folder := s.Package
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(s.Dir, folder)
	}
	if info, err := os.Stat(folder); err == nil && info.IsDir() {
		// In it, as its module need not be that of the current folder.
		cmd.Dir, cmd.Args[len(cmd.Args)-1] = folder, "."
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	text, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("go build %s: %w", s.Package, context.Cause(ctx))
	}
	if err != nil {
		return unavailable(fmt.Errorf("go build %s: %w: %s", s.Package, err, bytes.TrimSpace(text)),
			"correct what the compiler says, or "+hint(arch))
	}
	if err := Static(out, arch); err != nil {
		return fmt.Errorf("built from %s: %w", s.Package, err)
	}
	return nil
}
