package checks_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/checks"
)

// patience bounds every wait of these tests; none takes anywhere near as long.
const patience = 20 * time.Second

// resolverTimeout is that of package net for one question.
const resolverTimeout = 5 * time.Second

// look does a check as a registry does.
func look(t *testing.T, check healthkit.CheckFunc) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return check(ctx)
}

// begun does a check until the other side has noticed, and then ends its time.
func begun(t *testing.T, check healthkit.CheckFunc, noticed <-chan struct{}) error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- check(ctx) }()
	select {
	case <-noticed:
	case <-time.After(patience):
		t.Fatal("nobody was asked")
	}
	cancel()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the check goes on after the end of its context")
		return nil
	}
}

// listen returns a listener and a port at which nobody listens any more.
func listen(t *testing.T) (l net.Listener, gone string) {
	t.Helper()
	var addrs [2]net.Listener
	for i := range addrs {
		var err error
		if addrs[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if err := addrs[1].Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = addrs[0].Close() })
	return addrs[0], addrs[1].Addr().String()
}

func TestTCP(t *testing.T) {
	l, gone := listen(t)
	if err := look(t, checks.TCP(l.Addr().String())); err != nil {
		t.Error(err)
	}
	if err := look(t, checks.TCP(gone)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := look(t, checks.TCP("127.0.0.1")); err == nil || !strings.Contains(err.Error(), "missing port") {
		t.Errorf("no port: %v", err)
	}
	// What was opened is closed: the other side reads its end.
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := checks.TCP(l.Addr().String())(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("after its time: %v", err)
	}
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/created":
			w.WriteHeader(http.StatusCreated)
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/half":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half"))
		case "/large":
			for range 1024 {
				if _, err := w.Write(make([]byte, 1024)); err != nil {
					return
				}
			}
		default:
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for _, tt := range []struct {
		path     string
		statuses []int
		says     string // "" is no error
	}{
		{"/ok", nil, ""},
		{"/created", nil, ""},
		{"/created", []int{200}, host + " answers 201 Created"},
		{"/no?key=secret", nil, host + " answers 503 Service Unavailable"},
		{"/no", []int{200, 503}, ""},
		{"/moved", nil, host + " answers 302 Found"},
		{"/moved", []int{302}, ""},
		{"/half", nil, "read the answer: unexpected EOF"},
		{"/large", nil, ""},
	} {
		err := look(t, checks.HTTP(nil, server.URL+tt.path, tt.statuses...))
		if got := fmt.Sprint(err); tt.says == "" && err != nil || tt.says != "" && got != tt.says {
			t.Errorf("%s, want %v: %v, want %q", tt.path, tt.statuses, err, tt.says)
		}
	}
}

// TestHTTPTellsNoSecrets: errors become reasons, which others read.
func TestHTTPTellsNoSecrets(t *testing.T) {
	_, gone := listen(t)
	for _, address := range []string{
		"http://user:hunter2@" + gone + "/?key=hunter2", "http://127.0.0.1:x/?key=hunter2",
	} {
		err := look(t, checks.HTTP(nil, address))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestHTTPKeepsNoConnections(t *testing.T) {
	var open atomic.Int64
	closed := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, now http.ConnState) {
		switch now {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	check := checks.HTTP(nil, server.URL)
	for range 3 {
		if err := look(t, check); err != nil {
			t.Fatal(err)
		}
		select {
		case <-closed:
		case <-time.After(patience):
			t.Fatal("the connection is kept")
		}
	}
	if n := open.Load(); n != 0 {
		t.Errorf("%d connections open", n)
	}
}

func TestHTTPOverATransport(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	if err := look(t, checks.HTTP(server.Client().Transport, server.URL)); err != nil {
		t.Error(err)
	}
	if err := look(t, checks.HTTP(nil, server.URL)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody knows: %v", err)
	}
}

// TestChecksEndWithTheirContext, whatever the other side does not do.
func TestChecksEndWithTheirContext(t *testing.T) {
	noticed := make(chan struct{}, 10)
	l, _ := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() }) // it is never answered
			noticed <- struct{}{}
		}
	}()
	if err := begun(t, checks.HTTP(nil, "http://"+l.Addr().String()), noticed); !errors.Is(err, context.Canceled) {
		t.Errorf("HTTP: %v", err)
	}
	body := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		body <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	if err := begun(t, checks.HTTP(nil, server.URL), body); !errors.Is(err, context.Canceled) {
		t.Errorf("HTTP, body: %v", err)
	}
	asked := make(chan struct{}, 10)
	silent := resolver(t, func([]byte) []byte {
		asked <- struct{}{}
		return nil
	})
	at := time.Now()
	if err := begun(t, checks.DNS(silent, "db.example."), asked); err == nil || time.Since(at) >= resolverTimeout {
		t.Errorf("DNS: %v after %v", err, time.Since(at))
	}
}

// resolver asks a name server that answers as told, nil for not at all.
func resolver(t *testing.T, answer func(query []byte) []byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := answer(buf[:n]); a != nil {
				if _, err := conn.WriteTo(a, from); err != nil {
					return
				}
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// reply answers the question of a query (RFC 1035, 4.1) with 127.0.0.1 when it asks for that kind
// of address, or with a code.
func reply(query []byte, code byte) []byte {
	const header, typeA = 12, 1
	end := header
	for query[end] != 0 { // labels
		end += int(query[end]) + 1
	}
	end += 5 // the last label, type and class
	kind := binary.BigEndian.Uint16(query[end-4:])
	out := append([]byte{query[0], query[1], 0x84, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0}, query[header:end]...)
	if code == 0 && kind == typeA {
		out[7] = 1                                                                      // answers
		out = append(out, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1) // the name asked for, for 0 s
	}
	return out
}

func TestDNS(t *testing.T) {
	const noSuchName = 3
	for name, tt := range map[string]struct {
		code byte
		well bool
	}{"there": {0, true}, "not there": {noSuchName, false}} {
		r := resolver(t, func(query []byte) []byte { return reply(query, tt.code) })
		err := look(t, checks.DNS(r, "db.example."))
		if (err == nil) != tt.well {
			t.Errorf("%s: %v", name, err)
		}
		var e *net.DNSError
		if err != nil && (!errors.As(err, &e) || !e.IsNotFound) {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
	if err := look(t, checks.DNS(nil, "127.0.0.1")); err != nil {
		t.Errorf("an address: %v", err)
	}
}

func ExampleHTTP() {
	registry := healthkit.New(healthkit.Config{})
	_, err := registry.RegisterCheck("search", checks.HTTP(nil, "http://search:9200/_cluster/health"), healthkit.CheckOptions{
		Options: healthkit.Options{OnFailure: healthkit.FailShared},
	})
	if err != nil {
		panic(err)
	}
}
