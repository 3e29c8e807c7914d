//go:build !linux

package build

import (
	"errors"
	"os"
	"runtime"
)

func tryLock(*os.File) (bool, error) {
	return false, errors.New("a node image cannot be built on " + runtime.GOOS)
}

func freeSpace(string) (int64, bool) { return 0, false }
