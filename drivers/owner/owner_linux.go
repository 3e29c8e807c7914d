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

// outermost is the namespace of process IDs that Linux starts with. Its number is part of
// the kernel's interface and the same on all machines.
const outermost = "pid:[4026531836]"

// Self is this process. It needs the proc file system.
func Self() (Owner, error) {
	pid := os.Getpid()
	start, _, err := Started(pid)
	if err != nil {
		return Owner{}, err
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return Owner{}, fmt.Errorf("namespace of process IDs: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return Owner{}, fmt.Errorf("name of this machine: %w", err)
	}
	machine := ""
	if space == outermost { // the file in a container may be that of its image
		machine = read("/etc/machine-id")
	}
	return Owner{pid, start, hash(read("/proc/sys/kernel/random/boot_id")), hash(space), hashMachine(machine, host)}, nil
}

// read returns what a file says, "" when it cannot be read: a sandbox may lack it.
func read(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// ended says whether the process has certainly ended, given that its ID means the same here.
func (o Owner) ended() bool {
	start, ended, err := Started(o.pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		// The proc file system may hide the processes of other users.
		return errors.Is(syscall.Kill(o.pid, 0), syscall.ESRCH)
	}
	return err == nil && (ended || o.start != 0 && start != o.start)
}

// Started says when a process was started, in clock ticks since the machine was, and
// whether it has ended and was only not waited for. The error of a process that does not
// exist is fs.ErrNotExist or ESRCH.
func Started(pid int) (start uint64, ended bool, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false, err
	}
	return parseStat(b)
}

func parseStat(b []byte) (start uint64, ended bool, err error) {
	// The second field is the command's name in parentheses and may hold anything.
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 {
		return 0, false, fmt.Errorf("cannot read the state of a process from %q", b)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64) // field 22 of all
	if err != nil {
		return 0, false, fmt.Errorf("start of a process: %w", err)
	}
	return start, fields[0] == "Z" || fields[0] == "X", nil
}
