//go:build !unix

package drivertest

import "os/exec"

// detach has nothing to do where a signal reaches one process alone.
func detach(*exec.Cmd) {}
