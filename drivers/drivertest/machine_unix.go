//go:build unix

package drivertest

import (
	"os"
	"os/exec"
	"syscall"
)

// detach puts a command out of reach of what is sent to its parent's group.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// tryLock locks a file until it is closed; it is wrong where somebody else has.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
