package healthkit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails when a test has left a goroutine behind. It is written out, as the tests'
// libraries would be requirements of every module that imports this one.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftGoroutines(5 * time.Second); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// leftGoroutines returns the stacks of the goroutines that do not end within the patience,
// but for the caller's and those that the runtime keeps for signals.
func leftGoroutines(patience time.Duration) []string {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		var left []string
		for _, stack := range strings.Split(strings.TrimSpace(string(stacks)), "\n\n")[1:] {
			if !strings.Contains(stack, "\nos/signal.signal_recv(") && !strings.Contains(stack, "\nruntime.ensureSigM") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

func TestLeftGoroutinesAreSeen(t *testing.T) {
	release := make(chan struct{})
	go func() { <-release }()
	seen := func(left []string) bool {
		for _, stack := range left {
			if strings.Contains(stack, "TestLeftGoroutinesAreSeen.func1") {
				return true
			}
		}
		return false
	}
	if left := leftGoroutines(0); !seen(left) {
		t.Errorf("a goroutine that waits is not among the %d that are left", len(left))
	}
	close(release)
	for deadline := time.Now().Add(10 * time.Second); seen(leftGoroutines(0)); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("a goroutine that has ended counts as left")
		}
	}
}

func mustRegister(t testing.TB, r *Registry, name string, opts Options) *Component {
	t.Helper()
	c, err := r.Register(name, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func stateOf(t testing.TB, r *Registry, name string) State {
	t.Helper()
	c, ok := r.Snapshot().Component(name)
	if !ok {
		t.Fatalf("no component %q", name)
	}
	return c.State
}

// serve starts an http.Server on loopback and returns its base URL.
func serve(t *testing.T, h http.Handler) (*GracefulServer, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Graceful(&http.Server{Handler: h, Addr: l.Addr().String()})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s, "http://" + l.Addr().String()
}

func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func fetch(client *http.Client, url string) (status int, body string, closing bool, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", false, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Close, err
}
