package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// owner names a process for good: an ID alone is used again, also after a restart of the
// machine. The space tells apart labs that see different processes under the same ID.
type owner struct {
	pid   int
	start uint64 // in clock ticks since the machine started
	space string // that start of the machine and the namespace of process IDs
}

func (o owner) String() string { return fmt.Sprintf("%d %d %s", o.pid, o.start, o.space) }

func parseOwner(s string) (owner, error) {
	var o owner
	if _, err := fmt.Sscanf(s, "%d %d %s", &o.pid, &o.start, &o.space); err != nil {
		return owner{}, fmt.Errorf("owner %q: %w", s, err)
	}
	return o, nil
}

// self is this process as an owner.
func self() (owner, error) {
	_, start, err := readStat(os.Getpid())
	if err != nil {
		return owner{}, err
	}
	space, err := processSpace()
	if err != nil {
		return owner{}, err
	}
	return owner{os.Getpid(), start, space}, nil
}

func processSpace() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + "/" + namespace, nil
}

// dead says whether the owner has certainly ended. Of one in another namespace of process
// IDs nothing is certain, unless the machine has been started since.
func (o owner) dead(space string) bool {
	if o.space != space {
		boot, _, _ := strings.Cut(space, "/")
		return !strings.HasPrefix(o.space, boot+"/")
	}
	state, start, err := readStat(o.pid)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	return start != o.start || state == 'Z' || state == 'X'
}

// readStat reads the state of a process and when it started, from the proc file system.
func readStat(pid int) (state byte, start uint64, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	// The second field is the command's name in parentheses and may hold anything.
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 || len(fields[0]) != 1 {
		return 0, 0, fmt.Errorf("process %d: cannot read its state from %q", pid, b)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64) // field 22 of all
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return fields[0][0], start, nil
}

// mark is what a unit's description says of where it belongs.
type mark struct{ run, stack, instance, owner string }

const markFormat = "rollout-lab run %q stack %q instance %q owner %q"

func (m mark) String() string {
	return fmt.Sprintf(markFormat, m.run, m.stack, m.instance, m.owner)
}

// parseMark reads a unit's description; ok is false when it is none of this driver's.
func parseMark(description string) (m mark, ok bool) {
	n, err := fmt.Sscanf(description, markFormat, &m.run, &m.stack, &m.instance, &m.owner)
	return m, err == nil && n == 4
}

// sweeps says whether a sweep of a run, "" meaning those whose lab is dead, takes what
// carries these marks.
func sweeps(runID, space, run, ownerText string) bool {
	if runID != "" {
		return run == runID
	}
	o, err := parseOwner(ownerText)
	return err == nil && o.dead(space)
}
