// Package command runs a command of the user's: in a process group of its own, for no longer
// than it may take, its output in a file. What the command leaves running when it has ended by
// itself is left alone; what it has started when it is ended by force is ended with it. It
// knows nothing of load or of what the command is for.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// grace is how long a command that is ended by force has, between being asked to end and
	// being killed.
	grace = 5 * time.Second
	// dying is how long what was killed may take to be gone: a busy machine needs a moment.
	dying = time.Second

	// maxOutput is how large the file of its output may become, in bytes, before what came
	// first is left out; keptOutput is how much of the end is kept then.
	maxOutput, keptOutput = 8 << 20, 1 << 20

	// trimEvery is how often the size of the file is looked at.
	trimEvery = 250 * time.Millisecond

	// tailLines and tailBytes bound what is quoted of the output.
	tailLines, tailBytes = 8, 1500
)

// Find reports whether there is such a program, as the shell would look for it. The error
// names it.
func Find(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("no command")
	}
	if _, err := exec.LookPath(argv[0]); err != nil && !errors.Is(err, exec.ErrDot) {
		return fmt.Errorf("command %s: %w", argv[0], errors.Unwrap(err))
	}
	return nil
}

// ExitError says that a command ran and did not succeed.
type ExitError struct {
	Code int    // its exit status, -1 where it was ended by force
	How  string // exit status 1; signal: killed; not ended within 1m0s
	Tail string // the last lines of its output, "" when there were none
}

func (e *ExitError) Error() string {
	if e.Tail == "" {
		return e.How + ", without any output"
	}
	return e.How + "; last output: " + e.Tail
}

// Run runs a command and returns when it has ended: with an *ExitError when it ran and did not
// succeed, with another error when it could not be started or its output could not be kept.
// When ctx ends first its whole process group is asked to end (SIGTERM), killed 5 s later, and
// ctx's cause is in the error. It reads from nothing.
//
// Output and errors go into a new file, as they come; a program that the command leaves running
// writes on into it. The file is kept below 8 MiB, by leaving out what came first, until the
// returned function is called.
func Run(ctx context.Context, argv []string, file string) (stop func(), err error) {
	stop = func() {}
	if err := Find(argv); err != nil {
		return stop, err
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return stop, fmt.Errorf("output of %s: %w", argv[0], err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	if errors.Is(cmd.Err, exec.ErrDot) {
		cmd.Err = nil // it is what the user has written
	}
	// The file itself, and no pipe that would break under what the command leaves running.
	cmd.Stdout, cmd.Stderr = out, out
	group(cmd)
	if err := cmd.Start(); err != nil {
		return stop, fmt.Errorf("start %s: %w", argv[0], errors.Join(err, out.Close()))
	}
	trimming := trim(out)
	stop = sync.OnceFunc(func() { trimming(); _ = out.Close() })

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		end(cmd.Process.Pid, ended)
		return stop, &ExitError{Code: -1, How: context.Cause(ctx).Error(), Tail: tail(out)}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stop, &ExitError{Code: exit.ExitCode(), How: exit.Error(), Tail: tail(out)}
	}
	if err != nil {
		return stop, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return stop, nil
}

// end ends a process group: it is asked to, and killed after the grace if anything of it is
// left. It returns when the command has been waited for and the group is gone, or a moment
// after it was killed: what nobody waits for stays in it.
func end(pid int, ended <-chan error) {
	terminate(pid)
	over := time.NewTimer(grace)
	defer over.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	waited, killed := false, false
	for {
		select {
		case <-ended:
			waited, ended = true, nil
		case <-look.C:
		case <-over.C:
			if !killed {
				killed = true
				kill(pid)
				over.Reset(dying)
				continue
			}
			if !waited {
				<-ended
			}
			return
		}
		if waited && !alive(pid) {
			return
		}
	}
}

// trim keeps a file small until the returned function is called.
func trim(f *os.File) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(trimEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				cut(f)
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// cut leaves out what came first where a file is too large. Who writes appends, so what comes
// meanwhile stands behind what is kept.
func cut(f *os.File) {
	info, err := f.Stat()
	if err != nil || info.Size() <= maxOutput {
		return
	}
	kept := make([]byte, keptOutput)
	n, err := f.ReadAt(kept, info.Size()-keptOutput)
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "[rollout-lab: %d bytes are left out here]\n%s", info.Size()-int64(n), kept[:n])
	}
}

// Tail is the end of what a command has said into a file, on one line; "" where that is nothing.
func Tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	return tail(f)
}

// tail is the end of what a file holds, on one line.
func tail(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	from := max(0, info.Size()-tailBytes)
	text := make([]byte, info.Size()-from)
	n, err := f.ReadAt(text, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(text[:n])) {
		if line = clean(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-tailLines):], " | ")
}

// clean leaves out of a line what a terminal would act upon.
func clean(line string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "")))
}
