//go:build unix

package load

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Usage is what the process has cost so far.
func Usage() (record.Cost, error) {
	var self, children unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &self); err != nil {
		return record.Cost{}, fmt.Errorf("usage of the process: %w", err)
	}
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &children); err != nil {
		return record.Cost{}, fmt.Errorf("usage of the children: %w", err)
	}
	rss := int64(self.Maxrss) // kilobytes, except on Apple's systems
	if runtime.GOOS != "darwin" && runtime.GOOS != "ios" {
		rss *= 1024
	}
	return record.Cost{CPU: cpuTime(&self), Children: cpuTime(&children), MaxRSS: rss}, nil
}

func cpuTime(r *unix.Rusage) time.Duration {
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// ensureDescriptors raises the limit of open files to need where it may, and says what it
// is then.
func ensureDescriptors(need uint64) (have uint64, err error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	if uint64(limit.Cur) >= need || limit.Cur == limit.Max {
		return uint64(limit.Cur), nil
	}
	raised := limit
	setLimit(&raised.Cur, min(need, uint64(limit.Max)))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
		return uint64(limit.Cur), nil // the system keeps it lower; who asks is told the number
	}
	return uint64(raised.Cur), nil
}

// setLimit bridges the systems' signed and unsigned limits.
func setLimit[T int64 | uint64](field *T, value uint64) { *field = T(value) }
