//go:build unix

package drivertest

import (
	"os/exec"
	"syscall"
)

// detach puts a command out of reach of what is sent to its parent's group.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
