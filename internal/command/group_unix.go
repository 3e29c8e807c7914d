//go:build unix

package command

import (
	"os/exec"
	"syscall"
)

// group gives the command a process group of its own, which a Ctrl-C at the terminal does not
// reach: whoever is interrupted ends it.
func group(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// The errors say that nothing is left of the group, or nothing that may be signalled.
func terminate(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }
func kill(pid int)      { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// alive reports whether anything is left of the group.
func alive(pid int) bool { return syscall.Kill(-pid, 0) == nil }
