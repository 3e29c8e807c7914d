package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

// raw is a connection that is written to by hand.
func raw(t *testing.T, addr net.Addr, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// closes waits until the other side closes a connection.
func closes(t *testing.T, what string, conn net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%s: the connection is kept", what)
	}
}

func TestConnectionsThatBringNothingAreClosed(t *testing.T) {
	k := start(t, func(s *setup) {
		s.options.limits = limits{header: 50 * time.Millisecond, idle: 50 * time.Millisecond}
	})
	k.synced()
	whole := "GET /app/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token(t, credential.SessionID(1), time.Hour) + "\r\n"
	for _, addr := range []net.Addr{k.proxy.Addr(), k.proxy.HealthAddr()} {
		closes(t, "silent", raw(t, addr, ""))
		closes(t, "half a header", raw(t, addr, whole))
		closes(t, "idle", raw(t, addr, whole+"\r\n"))
		closes(t, "half a second header", raw(t, addr, whole+"\r\n"+whole))
	}
}

func TestRequestThatTakesTooLongIsCut(t *testing.T) {
	h := newHold()
	k := start(t, func(s *setup) {
		s.upstream, s.options.limits = h, limits{exchange: 200 * time.Millisecond}
	})
	k.synced()
	head := "HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token(t, credential.SessionID(1), time.Hour) + "\r\n"
	closes(t, "body that does not come", raw(t, k.proxy.Addr(), "POST /app/x "+head+"Content-Length: 5\r\n\r\nhalf"))
	closes(t, "chunk that does not come", raw(t, k.proxy.Addr(), "POST /app/x "+head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf"))
	closes(t, "upstream that does not answer", raw(t, k.proxy.Addr(), "GET /app/hold "+head+"\r\n"))
	k.get("/app/x", 1).expect(t, "another request", 200, "")
}

func TestSizesAreBounded(t *testing.T) {
	const most = 1000
	k := start(t, func(s *setup) { s.options.limits = limits{body: most, headerBytes: 1 << 10} })
	k.synced()
	authorization := "Bearer " + token(t, credential.SessionID(1), time.Hour)
	fits, large := strings.Repeat("x", most), strings.Repeat("x", most+1)
	if got := k.ask("POST", "/app/x", authorization, fits); got.status != 200 || got.body != upstream.Answer("POST", "/app/x", []byte(fits)) {
		t.Errorf("a body that fits: %d %q %v", got.status, got.body, got.err)
	}
	k.ask("POST", "/app/x", authorization, large).expect(t, "a body that does not fit", 413, "proxy: body")
	k.ask("POST", "/app/x", "", large).expect(t, "nobody's", 401, "no bearer token")

	conn := raw(t, k.proxy.Addr(), fmt.Sprintf("POST /app/x HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", authorization, len(large), large))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("a body whose length is not said beforehand: %s, want 413", resp.Status)
	}
	// net/http adds 4 KiB to what it is told.
	conn = raw(t, k.proxy.Addr(), "GET /app/x HTTP/1.1\r\nHost: a\r\nFill: "+strings.Repeat("x", 6<<10)+"\r\n\r\n")
	if resp, err = http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: %s, want 431", resp.Status)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	k := start(t, func(s *setup) { s.options.limits = limits{connections: 2} })
	k.synced()
	// The health port counts its own, so that a crowd does not look like a dead process.
	kept := []net.Conn{raw(t, k.proxy.Addr(), ""), raw(t, k.proxy.Addr(), "")}
	closes(t, "one too many", raw(t, k.proxy.Addr(), ""))
	if got := k.probe("/livez").status; got != 200 {
		t.Errorf("/livez answers %d, want 200", got)
	}
	if err := kept[0].Close(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; { // until the proxy has seen that
		got := k.get("/app/x", 1)
		if got.err == nil {
			got.expect(t, "a connection in its place", 200, "")
			break
		}
		if time.Since(begun) > patience {
			t.Fatalf("no connection in the place of one that is closed: %v", got.err)
		}
	}
}

// TestClientsGiveUpUnusedConnectionsFirst: those that keep them for as long as programs in Go do by
// default would now and then send a request into the close.
func TestClientsGiveUpUnusedConnectionsFirst(t *testing.T) {
	l := limits{}.withDefaults()
	if kept := http.DefaultTransport.(*http.Transport).IdleConnTimeout; l.header <= kept || l.idle <= kept {
		t.Errorf("connections end after %v unused and %v idle, want both above %v", l.header, l.idle, kept)
	}
}
