//go:build unix

package drivertest

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// detach puts a command out of reach of what is sent to its parent's group.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// tryLock locks a file until it is closed; it is wrong where somebody else has.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // the kernel knows of no other who and no other place
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
