package portforward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
)

// node stands for the API server and the pods behind it: each pod answers a line with its
// name, the port and the line, and refuses connections to port 1.
type node struct {
	mu     sync.Mutex
	dialed []string // pods, in order
	closed []string
}

func (n *node) dial(_, pod string) (httpstream.Connection, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if pod == "unreachable" {
		return nil, errors.New("no route")
	}
	n.dialed = append(n.dialed, pod)
	return &connection{node: n, pod: pod, failures: map[string]*stream{}, over: make(chan bool)}, nil
}

func (n *node) saw(of *[]string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(*of)
}

type connection struct {
	node *node
	pod  string
	over chan bool
	once sync.Once

	mu       sync.Mutex
	failures map[string]*stream // the pod's ends, by request
}

func (c *connection) CreateStream(h http.Header) (httpstream.Stream, error) {
	mine, pods := net.Pipe()
	c.mu.Lock()
	defer c.mu.Unlock()
	id := h.Get(corev1.PortForwardRequestIDHeader)
	if h.Get(corev1.StreamType) == corev1.StreamTypeError {
		c.failures[id] = &stream{pods, h}
		return halfClosed{&stream{mine, h}}, nil
	}
	go c.serve(pods, c.failures[id], h.Get(corev1.PortHeader))
	return &stream{mine, h}, nil
}

func (c *connection) serve(data net.Conn, failure io.WriteCloser, port string) {
	defer data.Close()
	defer failure.Close()
	if port == "1" {
		fmt.Fprint(failure, "connection\nrefused")
		return
	}
	line, err := bufio.NewReader(data).ReadString('\n')
	if err == nil {
		fmt.Fprintf(data, "%s:%s says %s", c.pod, port, line)
	}
}

func (c *connection) Close() error {
	c.once.Do(func() {
		close(c.over)
		c.node.mu.Lock()
		defer c.node.mu.Unlock()
		c.node.closed = append(c.node.closed, c.pod)
	})
	return nil
}
func (c *connection) CloseChan() <-chan bool             { return c.over }
func (c *connection) SetIdleTimeout(time.Duration)       {}
func (c *connection) RemoveStreams(...httpstream.Stream) {}

type stream struct {
	net.Conn
	headers http.Header
}

func (s *stream) Reset() error         { return s.Close() }
func (s *stream) Headers() http.Header { return s.headers }
func (s *stream) Identifier() uint32   { return 0 }

// halfClosed is a stream whose Close ends writing alone, as the protocol has it.
type halfClosed struct{ *stream }

func (halfClosed) Close() error { return nil }

func say(addr, line string) (string, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return strings.TrimSpace(string(answer)), err
}

func listen(t *testing.T, n *node, pod string) *Forward {
	t.Helper()
	f, err := Listen(n.dial, "lab", pod, map[string]int32{"data": 8080, "refused": 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func TestForward(t *testing.T) {
	n := &node{}
	f := listen(t, n, "a")
	for _, line := range []string{"one", "two"} {
		if got, err := say(f.Addrs()["data"], line); err != nil || got != "a:8080 says "+line {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if got := n.saw(&n.dialed); !slices.Equal(got, []string{"a"}) {
		t.Errorf("dialed %v, want one tunnel for all connections", got)
	}
	f.Retarget("b")
	if got, err := say(f.Addrs()["data"], "three"); err != nil || got != "b:8080 says three" {
		t.Errorf("another pod: got %q, %v", got, err)
	}
	if got := n.saw(&n.closed); !slices.Equal(got, []string{"a"}) {
		t.Errorf("closed %v, want the tunnel to the pod before", got)
	}
	f.Close()
	if got := n.saw(&n.closed); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("closed %v, want all tunnels", got)
	}
	if _, err := net.Dial("tcp", f.Addrs()["data"]); err == nil {
		t.Error("it still listens after Close")
	}
}

// A connection that the pod refuses is broken, not ended, and its tunnel is used no more:
// one that has refused stalls those that come later.
func TestForwardIsRefused(t *testing.T) {
	n := &node{}
	f := listen(t, n, "a")
	if got, err := say(f.Addrs()["refused"], "one"); err == nil {
		t.Errorf("a refused connection ended with %q as if that were an answer", got)
	}
	if got, err := say(f.Addrs()["data"], "two"); err != nil || got != "a:8080 says two" {
		t.Errorf("after a refusal: got %q, %v", got, err)
	}
	if got := n.saw(&n.dialed); len(got) != 2 {
		t.Errorf("dialed %v, want another tunnel after the refusal", got)
	}
	if got, err := say(listen(t, n, "unreachable").Addrs()["data"], "three"); err == nil {
		t.Errorf("a pod that cannot be reached answered %q", got)
	}
}

func TestAccepts(t *testing.T) {
	n := &node{}
	f := listen(t, n, "a")
	if err := f.Accepts(t.Context(), 8080, 10*time.Millisecond); err != nil {
		t.Errorf("a port that accepts: %v", err)
	}
	if err := f.Accepts(t.Context(), 1, time.Minute); err == nil || err.Error() != "connection refused" {
		t.Errorf("a port that refuses: got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	given := errors.New("nobody asks any more")
	cancel(given)
	if err := f.Accepts(ctx, 8080, time.Minute); !errors.Is(err, given) {
		t.Errorf("got %v, want %v", err, given)
	}
}
