//go:build !unix

package command

import (
	"os"
	"os/exec"
)

// Without process groups the command alone is ended, and what it has started is not.
func group(*exec.Cmd) {}

func terminate(pid int) { kill(pid) }

func kill(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

func alive(int) bool { return false }
