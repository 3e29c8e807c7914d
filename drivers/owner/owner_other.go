//go:build !linux

package owner

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Self is this process, as far as it can be told here.
func Self() (Owner, error) {
	host, err := os.Hostname()
	if err != nil {
		return Owner{}, fmt.Errorf("name of this machine: %w", err)
	}
	return Owner{pid: os.Getpid(), boot: hash(bootID()), space: unknown, machine: hashMachine(machineID(), host)}, nil
}

// noSuchProcess is what Windows answers for an ID that is nobody's.
const noSuchProcess = syscall.Errno(87)

// ended says whether the process has certainly ended, given that its ID means the same
// here. When a process was started is not known, so one that has its ID now counts as it.
func (o Owner) ended() bool {
	p, err := os.FindProcess(o.pid)
	if err != nil {
		return errors.Is(err, noSuchProcess)
	}
	defer p.Release()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
