package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// threeStreams is the mix of the lab's scenarios.
func threeStreams() []Stream {
	return []Stream{
		{Name: "keepalive-get", Weight: 40, Reuse: true, Requests: []Request{{Path: "/", WantBody: "GET 0"}}},
		{Name: "keepalive-post", Weight: 40, Reuse: true, Requests: []Request{{Method: "POST", Path: "/", Body: []byte("body"), WantBody: "POST 4"}}},
		{Name: "newconn-get", Weight: 20, Requests: []Request{{Path: "/", WantBody: "GET 0"}}},
	}
}

// echo answers with the method and the length of the body.
func echo(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Rollout-Lab-Instance", "i-1")
	w.Header().Set("Rollout-Lab-Revision", "v1")
	fmt.Fprintf(w, "%s %d", r.Method, n)
}

// run runs the plan from now on and returns its samples in order of delivery.
func run(t *testing.T, p Plan) (Summary, []record.Sample) {
	t.Helper()
	p.Base = time.Now()
	var samples []record.Sample
	summary, err := Run(t.Context(), p, func(s record.Sample) { samples = append(samples, s) })
	if err != nil {
		t.Fatal(err)
	}
	return summary, samples
}

func TestRun(t *testing.T) {
	var chunked, numbered, closing, requests atomic.Int64
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if len(r.TransferEncoding) > 0 {
			chunked.Add(1)
		}
		if r.Header.Get("X-Vegeta-Seq") != "" {
			numbered.Add(1)
		}
		if r.Close {
			closing.Add(1)
		}
		echo(w, r)
	})
	plan := Plan{URL: server.URL, Start: 40 * time.Millisecond, Rate: 2000, Hits: 500, Timeout: ample, Streams: threeStreams()}
	summary, samples := run(t, plan)

	if summary.Fired != 500 || summary.Retried != 0 || summary.T0 != plan.Start || summary.CPU <= 0 {
		t.Errorf("summary %+v: want 500 fired, none retried, the start as T0, some CPU time", summary)
	}
	if requests.Load() != 500 || chunked.Load() != 0 || numbered.Load() != 0 || closing.Load() != 100 {
		t.Errorf("server got %d requests, %d in chunks, %d with vegeta's number, %d to close behind; want 500, 0, 0, 100",
			requests.Load(), chunked.Load(), numbered.Load(), closing.Load())
	}
	streams := make(map[string]int)
	seen := make(map[uint64]bool)
	for i, s := range samples {
		seen[s.Seq] = true
		streams[s.Stream]++
		if want := plan.Start + time.Duration(s.Seq+1)*500*time.Microsecond; s.Intended != want {
			t.Fatalf("hit %d was intended at %v, want %v", s.Seq, s.Intended, want)
		}
		if s.Sent < s.Intended || s.Done < s.Sent {
			t.Errorf("hit %d: intended %v, sent %v, done %v are out of order", s.Seq, s.Intended, s.Sent, s.Done)
		}
		want := record.Sample{Seq: s.Seq, Stream: s.Stream, Expect: record.Serve,
			Intended: s.Intended, Sent: s.Sent, Done: s.Done,
			Class: record.OK, Status: 200, Attempts: 1, Bytes: s.Bytes, Instance: "i-1", Revision: "v1"}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Fatalf("sample %d (-want +got):\n%s", i, diff)
		}
	}
	if len(seen) != 500 {
		t.Errorf("%d distinct hits, want 500", len(seen))
	}
	if diff := cmp.Diff(map[string]int{"keepalive-get": 200, "keepalive-post": 200, "newconn-get": 100}, streams); diff != "" {
		t.Errorf("hits by stream (-want +got):\n%s", diff)
	}
}

// A failing hit is a sample like any other, and it does not end the load.
// A kept stream goes over as many connections as it says, in turn: a balancer of connections
// spreads it then. (Seen once: 40 % of a load on one connection, and so on one pod of three.)
func TestKeptConnectionsTakeTurns(t *testing.T) {
	var mu sync.Mutex
	turns := make(map[string][]int) // by stream: the connections of its requests, numbered
	numbers := make(map[string]int)
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if _, known := numbers[r.RemoteAddr]; !known {
			numbers[r.RemoteAddr] = len(numbers)
		}
		turns[r.Method] = append(turns[r.Method], numbers[r.RemoteAddr])
		mu.Unlock()
		echo(w, r)
	})
	streams := threeStreams()[:2]
	streams[0].Connections, streams[1].Connections = 7, 0
	_, samples := run(t, Plan{URL: server.URL, Rate: 200, Hits: 140, Timeout: ample, Streams: streams})
	for _, s := range samples {
		if s.Class != record.OK || s.Attempts != 1 {
			t.Fatalf("hit %d: %s after %d attempts", s.Seq, s.Class, s.Attempts)
		}
	}
	uses := make(map[int]int)
	for _, n := range turns["GET"] {
		uses[n]++
	}
	// A busy machine has two requests in flight at times, which share no connection.
	if len(uses) < 7 {
		t.Errorf("70 requests used %d connections, want 7 in turn: %v", len(uses), turns["GET"])
	}
	for n, count := range uses {
		if count > 10 {
			t.Errorf("connection %d was used %d times, want 10 at most: %v", n, count, turns["GET"])
		}
	}
}

func TestRunAgainstNobody(t *testing.T) {
	summary, samples := run(t, Plan{URL: "http://" + refusing(t), Rate: 2000, Hits: 200, Timeout: ample, Streams: threeStreams()})
	if summary.Fired != 200 || len(samples) != 200 {
		t.Errorf("fired %d, %d samples; want 200 of both", summary.Fired, len(samples))
	}
	for _, s := range samples {
		if s.Class != record.Refused || s.Status != 0 || s.Attempts != 0 {
			t.Fatalf("got %+v, want refused, no status, no connection", s)
		}
	}
}

func TestRunDenials(t *testing.T) {
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/revoked":
			w.Header().Set("Rollout-Lab-Reason", "session revoked")
			w.WriteHeader(http.StatusForbidden)
		default: // "/leak" must be denied, and is not
			io.WriteString(w, "served")
		}
	})
	streams := []Stream{
		{Name: "a", Weight: 1, Reuse: true, Requests: []Request{{Path: "/", WantBody: "served"}}, Denials: []Request{{Path: "/revoked"}}},
		{Name: "b", Weight: 1, Reuse: true, Requests: []Request{{Path: "/", WantBody: "served"}}, Denials: []Request{{Path: "/leak", AnyBody: true}}},
	}
	_, samples := run(t, Plan{URL: server.URL, Rate: 2000, Hits: 400, Timeout: ample, Deny: 0.1, Streams: streams})
	type key struct {
		stream string
		expect record.Expectation
		class  record.Class
		reason string
		breach bool
	}
	got := make(map[key]int)
	for _, s := range samples {
		got[key{s.Stream, s.Expect, s.Class, s.Reason, s.Breach()}]++
	}
	want := map[key]int{
		{"a", record.Serve, record.OK, "", false}:               180,
		{"b", record.Serve, record.OK, "", false}:               180,
		{"a", record.Deny, record.OK, "session revoked", false}: 20,
		{"b", record.Deny, "http_200", "", true}:                20,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// The schedule stops with ctx; what was fired is followed to its end.
func TestRunInterrupted(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 100)
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		echo(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var interrupted sync.WaitGroup
	interrupted.Go(func() {
		<-arrived
		<-arrived
		cancel()
		close(release)
	})
	var samples []record.Sample
	summary, err := Run(ctx, Plan{URL: server.URL, Base: time.Now(), Rate: 50, Hits: 1_000_000, Timeout: ample, Streams: threeStreams()},
		func(s record.Sample) { samples = append(samples, s) })
	interrupted.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if summary.Fired < 2 || summary.Fired > 1000 || uint64(len(samples)) != summary.Fired {
		t.Errorf("fired %d, %d samples; want at least 2, far from a million, and as many samples", summary.Fired, len(samples))
	}
	for _, s := range samples {
		if s.Class != record.OK {
			t.Errorf("hit %d: class %s, want ok: it was fired before the end", s.Seq, s.Class)
		}
	}
}

func TestRunNeverStarts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	plan := Plan{URL: "http://" + refusing(t), Base: time.Now(), Start: time.Hour, Rate: 10, Hits: 10, Timeout: time.Second, Streams: threeStreams()}
	summary, err := Run(ctx, plan, func(s record.Sample) { t.Errorf("got the sample %+v", s) })
	if err != nil || summary.Fired != 0 {
		t.Errorf("got %d hits and error %v, want none", summary.Fired, err)
	}
}

// A load that is asked for long after its start would fire hits that are overdue.
func TestRunTooLate(t *testing.T) {
	plan := Plan{URL: "http://" + refusing(t), Base: time.Now().Add(-time.Minute), Rate: 10, Hits: 10, Timeout: time.Second, Streams: threeStreams()}
	_, err := Run(t.Context(), plan, func(s record.Sample) { t.Errorf("got the sample %+v", s) })
	if err == nil {
		t.Error("got no error for a load that should have started a minute ago")
	}
}

// Hits that are fired so late that their deadline has passed say nothing about the
// target. They are never sent.
func TestOverdueHitsAreTheHarness(t *testing.T) {
	var requests atomic.Int64
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) { requests.Add(1); echo(w, r) })
	plan := Plan{URL: server.URL, Base: time.Now().Add(-time.Hour), Rate: 10, Hits: 3, Timeout: time.Second, Streams: threeStreams()}
	g, err := newClient(t.Context(), &plan, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	var got []record.Sample
	g.out = newMailbox(func(s record.Sample) { got = append(got, s) })
	for k := range uint64(3) {
		g.send(k)
	}
	g.out.close()
	for _, s := range got {
		if s.Class != record.Harness || s.Attempts != 0 {
			t.Errorf("hit %d: class %s after %d attempts, want harness after none", s.Seq, s.Class, s.Attempts)
		}
	}
	if len(got) != 3 || requests.Load() != 0 {
		t.Errorf("%d samples, %d requests at the server; want 3 and none", len(got), requests.Load())
	}
}

// A hit that was sent late and missed its deadline may owe that to the harness; one that was
// sent in time owes it to the target. Seen once: 180 ms in which the lab was stopped cost the
// target 148 of 20,000 requests under a timeout of 200 ms.
func TestALateHitThatRunsOutOfTimeIsTheHarness(t *testing.T) {
	const timeout = 400 * time.Millisecond
	server := rawServer(t, answering("", stall))
	for _, tt := range []struct {
		name string
		lag  time.Duration
		want record.Class
	}{
		{"in time", 0, record.Timeout},
		{"late", mostLag(timeout) + time.Millisecond, record.Harness},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := Plan{URL: "http://" + server, Base: time.Now().Add(-time.Second - tt.lag), Rate: 1, Hits: 1, Timeout: timeout, Streams: threeStreams()}
			c, err := newClient(t.Context(), &plan, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			var got record.Sample
			c.out = newMailbox(func(s record.Sample) { got = s })
			c.send(0)
			c.out.close()
			want := tt.want
			if got.Sent-got.Intended > mostLag(timeout) {
				want = record.Harness // the machine is busy
			}
			if got.Class != want {
				t.Errorf("sent %v late: class %s, want %s", got.Sent-got.Intended, got.Class, want)
			}
		})
	}
}

func TestMostLag(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{2 * time.Second: 50 * time.Millisecond, 200 * time.Millisecond: 50 * time.Millisecond, 60 * time.Millisecond: 15 * time.Millisecond} {
		if got := mostLag(timeout); got != want {
			t.Errorf("timeout %v: %v, want %v", timeout, got, want)
		}
	}
}

// mortal serves some requests per connection and drops the connection under the next
// one without an answer. It counts the requests that reached it.
func mortal(requests *atomic.Int64, lives int) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		for range lives {
			if !readRequest(in) {
				return
			}
			requests.Add(1)
			if _, err := io.WriteString(conn, okHead+"Content-Length: 5\r\n\r\nhello"); err != nil {
				return
			}
		}
		if readRequest(in) {
			requests.Add(1)
		}
	}
}

// The server drops every second request of a kept connection. Each drop must show. (A busy
// machine opens so many connections that few are used more often.)
func TestNoSilentRetry(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			var requests atomic.Int64
			addr := rawServer(t, mortal(&requests, 1))
			request := Request{Method: method, Path: "/", AnyBody: true}
			summary, samples := run(t, Plan{URL: "http://" + addr, Rate: 2000, Hits: 300, Timeout: ample,
				Streams: []Stream{{Name: "s", Weight: 1, Reuse: true, Requests: []Request{request}}}})
			lost := 0
			for _, s := range samples {
				if s.Class != record.OK {
					lost++
				}
				if s.Class != record.OK && s.Class != record.EOF || s.Attempts != 1 {
					t.Errorf("hit %d: class %s, %d attempts; want ok or eof, and one", s.Seq, s.Class, s.Attempts)
				}
			}
			if lost == 0 {
				t.Error("no hit was lost, so nothing was tested")
			}
			if got := requests.Load(); got != 300 {
				t.Errorf("%d requests reached the server, want 300: one for each hit", got)
			}
			if summary.Retried != 0 {
				t.Errorf("%d hits were retried, want none", summary.Retried)
			}
		})
	}
}

// What Go's transport does by default with the same server: it sends the request again,
// and nobody is told. This is why requests are made as they are.
func TestGoRetriesSilently(t *testing.T) {
	var requests atomic.Int64
	addr := rawServer(t, mortal(&requests, 9))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for range 100 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("a request failed after all: %v", err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	// The tenth request of a connection is sent again, as the first of the next one.
	if got := requests.Load(); got != 111 {
		t.Errorf("100 successes took %d requests, want 111: 11 were dropped", got)
	}
}

// replaying undoes what keeps the transport from sending requests again.
type replaying struct{ next http.RoundTripper }

func (r replaying) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Body, req.ContentLength, req.TransferEncoding = nil, 0, nil
	return r.next.RoundTrip(req)
}

// Should the transport ever find another way to send a request again, it is stopped,
// the request is lost, and it is counted.
func TestRetryIsStoppedAndCounted(t *testing.T) {
	var requests atomic.Int64
	addr := rawServer(t, mortal(&requests, 1))
	transport := plain(true, 1, ample)
	defer transport.CloseIdleConnections()
	request := Request{Path: "/", WantBody: "hello"}
	plan := Plan{URL: "http://" + addr, Base: time.Now(), Rate: 1, Hits: 1, Timeout: ample,
		Streams: []Stream{{Name: "s", Weight: 1, Reuse: true, Requests: []Request{request}}}}
	g, err := newClient(t.Context(), &plan, 1)
	if err != nil {
		t.Fatal(err)
	}
	c := g.streams[0].requests[0]
	want := []struct {
		class    record.Class
		attempts int
		reason   string
	}{{record.OK, 1, ""}, {record.EOF, 2, "the transport wanted to send it again"}}
	for i, w := range want {
		f := exchanged(t, replaying{transport}, c, &g.names, time.Now().Add(ample))
		if f.Class != w.class || f.Attempts != w.attempts || f.Reason != w.reason {
			t.Errorf("request %d: %s (%s) after %d attempts, want %s (%s) after %d", i, f.Class, f.Reason, f.Attempts, w.class, w.reason, w.attempts)
		}
	}
	if got := requests.Load(); got != 2 {
		t.Errorf("%d requests reached the server, want 2: the retry must not", got)
	}
}

func TestAudit(t *testing.T) {
	tests := []struct {
		name              string
		hits              uint64
		seqs              []uint64
		released, results uint64
		complete, ok      bool
	}{
		{"in order", 3, []uint64{0, 1, 2}, 3, 3, true, true},
		{"out of order", 4, []uint64{3, 1, 0, 2}, 4, 4, true, true},
		{"stopped", 4, []uint64{1, 0}, 2, 2, false, true},
		{"stopped before the first", 4, nil, 0, 0, false, true},
		{"cut short", 4, []uint64{1, 0}, 2, 2, true, false},
		{"none", 4, nil, 0, 0, true, false},
		{"last sample lost", 4, []uint64{1, 0}, 3, 3, false, false},
		{"result lost", 4, []uint64{0, 1, 2, 3}, 4, 3, true, false},
		{"result too many", 4, []uint64{0, 1, 2, 3}, 4, 5, true, false},
		{"let go too many", 4, []uint64{0, 1, 2, 3}, 5, 4, true, false},
		{"gap", 4, []uint64{0, 1, 3}, 3, 3, false, false},
		{"first one missing", 4, []uint64{1, 2, 3}, 3, 3, false, false},
		{"twice at once", 4, []uint64{2, 2, 0, 1}, 4, 4, true, false},
		{"twice later", 4, []uint64{0, 1, 2, 0}, 4, 4, true, false},
		{"out of range", 2, []uint64{0, 2}, 2, 2, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAudit(tt.hits)
			for _, seq := range tt.seqs {
				a.see(&record.Sample{Seq: seq, Attempts: 1})
			}
			if err := a.check(tt.released, tt.results, tt.complete); (err == nil) != tt.ok {
				t.Errorf("got error %v, want ok %v", err, tt.ok)
			}
		})
	}
}

// A load that is ended at a moment to come has fired every hit that was due before it, and none
// that was not.
func TestALoadEndsWhereItIsToldTo(t *testing.T) {
	for _, rate := range []float64{1, 200, 2 * precisePacing} {
		server := httpServer(t, echo)
		end := &End{}
		plan := Plan{URL: server.URL, Base: time.Now(), Rate: rate, Hits: 1_000_000, Timeout: time.Second, Streams: threeStreams(), End: end}
		at := time.Since(plan.Base) + 300*time.Millisecond
		if rate == 1 {
			at = 1500 * time.Millisecond
		}
		end.At(at)
		var samples []record.Sample
		summary, err := Run(t.Context(), plan, func(s record.Sample) { samples = append(samples, s) })
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(math.Ceil(at.Seconds()*rate) - 1)
		if summary.Fired != want || uint64(len(samples)) != want {
			t.Errorf("%v a second until %v: fired %d, %d samples; want %d", rate, at, summary.Fired, len(samples), want)
		}
		for _, s := range samples {
			if s.Intended >= at {
				t.Errorf("a hit was due at %v, behind the end at %v", s.Intended, at)
			}
		}
	}
}
