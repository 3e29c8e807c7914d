package load

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func streamOf(name string, weight int, reuse bool, requests ...Request) Stream {
	return Stream{Name: name, Weight: weight, Reuse: reuse, Requests: requests}
}

// sampleReference runs a reference client, fast, and returns its samples by number: about n.
func sampleReference(t *testing.T, n int, plan ReferencePlan) []record.Sample {
	t.Helper()
	plan.Base, plan.Rate, plan.Length = time.Now(), 500, time.Duration(n)*2*time.Millisecond
	want := 0
	for range plan.due() {
		want++
	}
	if want < n/2 || want > 2*n {
		t.Fatalf("%d requests are planned, want about %d", want, n)
	}
	got := make([]record.Sample, want)
	count := 0
	err := RunReference(t.Context(), plan, func(s record.Sample) {
		count++
		got[s.Seq] = s
	})
	if err != nil {
		t.Fatal(err)
	}
	if count != want {
		t.Fatalf("got %d samples, want %d", count, want)
	}
	return got
}

func TestReference(t *testing.T) {
	var requests, closing, chunked atomic.Int64
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Close {
			closing.Add(1)
		}
		if len(r.TransferEncoding) > 0 {
			chunked.Add(1)
		}
		switch r.URL.Path {
		case "/forbidden":
			w.Header().Set("Rollout-Lab-Reason", "policy")
			w.WriteHeader(http.StatusForbidden)
		default:
			if r.Header.Get("Token") != "t" || r.Host != "name" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			echo(w, r)
		}
	})
	header := map[string]string{"Token": "t", "Host": "name"}
	streams := []Stream{
		streamOf("get", 2, true, Request{Path: "/", Header: header, WantBody: "GET 0"}),
		streamOf("post", 2, true, Request{Method: "POST", Path: "/a b", Header: header, Body: []byte("four"), WantBody: "POST 4"}),
		streamOf("new", 1, false, Request{Path: "/", Header: header, WantBody: "GET 0"}),
	}
	for i := range streams {
		streams[i].Denials = []Request{{Path: "/forbidden"}}
	}
	got := sampleReference(t, 100, ReferencePlan{URL: server.URL, Timeout: ample, Deny: 0.2, Streams: streams})
	streamed, denied := map[string]int{}, 0
	for _, s := range got {
		streamed[s.Stream]++
		want := record.Sample{Seq: s.Seq, Stream: s.Stream, Expect: record.Serve, Attempts: 1,
			Intended: s.Intended, Sent: s.Sent, Done: s.Done,
			Class: record.OK, Status: 200, Bytes: 5, Instance: "i-1", Revision: "v1"}
		switch {
		case s.Expect == record.Deny:
			denied++
			want.Expect, want.Status, want.Bytes, want.Instance, want.Revision, want.Reason = record.Deny, 403, 0, "", "", "policy"
		case s.Stream == "post":
			want.Bytes = 6
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("hit %d (-want +got):\n%s", s.Seq, diff)
		}
		if s.Sent < s.Intended || s.Done < s.Sent {
			t.Errorf("hit %d: intended %v, sent %v, done %v are out of order", s.Seq, s.Intended, s.Sent, s.Done)
		}
	}
	n := len(got)
	near := func(got, want int) bool { return got >= want-2 && got <= want+2 }
	if !near(streamed["get"], n*2/5) || !near(streamed["post"], n*2/5) || !near(streamed["new"], n/5) || !near(denied, n/5) {
		t.Errorf("streams %v of %d with %d to be denied, want 2:2:1 and a fifth", streamed, n, denied)
	}
	if int(requests.Load()) != n || int(closing.Load()) != streamed["new"] || chunked.Load() != 0 {
		t.Errorf("server got %d requests, %d to close behind, %d in chunks; want %d, %d, 0", requests.Load(), closing.Load(), chunked.Load(), n, streamed["new"])
	}
}

// Behind a balancer that takes turns the load and the reference client together must not
// lead to one and the same instance again and again, whatever the load's rate is.
func TestReferenceKeepsNoStepWithARoundRobin(t *testing.T) {
	w := ReferencePlan{Rate: 25, Length: 20 * time.Second}
	for _, load := range []float64{50, 125, 200, 500, 1000, 2000, 5000} {
		for _, instances := range []int{2, 3, 5} {
			counts := make([]int, instances)
			all := 0
			for k, at := range w.due() {
				// The load has sent this many before, and the reference client k.
				turn := uint64(at.Seconds()*load) + k
				counts[turn%uint64(instances)]++
				all++
			}
			want := float64(all) / float64(instances)
			for i, n := range counts {
				if float64(n) < want*0.75 || float64(n) > want*1.25 {
					t.Errorf("%v requests a second, %d instances: instance %d got %d of the reference client's requests, want about %.0f", load, instances, i, n, want)
				}
			}
		}
	}
}

// A balancer of connections spreads the requests only when there are several.
func TestReferenceTakesTurnsOnItsConnections(t *testing.T) {
	var mu sync.Mutex
	used := map[string]int{}
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		used[r.RemoteAddr]++
		mu.Unlock()
		echo(w, r)
	})
	got := sampleReference(t, 200, ReferencePlan{URL: server.URL, Timeout: ample, Connections: 40, // more than are ever in flight at once
		Streams: []Stream{streamOf("get", 1, true, Request{Path: "/", WantBody: "GET 0"})}})
	mu.Lock()
	defer mu.Unlock()
	if len(used) < 40 {
		t.Errorf("%d connections, want 40", len(used))
	}
	for addr, n := range used {
		if n > len(got)*2/5 {
			t.Errorf("%d of %d requests went over one connection, %s", n, len(got), addr)
		}
	}
}

// The reference client must see the failures too, or it agrees with anything.
func TestReferenceSeesFailures(t *testing.T) {
	get := Request{Path: "/", WantBody: "hello"}
	streams := []Stream{streamOf("kept", 1, true, get), streamOf("new", 1, false, get)}
	tests := []struct {
		name    string
		serve   func(net.Conn, *bufio.Reader)
		timeout time.Duration
		want    record.Class
	}{
		{"served", answering(okHead+"Content-Length: 5\r\n\r\nhello", hangUp), ample, record.OK},
		{"served after early hints", answering("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+okHead+"Content-Length: 5\r\n\r\nhello", hangUp), ample, record.OK},
		{"another protocol", answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", stall), soon, "http_101"},
		{"early hints only", answering("HTTP/1.1 103 Early Hints\r\n\r\n", stall), soon, record.Other},
		{"another body", answering(okHead+"Content-Length: 5\r\n\r\nhellO", hangUp), ample, record.WrongBody},
		{"status", answering("HTTP/1.1 503 Away\r\nContent-Length: 5\r\n\r\nhello", hangUp), ample, "http_503"},
		{"redirect", answering("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 5\r\n\r\nhello", hangUp), ample, "http_302"},
		{"cut short", answering(okHead+"Content-Length: 5\r\n\r\nhell", hangUp), ample, record.Other},
		{"chunks cut short", answering(okHead+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", hangUp), ample, record.Other},
		{"closed", answering("", hangUp), ample, record.Other},
		{"reset", answering("", reset), ample, record.Other},
		{"nothing in time", answering("", stall), soon, record.Other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			told := 0
			for _, s := range sampleReference(t, 4, ReferencePlan{URL: "http://" + rawServer(t, tt.serve), Timeout: tt.timeout, Streams: streams}) {
				if s.Class == record.Harness && s.Sent-s.Intended > mostLag(tt.timeout) {
					continue // the machine was late with it: nothing can be said of the target
				}
				told++
				if s.Class != tt.want {
					t.Errorf("hit %d on %s: class %s (%s), want %s", s.Seq, s.Stream, s.Class, s.Reason, tt.want)
				}
			}
			if told == 0 {
				t.Skip("the machine was late with every request")
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		for _, s := range sampleReference(t, 4, ReferencePlan{URL: "http://" + refusing(t), Timeout: ample, Streams: streams}) {
			if s.Class != record.Other || s.Reason != "dial: connect: connection refused" {
				t.Errorf("hit %d: %s (%s), want other, refused", s.Seq, s.Class, s.Reason)
			}
		}
	})
}

// The server drops the fourth request of a kept connection: that is a failure. It also
// closes some while they are idle: that is none, the client must notice.
func TestReferenceDoesNotRetry(t *testing.T) {
	var requests atomic.Int64
	addr := rawServer(t, mortal(&requests, 3))
	v := newReference(addr)
	defer v.closeKept()
	var got []record.Class
	for k := range uint64(8) {
		got = append(got, v.send(k, time.Now()).Class)
	}
	want := []record.Class{record.OK, record.OK, record.OK, record.Other, record.OK, record.OK, record.OK, record.Other}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	if requests.Load() != 8 {
		t.Errorf("%d requests reached the server, want 8", requests.Load())
	}
}

// newReference is a client that keeps one connection.
func newReference(addr string) *reference {
	w := &ReferencePlan{Base: time.Now(), Rate: 1, Timeout: ample, Connections: 1,
		Streams: []Stream{streamOf("kept", 1, true, Request{Path: "/", WantBody: "hello"})}}
	return &reference{plan: w, schedule: newSchedule(w.plan()), host: addr, addr: addr}
}

// Bodies of any length are read, and told from each other.
func TestReferenceReadsLongBodies(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, long)
	})
	for _, tc := range []struct {
		request Request
		want    record.Class
	}{
		{Request{Path: "/", WantBody: long}, record.OK},
		{Request{Path: "/", AnyBody: true}, record.OK},
		{Request{Path: "/", WantBody: long[1:]}, record.WrongBody},
		{Request{Path: "/", WantBody: long + "x"}, record.WrongBody},
	} {
		for _, s := range sampleReference(t, 2, ReferencePlan{URL: server.URL, Timeout: ample, Streams: []Stream{streamOf("get", 1, true, tc.request)}}) {
			if s.Class != tc.want || s.Bytes != int64(len(long)) {
				t.Errorf("got %s of %d bytes, want %s", s.Class, s.Bytes, tc.want)
			}
		}
	}
}

// What the client's own machine lacks is not the target's failure.
func TestReferenceTellsTroubleOfItsOwn(t *testing.T) {
	s := record.Sample{Class: referenceClass(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", harnessErrors[0])})}
	if s.Class != record.Harness {
		t.Errorf("class %s, want %s", s.Class, record.Harness)
	}
	if got := referenceClass(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", refusedErrors[0])}); got != record.Other {
		t.Errorf("class %s, want %s", got, record.Other)
	}
}

// Nor is it what the lab's own balancer could not even try, and a request that this client
// sent too late to be answered in time.
func TestReferenceTellsTroubleOfTheHarness(t *testing.T) {
	harness := answering("HTTP/1.1 502 Bad Gateway\r\nRollout-Lab-Reason: harness: no ports\r\nContent-Length: 0\r\n\r\n", hangUp)
	for _, tt := range []struct {
		name  string
		serve func(net.Conn, *bufio.Reader)
		labs  bool
		ago   time.Duration // that the request was due
		want  record.Class
	}{
		{"the balancer's word", harness, true, 0, record.Harness},
		{"that word from somebody else", harness, false, 0, "http_502"},
		{"sent late", answering("", stall), false, mostLag(soon) + time.Millisecond, record.Harness},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := rawServer(t, tt.serve)
			plan := ReferencePlan{URL: "http://" + addr, Base: time.Now(), Rate: 1, Timeout: soon, Streams: threeStreams(), LabBalancer: tt.labs}
			v := &reference{plan: &plan, schedule: newSchedule(plan.plan()), host: addr, addr: addr}
			if got := v.send(0, time.Now().Add(-tt.ago)); got.Class != tt.want {
				t.Errorf("class %s, want %s", got.Class, tt.want)
			}
		})
	}
}

// What the deadline of the connection does not see (an answer that was read in time and
// looked at too late) the clock does.
func TestReferenceJudges(t *testing.T) {
	v := &reference{plan: &ReferencePlan{Timeout: time.Second}}
	in := record.Sample{Expect: record.Serve, Status: 200, Intended: 5 * time.Second, Sent: 5 * time.Second, Done: 5500 * time.Millisecond}
	with := func(change func(*record.Sample)) record.Sample { s := in; change(&s); return s }
	for _, tt := range []struct {
		name string
		s    record.Sample
		body bool
		err  error
		want record.Class
	}{
		{"served", in, true, nil, record.OK},
		{"at the deadline", with(func(s *record.Sample) { s.Done = 6 * time.Second }), true, nil, record.OK},
		{"whole but late", with(func(s *record.Sample) { s.Done = 6*time.Second + 1 }), true, nil, record.Timeout},
		{"late and unavailable", with(func(s *record.Sample) { s.Done, s.Status = 7*time.Second, 503 }), true, nil, record.Timeout},
		{"sent late and late", with(func(s *record.Sample) { s.Sent, s.Done = 5100*time.Millisecond, 7*time.Second }), true, nil, record.Harness},
		{"sent late, in time", with(func(s *record.Sample) { s.Sent = 5100 * time.Millisecond }), true, nil, record.OK},
		{"another body", in, false, nil, record.WrongBody},
		{"unavailable", with(func(s *record.Sample) { s.Status = 503 }), true, nil, "http_503"},
		{"no whole answer", in, false, io.ErrUnexpectedEOF, record.Other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := v.judged(&Request{}, &tt.s, &response{header: true, body: tt.body}, tt.err); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestReferenceDropsDeadIdleConnections(t *testing.T) {
	closed := make(chan struct{}, 1)
	addr := rawServer(t, func(conn net.Conn, in *bufio.Reader) {
		if readRequest(in) {
			io.WriteString(conn, okHead+"Content-Length: 5\r\n\r\nhello")
		}
		conn.Close() // although it did not say that it would
		closed <- struct{}{}
	})
	v := newReference(addr)
	defer v.closeKept()
	for i := range 3 {
		if _, err := v.roundTrip(&Request{Path: "/", WantBody: "hello"}, false, time.Now().Add(ample)); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		<-closed
		v.mu.Lock()
		kept := v.kept[len(v.kept)-1].(*keptConn)
		v.mu.Unlock()
		kept.idle <- <-kept.idle // its end has arrived here
	}
}

func TestReferenceInterrupted(t *testing.T) {
	server := httpServer(t, echo)
	ctx, cancel := context.WithCancel(t.Context())
	count := 0
	err := RunReference(ctx, ReferencePlan{URL: server.URL, Base: time.Now(), Rate: 100, Length: time.Hour, Timeout: ample,
		Streams: []Stream{streamOf("get", 1, true, Request{Path: "/", WantBody: "GET 0"})}}, func(s record.Sample) {
		count++
		if s.Class != record.OK {
			t.Errorf("hit %d: %s (%s), want ok", s.Seq, s.Class, s.Reason)
		}
		cancel()
	})
	if err != nil || count == 0 || count > 1000 {
		t.Errorf("%d samples, error %v; want a few and no error", count, err)
	}
}

func TestReferencePlan(t *testing.T) {
	good := ReferencePlan{URL: "http://127.0.0.1:80", Base: time.Now(), Rate: 1, Timeout: time.Second, Streams: []Stream{streamOf("get", 1, true, Request{Path: "/"})}}
	if err := RunReference(t.Context(), good, nil); err != nil {
		t.Fatalf("a good plan of no length: %v", err)
	}
	for name, spoil := range map[string]func(*ReferencePlan){
		"url":     func(p *ReferencePlan) { p.URL = "https://x" },
		"base":    func(p *ReferencePlan) { p.Base = time.Time{} },
		"deny":    func(p *ReferencePlan) { p.Deny = 1.5 },
		"rate":    func(p *ReferencePlan) { p.Rate = 0 },
		"timeout": func(p *ReferencePlan) { p.Timeout = 0 },
		"streams": func(p *ReferencePlan) { p.Streams = nil },
		"path":    func(p *ReferencePlan) { p.Streams = []Stream{streamOf("get", 1, true, Request{})} },
	} {
		p := good
		spoil(&p)
		if err := RunReference(t.Context(), p, nil); err == nil {
			t.Errorf("bad %s: got no error", name)
		}
	}
}

// A server that says that it will close need not have done so yet.
func TestReferenceLeavesWhatWillClose(t *testing.T) {
	addr := rawServer(t, func(conn net.Conn, in *bufio.Reader) {
		if readRequest(in) {
			io.WriteString(conn, okHead+"Connection: close\r\nContent-Length: 5\r\n\r\nhello")
		}
		readRequest(in)
	})
	v := newReference(addr)
	defer v.closeKept()
	for i := range 3 {
		if _, err := v.roundTrip(&Request{Path: "/", WantBody: "hello"}, false, time.Now().Add(ample)); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}
