package load

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// testify runs a reference client of n hits, fast, and returns its samples by number.
func testify(t *testing.T, url string, n uint64, timeout time.Duration, requests ...Request) []record.Sample {
	t.Helper()
	got := make([]record.Sample, n)
	count := uint64(0)
	plan := ReferencePlan{URL: url, Base: time.Now(), Rate: 500, Hits: n, Timeout: timeout, Fresh: 0.5, Requests: requests}
	err := RunReference(t.Context(), plan, func(s record.Sample) {
		count++
		got[s.Seq] = s
	})
	if err != nil {
		t.Fatal(err)
	}
	if count != n {
		t.Fatalf("got %d samples, want %d", count, n)
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
	got := testify(t, server.URL, 60, ample,
		Request{Path: "/", Header: header, WantBody: "GET 0"},
		Request{Method: "POST", Path: "/a b", Header: header, Body: []byte("four"), WantBody: "POST 4"},
		Request{Path: "/forbidden", Expect: record.Deny},
	)
	for _, s := range got {
		want := record.Sample{Seq: s.Seq, Stream: ReferenceFresh, Expect: record.Serve, Attempts: 1,
			Intended: time.Duration(s.Seq+1) * 2 * time.Millisecond, Sent: s.Sent, Done: s.Done,
			Class: record.OK, Status: 200, Bytes: 5, Instance: "i-1", Revision: "v1"}
		if s.Seq%2 == 1 {
			want.Stream = ReferenceReuse
		}
		switch s.Seq / 2 % 3 {
		case 1:
			want.Bytes = 6
		case 2:
			want.Expect, want.Status, want.Bytes, want.Instance, want.Revision, want.Reason = record.Deny, 403, 0, "", "", "policy"
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("hit %d (-want +got):\n%s", s.Seq, diff)
		}
		if s.Sent < s.Intended || s.Done < s.Sent {
			t.Errorf("hit %d: intended %v, sent %v, done %v are out of order", s.Seq, s.Intended, s.Sent, s.Done)
		}
	}
	if requests.Load() != 60 || closing.Load() != 30 || chunked.Load() != 0 {
		t.Errorf("server got %d requests, %d to close behind, %d in chunks; want 60, 30, 0", requests.Load(), closing.Load(), chunked.Load())
	}
}

// The reference client must see the failures too, or it agrees with anything.
func TestReferenceSeesFailures(t *testing.T) {
	get := Request{Path: "/", WantBody: "hello"}
	tests := []struct {
		name    string
		serve   func(net.Conn, *bufio.Reader)
		timeout time.Duration
		want    record.Class
	}{
		{"served", answering(okHead+"Content-Length: 5\r\n\r\nhello", hangUp), ample, record.OK},
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
			for _, s := range testify(t, "http://"+rawServer(t, tt.serve), 4, tt.timeout, get) {
				if s.Class != tt.want {
					t.Errorf("hit %d on %s: class %s (%s), want %s", s.Seq, s.Stream, s.Class, s.Reason, tt.want)
				}
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		for _, s := range testify(t, "http://"+refusing(t), 4, ample, get) {
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
	v := &reference{plan: &ReferencePlan{Base: time.Now(), Timeout: ample}, host: addr, addr: addr}
	defer v.closeKept()
	r := &Request{Path: "/", WantBody: "hello"}
	var got []bool
	for range 8 {
		_, err := v.converse(r, false, time.Now().Add(ample))
		got = append(got, err == nil)
	}
	want := []bool{true, true, true, false, true, true, true, false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	if requests.Load() != 8 {
		t.Errorf("%d requests reached the server, want 8", requests.Load())
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
	v := &reference{plan: &ReferencePlan{Base: time.Now(), Timeout: ample}, host: addr, addr: addr}
	defer v.closeKept()
	for i := range 3 {
		if _, err := v.converse(&Request{Path: "/", WantBody: "hello"}, false, time.Now().Add(ample)); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		<-closed
		v.mu.Lock()
		kept := v.kept[len(v.kept)-1]
		v.mu.Unlock()
		kept.idle <- <-kept.idle // its end has arrived here
	}
}

func TestReferenceInterrupted(t *testing.T) {
	server := httpServer(t, echo)
	ctx, cancel := context.WithCancel(t.Context())
	count := 0
	err := RunReference(ctx, ReferencePlan{URL: server.URL, Base: time.Now(), Rate: 100, Hits: 1_000_000, Timeout: ample,
		Requests: []Request{{Path: "/", WantBody: "GET 0"}}}, func(s record.Sample) {
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
	good := ReferencePlan{URL: "http://127.0.0.1:80", Base: time.Now(), Rate: 1, Timeout: time.Second, Requests: []Request{{Path: "/"}}}
	if err := RunReference(t.Context(), good, nil); err != nil {
		t.Fatalf("a good plan without hits: %v", err)
	}
	for name, spoil := range map[string]func(*ReferencePlan){
		"url":      func(p *ReferencePlan) { p.URL = "https://x" },
		"base":     func(p *ReferencePlan) { p.Base = time.Time{} },
		"fresh":    func(p *ReferencePlan) { p.Fresh = 1.5 },
		"rate":     func(p *ReferencePlan) { p.Rate = 0 },
		"timeout":  func(p *ReferencePlan) { p.Timeout = 0 },
		"requests": func(p *ReferencePlan) { p.Requests = nil },
		"path":     func(p *ReferencePlan) { p.Requests = []Request{{}} },
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
	v := &reference{plan: &ReferencePlan{Base: time.Now(), Timeout: ample}, host: addr, addr: addr}
	defer v.closeKept()
	for i := range 3 {
		if _, err := v.converse(&Request{Path: "/", WantBody: "hello"}, false, time.Now().Add(ample)); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

func TestReferenceTakesNewConnectionsInProportion(t *testing.T) {
	for _, share := range []float64{0, 0.2, 0.5, 1} {
		w := &ReferencePlan{Fresh: share}
		counts := map[bool]uint64{}
		for k := range uint64(1000) {
			fresh, before := w.turn(k)
			if before != counts[fresh] {
				t.Fatalf("share %v: request %d has %d of its kind before it, want %d", share, k, before, counts[fresh])
			}
			counts[fresh]++
		}
		if want := uint64(1000 * share); counts[true] != want {
			t.Errorf("share %v: %d of 1000 on new connections, want %d", share, counts[true], want)
		}
	}
}
