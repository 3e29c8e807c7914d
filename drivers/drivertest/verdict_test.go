//go:build linux

package drivertest

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

func TestMain(m *testing.M) {
	// A broken driver is mostly waited for, so more of them fit in than there are cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	Main(m)
}

// verdict is a testing.TB that keeps to itself what a case says.
type verdict struct {
	testing.TB // the real one, for what a case may not be kept from

	mu       sync.Mutex
	failures []string
	skipped  string
	cleanups []func()
}

func (v *verdict) Helper() {}

func (v *verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failures = append(v.failures, fmt.Sprintf(format, args...))
}

func (v *verdict) Error(args ...any) { v.Errorf("%s", fmt.Sprintln(args...)) }

func (v *verdict) Fatal(args ...any) {
	v.Error(args...)
	runtime.Goexit()
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Skipf(format string, args ...any) {
	v.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Cleanup(f func()) { v.cleanups = append(v.cleanups, f) }

// judge runs a case as testing would, and returns what it found.
func judge(t *testing.T, c testCase, h Harness) *verdict {
	t.Helper()
	v := &verdict{TB: t}
	alone := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
	alone(func() { c.run(v, h) })
	for _, f := range slices.Backward(v.cleanups) {
		alone(f)
	}
	return v
}

func find(t *testing.T, name string) testCase {
	t.Helper()
	for _, c := range cases {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("the suite has no case %s", name)
	return testCase{}
}
