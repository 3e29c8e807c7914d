//go:build unix

package load

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/edge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// probeStarved opens all the files that it may and then probes the address in its argument.
func probeStarved() int {
	files, err := openAll()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer runtime.KeepAlive(files) // a file that is collected is closed
	class, _, reason := ProbeOnce(context.Background(), os.Args[1], drivers.Wire{}, Request{Path: "/", AnyBody: true}, ample)
	fmt.Printf("%s: %s", class, reason)
	return 0
}

// probeStarvedBalancer probes the address through a balancer that has no file left: of the
// two that are free, the client takes one and the balancer's end of its connection the other.
func probeStarvedBalancer() int {
	b, err := edge.New(edge.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	b.Route(edge.Endpoint{ID: "a", Addr: os.Args[1]})
	files, err := openAll()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer runtime.KeepAlive(files)
	files[0].Close()
	files[1].Close()
	c, err := newDirectCall(strings.TrimPrefix(b.URL(), "http://"), drivers.Wire{}, &Request{Path: "/", AnyBody: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	names := newHeaderNames(nil, "", "")
	names.ours = true
	var s record.Sample
	exchange(context.Background(), plain(false, 1, ample), c, &names, time.Now().Add(ample), false, &s)
	fmt.Printf("%s: %d %s", s.Class, s.Status, s.Reason)
	return 0
}

// openAll opens all the files that a process with a small limit may.
func openAll() ([]*os.File, error) {
	limit := unix.Rlimit{Cur: 64, Max: 64}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	var files []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return files, nil
		}
		files = append(files, f)
	}
}

// A process that is out of descriptors must blame itself and not the server.
func TestOutOfDescriptorsIsTheHarness(t *testing.T) {
	tests := []struct{ role, want string }{
		{"starved", "harness: dial: socket: too many open files"},
		{"starved balancer", "harness: 502 harness: no descriptor, port or buffer left to connect with"},
	}
	for _, tt := range tests {
		t.Run(tt.role, func(t *testing.T) {
			server := httpServer(t, echo)
			cmd := exec.CommandContext(t.Context(), os.Args[0], server.Listener.Addr().String())
			cmd.Env = append(os.Environ(), role+"="+tt.role)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if string(out) != tt.want {
				t.Errorf("got %q, want %q", out, tt.want)
			}
		})
	}
}
