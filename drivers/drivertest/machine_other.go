//go:build !unix

package drivertest

import (
	"os"
	"os/exec"
	"time"
)

// detach has nothing to do where a signal reaches one process alone.
func detach(*exec.Cmd) {}

// tryLock has no lock to take that ends with its process.
func tryLock(*os.File) bool { return true }

// processorTime is not known.
func processorTime() time.Duration { return 0 }
