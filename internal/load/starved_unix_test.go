//go:build unix

package load

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// probeStarved opens all the files that it may and then probes the address in its argument.
func probeStarved() int {
	limit := unix.Rlimit{Cur: 64, Max: 64}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		defer f.Close()
	}
	class, _, reason := ProbeOnce(context.Background(), os.Args[1], Request{Path: "/", AnyBody: true}, ample)
	fmt.Printf("%s: %s", class, reason)
	return 0
}

// A process that is out of descriptors must blame itself and not the server.
func TestOutOfDescriptorsIsTheRigs(t *testing.T) {
	server := httpServer(t, echo)
	cmd := exec.CommandContext(t.Context(), os.Args[0], server.Listener.Addr().String())
	cmd.Env = append(os.Environ(), role+"=starved")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := string(record.Rig) + ": dial: socket: too many open files"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}
