package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// unread is a wire that a balancer passes connections on for.
var unread = drivers.Wire{Protocol: drivers.H2C}

// lines is an endpoint that answers each line with its name and the line, until the client is
// done. It knows some words: end (it closes), reset, last (it says that it is done, and
// listens on).
type lines struct {
	addr  string
	conns atomic.Int32
	ended chan error // what each connection ended with: nil is an orderly end
}

func serveLines(t testing.TB, name string) *lines {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lines{addr: listener.Addr().String(), ended: make(chan error, 100)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.conns.Add(1)
			serving.Go(func() { l.ended <- answerLines(name, conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return l
}

func answerLines(name string, conn *net.TCPConn) error {
	defer conn.Close()
	buf := make([]byte, 1024)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, io.EOF) {
			_, err := fmt.Fprintf(conn, "%s done\n", name)
			return err
		}
		if err != nil {
			return err
		}
		switch word := strings.TrimSpace(string(buf[:n])); word {
		case "end":
			return nil
		case "reset":
			conn.SetLinger(0)
			return nil
		case "last":
			if err := conn.CloseWrite(); err != nil {
				return err
			}
		default:
			if _, err := fmt.Fprintf(conn, "%s %s\n", name, word); err != nil {
				return err
			}
		}
	}
}

// lineClient is a connection to a balancer that sends lines.
type lineClient struct {
	testing.TB
	*net.TCPConn
	balancer *Balancer
}

func connect(t testing.TB, b *Balancer) *lineClient {
	t.Helper()
	conn, err := net.Dial("tcp", hostOf(t, b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &lineClient{t, conn.(*net.TCPConn), b}
}

func hostOf(t testing.TB, b *Balancer) string {
	t.Helper()
	u, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func (c *lineClient) says(line string) {
	c.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		c.Fatal(err)
	}
}

// hears reads the next line, or what the connection ended with.
func (c *lineClient) hears() (string, error) {
	buf := make([]byte, 1024)
	n, err := c.Read(buf)
	return strings.TrimSpace(string(buf[:n])), err
}

func (c *lineClient) want(line string) {
	c.Helper()
	got, err := c.hears()
	if err != nil || got != line {
		c.Fatalf("got %q, %v, want %q", got, err, line)
	}
}

// way is where the balancer says that the connection went.
func (c *lineClient) way() drivers.Way {
	c.Helper()
	way, ok := c.balancer.Trace(c.LocalAddr().(*net.TCPAddr).AddrPort())
	if !ok {
		c.Fatal("the balancer knows nothing of the connection")
	}
	return way
}

// Connections take turns and stay where they are, whatever becomes of the endpoint's turn;
// the balancer tells where each one is.
func TestRelayKeepsConnections(t *testing.T) {
	b := start(t, Config{Wire: unread})
	one, two := serveLines(t, "one"), serveLines(t, "two")
	b.Route(Endpoint{ID: "a", Addr: one.addr})
	b.Route(Endpoint{ID: "b", Addr: two.addr})
	var clients []*lineClient
	for i, want := range []string{"one", "two", "one", "two"} {
		c := connect(t, b)
		c.says("hello")
		c.want(want + " hello")
		if way := c.way(); way.Instance != string("ab"[i%2]) || way.Reason != "" || way.At.IsZero() {
			t.Errorf("connection %d: way %+v", i, way)
		}
		clients = append(clients, c)
	}
	b.Unroute("a")
	clients[0].says("still here")
	clients[0].want("one still here")
	for range 3 {
		c := connect(t, b)
		c.says("new")
		c.want("two new")
	}
	if n := one.conns.Load(); n != 2 {
		t.Errorf("got %d connections at the one that is not routed to, want 2", n)
	}
}

// LeastConnections counts the connections that are open.
func TestRelayToTheLeastConnected(t *testing.T) {
	b := start(t, Config{Wire: unread, Policy: drivers.LeastConnections})
	one, two := serveLines(t, "one"), serveLines(t, "two")
	b.Route(Endpoint{ID: "a", Addr: one.addr})
	b.Route(Endpoint{ID: "b", Addr: two.addr})
	got := ""
	var last *lineClient
	for i := range 4 {
		c := connect(t, b)
		c.says("x")
		line, err := c.hears()
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(line, " ")
		got += name + " "
		if i == 1 {
			last = c
		}
	}
	if got != "one two one two " {
		t.Errorf("got %s", got)
	}
	last.CloseWrite() // two has one fewer once both sides are done
	last.want("two done")
	if _, err := last.hears(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want EOF", err)
	}
	last.Close()
	<-two.ended
	awaitConnections(t, b, "b", 1)
	c := connect(t, b)
	c.says("x")
	c.want("two x")
}

// awaitConnections waits until an endpoint has so many connections: the balancer books their
// end a moment after both sides have seen it.
func awaitConnections(t testing.TB, b *Balancer, id string, want int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		b.mu.Lock()
		n := b.order[b.index(id)].inFlight
		b.mu.Unlock()
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %d connections, want %d", id, n, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// A connection that nobody takes is reset, is offered to nobody else, and the balancer knows
// why.
func TestRelayToNobody(t *testing.T) {
	for _, tt := range []struct {
		name  string
		route []Endpoint
		want  drivers.Way
	}{
		{"nothing is routed to", nil, drivers.Way{Reason: drivers.NoInstanceReason}},
		{"it listens no more", []Endpoint{{ID: "a", Addr: deadAddr(t)}}, drivers.Way{Instance: "a", Reason: drivers.RefusedReason}},
		{"impossible address", []Endpoint{{ID: "a", Addr: "127.0.0.1:99999"}}, drivers.Way{Instance: "a", Reason: "connect failed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, Config{Wire: unread})
			other := serveLines(t, "other")
			for _, e := range tt.route {
				b.Route(e)
			}
			if len(tt.route) > 0 {
				b.Route(Endpoint{ID: "z", Addr: other.addr})
			}
			c := connect(t, b)
			c.says("hello")
			if line, err := c.hears(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %q, %v, want a reset", line, err)
			}
			got := c.way()
			got.At = time.Time{}
			if got != tt.want {
				t.Errorf("got way %+v, want %+v", got, tt.want)
			}
			if n := other.conns.Load(); n != 0 {
				t.Errorf("another endpoint got %d connections, want 0", n)
			}
		})
	}
}

func TestRelayNamesItsOwnTrouble(t *testing.T) {
	for err, want := range map[error]fault{
		&net.OpError{Op: "dial", Err: syscall.EMFILE}:       faultHarness,
		&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}: faultRefused,
		&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}:    faultConnectTimeout,
		context.DeadlineExceeded:                            faultConnectTimeout,
		errors.New("?"):                                     faultConnect,
	} {
		if got := dialFault(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}

// What one side does reaches the other as it is.
func TestRelayPassesOnTheEnd(t *testing.T) {
	open := func(t *testing.T) (*lineClient, *lines) {
		b := start(t, Config{Wire: unread})
		one := serveLines(t, "one")
		b.Route(Endpoint{ID: "a", Addr: one.addr})
		c := connect(t, b)
		c.says("hello")
		c.want("one hello")
		return c, one
	}
	t.Run("the endpoint closes", func(t *testing.T) {
		c, _ := open(t)
		c.says("end")
		if line, err := c.hears(); !errors.Is(err, io.EOF) {
			t.Errorf("got %q, %v, want EOF", line, err)
		}
	})
	t.Run("the endpoint resets", func(t *testing.T) {
		c, _ := open(t)
		c.says("reset")
		if line, err := c.hears(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %q, %v, want a reset", line, err)
		}
	})
	t.Run("the endpoint is done and listens on", func(t *testing.T) {
		c, one := open(t)
		c.says("last")
		if line, err := c.hears(); !errors.Is(err, io.EOF) {
			t.Errorf("got %q, %v, want EOF", line, err)
		}
		select {
		case err := <-one.ended:
			t.Fatalf("the endpoint's side ended with %v before the client's had", err)
		default:
		}
		c.Close()
		if err := <-one.ended; err != nil && !isReset(err) {
			t.Error(err)
		}
	})
	t.Run("the client is done and gets its answer", func(t *testing.T) {
		c, one := open(t)
		c.CloseWrite()
		c.want("one done")
		if err := <-one.ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("the client resets", func(t *testing.T) {
		c, one := open(t)
		c.SetLinger(0)
		c.Close()
		if err := <-one.ended; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a reset", err)
		}
	})
}

// Close waits for connections whose instance lives, cuts those at once whose instance has
// ended its side, and the rest when the time is over.
func TestRelayCloses(t *testing.T) {
	b, err := newTallied(t, Config{Wire: unread})
	if err != nil {
		t.Fatal(err)
	}
	one := serveLines(t, "one")
	b.Route(Endpoint{ID: "a", Addr: one.addr})
	idle := connect(t, b)
	idle.says("last")
	if _, err := idle.hears(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	held := connect(t, b)
	held.says("x")
	held.want("one x")
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error, 1)
	go func() { closed <- b.Close(ctx) }()
	if line, err := idle.hears(); err == nil {
		t.Errorf("the connection whose instance is done says %q", line)
	}
	<-one.ended
	held.says("y") // it goes on as long as the time lasts
	held.want("one y")
	cancel()
	if err := <-closed; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cut off 1 connections") {
		t.Errorf("got %v, want one connection cut off", err)
	}
	if _, err := held.hears(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if err := b.Close(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: got %v", err)
	}
}

// A request that comes while a balancer closes does not end it twice.
func TestEndAfterClose(t *testing.T) {
	b, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.begin()
		b.end(nil)
	}
}

// HTTP/2 over TLS goes through unread: the client sees the endpoint's certificate, and all
// requests of a connection are one endpoint's.
func TestRelayUnderTLS(t *testing.T) {
	endpoint := func(name string) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s", name, r.Proto)
		}))
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	one, two := endpoint("one"), endpoint("two")
	b := start(t, Config{Wire: drivers.Wire{Protocol: drivers.H2, TLS: &drivers.TLS{}}})
	if !strings.HasPrefix(b.URL(), "https://") {
		t.Errorf("URL %s, want https", b.URL())
	}
	b.Route(Endpoint{ID: "a", Addr: one.Listener.Addr().String()})
	b.Route(Endpoint{ID: "b", Addr: two.Listener.Addr().String()})
	for _, name := range []string{"one", "two", "one"} {
		client := one.Client() // both have httptest's own certificate
		client.Transport = client.Transport.(*http.Transport).Clone()
		for range 3 {
			res, body := get(t, client, b.URL())
			if body != name+" HTTP/2.0" || res.TLS == nil {
				t.Errorf("got %q, want %s HTTP/2.0", body, name)
			}
		}
		client.CloseIdleConnections()
	}
}

// The address of a client is the same in both spellings of IPv4.
func TestTraceOfMappedAddress(t *testing.T) {
	b := start(t, Config{Wire: unread})
	one := serveLines(t, "one")
	b.Route(Endpoint{ID: "a", Addr: one.addr})
	c := connect(t, b)
	c.says("x")
	c.want("one x")
	local := c.LocalAddr().(*net.TCPAddr).AddrPort()
	for _, addr := range []netip.Addr{local.Addr().Unmap(), netip.AddrFrom16(local.Addr().As16())} {
		if way, ok := b.Trace(netip.AddrPortFrom(addr, local.Port())); !ok || way.Instance != "a" {
			t.Errorf("%v: got %+v, %t", addr, way, ok)
		}
	}
	if _, ok := b.Trace(netip.MustParseAddrPort("127.0.0.1:1")); ok {
		t.Error("a connection that never came is known")
	}
}
