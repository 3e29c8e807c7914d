package owner

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

// Self is this process.
func Self() (Owner, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Owner{}, fmt.Errorf("which start of the machine this is: %w", err)
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return Owner{}, fmt.Errorf("which processes can be seen: %w", err)
	}
	start, _, err := stat(os.Getpid())
	if err != nil {
		return Owner{}, err
	}
	return Owner{os.Getpid(), start, hash(strings.TrimSpace(string(boot))), hash(space)}, nil
}

// Dead says whether the owner has certainly ended. Of one on another machine, before
// another start of this one or among other processes, nothing is certain.
func (o Owner) Dead() bool {
	self, err := Self()
	if err != nil || o.boot != self.boot || o.space != self.space {
		return false
	}
	start, ended, err := stat(o.pid)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	return ended || start != o.start
}

// DeadHere is Dead for an owner that is known to have run on this machine: one from
// before the machine's last start has ended.
func (o Owner) DeadHere() bool {
	self, err := Self()
	return err == nil && (o.boot != self.boot || o.Dead())
}

// stat says when a process was started and whether it has ended but was not waited for.
func stat(pid int) (start uint64, ended bool, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false, err
	}
	// The second field is the command's name in parentheses and may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return 0, false, fmt.Errorf("process %d: cannot read its state from %q", pid, b)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64) // field 22 of all
	if err != nil {
		return 0, false, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return start, fields[0] == "Z" || fields[0] == "X", nil
}
