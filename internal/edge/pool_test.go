package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// turns takes n requests through begin and end and names who got them.
func turns(b *Balancer, n int) string {
	var ids []string
	for range n {
		chosen := b.begin()
		if chosen == nil {
			ids = append(ids, "-")
			b.end(nil)
			continue
		}
		ids = append(ids, chosen.endpoint.ID)
		b.end(&attempt{backend: chosen, status: 200})
	}
	return strings.Join(ids, "")
}

func TestRoundRobin(t *testing.T) {
	route := func(id string) func(*Balancer) { return func(b *Balancer) { b.Route(Endpoint{ID: id}) } }
	unroute := func(id string) func(*Balancer) { return func(b *Balancer) { b.Unroute(id) } }
	type step struct {
		do   func(*Balancer)
		n    int
		want string
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"in turn", []step{{route("a"), 0, ""}, {route("b"), 0, ""}, {route("c"), 7, "abcabca"}}},
		{"the new one comes last", []step{{route("a"), 0, ""}, {route("b"), 1, "a"}, {route("c"), 6, "bacbac"}}},
		{"new before the first turn", []step{{route("a"), 2, "aa"}, {route("b"), 4, "abab"}}},
		{"one that had its turn goes", []step{{route("a"), 0, ""}, {route("b"), 0, ""}, {route("c"), 2, "ab"}, {unroute("a"), 4, "cbcb"}}},
		{"the one behind goes", []step{{route("a"), 0, ""}, {route("b"), 0, ""}, {route("c"), 2, "ab"}, {unroute("b"), 4, "caca"}}},
		{"the next one goes", []step{{route("a"), 0, ""}, {route("b"), 0, ""}, {route("c"), 1, "a"}, {unroute("b"), 4, "caca"}}},
		{"the last one goes", []step{{route("a"), 0, ""}, {route("b"), 0, ""}, {route("c"), 2, "ab"}, {unroute("c"), 4, "abab"}}},
		{"all go", []step{{route("a"), 1, "a"}, {unroute("a"), 2, "--"}, {route("b"), 2, "bb"}}},
		{"an unknown one goes", []step{{route("a"), 0, ""}, {unroute("x"), 2, "aa"}}},
		{"routed twice", []step{{route("a"), 0, ""}, {route("b"), 0, ""}, {route("a"), 4, "abab"}}},
		{"replaced in its place", []step{{route("a"), 0, ""}, {route("b"), 1, "a"},
			{func(b *Balancer) { b.Route(Endpoint{ID: "a", Revision: "v2"}) }, 4, "baba"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, Config{})
			for i, s := range tt.steps {
				s.do(b)
				if got := turns(b, s.n); got != s.want {
					t.Errorf("step %d: got %s, want %s", i, got, s.want)
				}
			}
		})
	}
}

func TestLeastConnections(t *testing.T) {
	b := start(t, Config{Policy: drivers.LeastConnections})
	for _, id := range []string{"a", "b", "c"} {
		b.Route(Endpoint{ID: id})
	}
	if got := turns(b, 6); got != "abcabc" {
		t.Errorf("ties: got %s, want abcabc", got)
	}
	busy := b.begin() // a
	if got := turns(b, 4); got != "bcbc" {
		t.Errorf("a is busy: got %s, want bcbc", got)
	}
	second := b.begin() // b
	if got := turns(b, 2); got != "cc" {
		t.Errorf("a and b are busy: got %s, want cc", got)
	}
	b.end(&attempt{backend: busy, status: 200})
	if got := turns(b, 4); got != "acac" {
		t.Errorf("b is busy: got %s, want acac", got)
	}
	b.end(&attempt{backend: second, status: 200})
	if got := turns(b, 3); got != "abc" {
		t.Errorf("nobody is busy: got %s, want abc", got)
	}
}

// held is a backend that holds the requests to /held until it is told to go on.
func held(t testing.TB) (w *wire, arrived chan struct{}, release, ended chan struct{}) {
	arrived, release, ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 16)
	w = serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
		if r.URL.Path == "/held" {
			arrived <- struct{}{}
			<-release
		}
		io.WriteString(conn, okAnswer)
		if r.URL.Path == "/held" {
			// What the balancer does with the connection is what is waited for.
			if _, err := conn.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
				ended <- struct{}{}
			}
			return false
		}
		return true
	})
	return w, arrived, release, ended
}

func TestDrain(t *testing.T) {
	backend, arrived, release, ended := held(t)
	b := start(t, Config{})
	b.Route(Endpoint{ID: "a", Addr: backend.addr})
	conn := dial(t, b, "GET /held HTTP/1.1\r\nHost: lab\r\n\r\n")
	<-arrived
	b.Unroute("a")
	if res, _ := get(t, newClient(t), b.URL()); res.StatusCode != 503 {
		t.Errorf("new request: got %d, want 503", res.StatusCode)
	}
	if c := countersOf(b); len(c) != 1 || c[0].InFlight != 1 || c[0].Routed {
		t.Errorf("request under way: got %+v, want it still in flight at a former endpoint", c)
	}
	close(release)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 200 || res.Header.Get(drivers.EndpointHeader) != "a" {
		t.Errorf("request under way: got %v, %v, want a 200 of a", res, err)
	}
	awaitDrained(t, b, "a")
	<-ended // the balancer closed its connection

	want := []counter{{Endpoint: Endpoint{ID: "a", Addr: backend.addr}, Requests: 1, Answers: [6]uint64{2: 1}}}
	if diff := cmp.Diff(want, countersOf(b)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if got := refusedBy(b); got != 1 {
		t.Errorf("refused: got %d, want 1", got)
	}
}

func TestClose(t *testing.T) {
	t.Run("waits for requests under way", func(t *testing.T) {
		backend, arrived, release, _ := held(t)
		b, err := newTallied(t, Config{})
		if err != nil {
			t.Fatal(err)
		}
		b.Route(Endpoint{ID: "a", Addr: backend.addr})
		dial(t, b, "") // a connection in reserve must not delay it
		conn := dial(t, b, "GET /held HTTP/1.1\r\nHost: lab\r\n\r\n")
		<-arrived
		closed := make(chan error, 1)
		go func() { closed <- b.Close(t.Context()) }()
		waitFor(t, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.closing
		})
		if err := b.Close(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("second close: got %v, want ErrClosed", err)
		}
		select {
		case err := <-closed:
			t.Errorf("closed with a request under way: %v", err)
		default:
		}
		close(release)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 200 {
			t.Errorf("got %v, %v, want a 200", res, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		b.Route(Endpoint{ID: "b"}) // of no effect
		if got := len(countersOf(b)); got != 1 {
			t.Errorf("got %d counters, want 1", got)
		}
	})
	t.Run("cuts them off when its time is up", func(t *testing.T) {
		backend, arrived, release, _ := held(t)
		defer close(release)
		b, err := newTallied(t, Config{})
		if err != nil {
			t.Fatal(err)
		}
		b.Route(Endpoint{ID: "a", Addr: backend.addr})
		conn := dial(t, b, "GET /held HTTP/1.1\r\nHost: lab\r\n\r\n")
		<-arrived
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Close(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cut off 1 ") {
			t.Errorf("got %v, want one request cut off", err)
		}
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			t.Errorf("got an answer %d, want none", res.StatusCode)
		}
		if c := countersOf(b)[0]; c.Canceled != 1 || c.InFlight != 0 {
			t.Errorf("got %+v, want 1 canceled", c)
		}
	})
}

// An upgraded connection is a request under way until either side ends it.
func TestUpgrade(t *testing.T) {
	backend := serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
		io.Copy(conn, conn)
		return false
	})
	b := start(t, Config{})
	b.Route(Endpoint{ID: "a", Addr: backend.addr})
	conn := dial(t, b, "GET / HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" {
		t.Fatalf("got %v, %v, want a 101", res, err)
	}
	b.Unroute("a")
	for _, text := range []string{"one\n", "two\n"} {
		io.WriteString(conn, text)
		if got, err := in.ReadString('\n'); err != nil || got != text {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
	if c := countersOf(b)[0]; c.InFlight != 1 {
		t.Errorf("got %d in flight, want 1", c.InFlight)
	}
	conn.Close()
	if c := counterOf(t, b, "a"); c.Answers[1] != 1 {
		t.Errorf("got %+v, want one 101", c)
	}
}

// A client that asks before it sends its body is told by the endpoint, not by the balancer.
func TestExpectContinue(t *testing.T) {
	b := start(t, Config{ContinueTimeout: time.Minute}) // an endpoint on a busy machine is not taken for one that says nothing
	b.Route(Endpoint{ID: "a", Addr: serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		io.Copy(w, r.Body)
	})})
	for _, tt := range []struct {
		path string
		want []int
	}{{"/", []int{100, 200}}, {"/no", []int{417}}} {
		conn := dial(t, b, "POST "+tt.path+" HTTP/1.1\r\nHost: lab\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
		in := bufio.NewReader(conn)
		for _, want := range tt.want {
			res, err := http.ReadResponse(in, nil)
			for want == 200 && err == nil && res.StatusCode == 100 {
				// net/http's server may say it as well when the body is first read, which is at
				// the same moment: clients must expect more than one (RFC 9110, 15.2).
				res, err = http.ReadResponse(in, nil)
			}
			if err != nil || res.StatusCode != want {
				t.Fatalf("%s: got %v, %v, want %d", tt.path, res, err, want)
			}
			if want == 100 {
				io.WriteString(conn, "body")
				continue
			}
			if body, err := io.ReadAll(res.Body); want == 200 && (string(body) != "body" || err != nil) {
				t.Errorf("got %q, %v, want the body back", body, err)
			}
		}
	}
}

// Each piece of a body reaches the other side before the next one is sent.
func TestStreaming(t *testing.T) {
	b := start(t, Config{})
	b.Route(Endpoint{ID: "a", Addr: serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		rc.Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, line)
			rc.Flush()
		}
	})})
	out, send := io.Pipe()
	res, err := newClient(t).Post(b.URL(), "text/plain", out)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for i := range 3 {
		text := fmt.Sprintf("piece %d\n", i)
		io.WriteString(send, text)
		if got, err := in.ReadString('\n'); err != nil || got != text {
			t.Fatalf("got %q, %v, want %q", got, err, text)
		}
	}
	send.Close()
	if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v, want the end", rest, err)
	}
}

// Endpoints come, go and are replaced under load: every request is answered, once, by an
// endpoint or by a 503, and the counters add up.
func TestChurn(t *testing.T) {
	const clients, each = 6, 150
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "served\n") })
	b := start(t, Config{Policy: drivers.LeastConnections})
	stop := make(chan struct{})
	var churn, load sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		churn.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				b.Route(Endpoint{ID: id, Revision: fmt.Sprint(i % 3), Addr: addr})
				get(t, http.DefaultClient, "http://"+addr) // about as long as a request takes
				if i%2 == 0 {
					b.Unroute(id)
					awaitDrained(t, b, id)
				}
				countersOf(b)
			}
		})
	}
	var mu sync.Mutex
	got := make(map[int]uint64)
	for range clients {
		client := newClient(t)
		load.Go(func() {
			for range each {
				res, err := client.Get(b.URL())
				if err != nil {
					t.Error(err)
					continue
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				mu.Lock()
				got[res.StatusCode]++
				mu.Unlock()
			}
		})
	}
	load.Wait()
	close(stop)
	churn.Wait()
	http.DefaultClient.CloseIdleConnections()
	if got[200]+got[503] != clients*each || got[503] != refusedBy(b) || got[200] == 0 {
		t.Errorf("got %v and %d refused, want %d answers of 200 or 503", got, refusedBy(b), clients*each)
	}
	for _, id := range []string{"a", "b", "c"} {
		b.Unroute(id)
		awaitDrained(t, b, id)
	}
	var served uint64
	for _, c := range countersOf(b) {
		checkSum(t, c)
		served += c.Answers[2]
		if c.Routed || c.InFlight != 0 {
			t.Errorf("got %+v, want it drained", c)
		}
	}
	if served != got[200] {
		t.Errorf("counters: got %d served, want %d", served, got[200])
	}
}
