package drivers

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/certtest"
)

// certificate is a server's for a name, and the PEM of its authority, of itself and of its key.
func certificate(t *testing.T, name string, until time.Time) (pair tls.Certificate, ca, cert, key []byte) {
	t.Helper()
	authority := certtest.New(t)
	c := authority.Issue(certtest.Options{Names: []string{name}, From: time.Now().Add(-48 * time.Hour), Until: until})
	return c.TLS(t), authority.PEM, c.PEM, c.Key
}

// serveWire serves the protocols, over TLS with the configuration or without where it is nil,
// and says what protocol each request came in and how many connections there were.
func serveWire(t *testing.T, config *tls.Config, protocols ...Protocol) (addr string, conns *atomic.Int32) {
	t.Helper()
	conns = new(atomic.Int32)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Proto)
			if r.TLS != nil {
				fmt.Fprintf(w, " %s %d", r.TLS.ServerName, len(r.TLS.PeerCertificates))
			}
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		},
		TLSConfig: config, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0),
	}
	for _, p := range protocols {
		switch p {
		case H1:
			server.Protocols.SetHTTP1(true)
		case H2:
			server.Protocols.SetHTTP2(true)
		case H2C:
			server.Protocols.SetUnencryptedHTTP2(true)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve := func() error { return server.Serve(listener) }
	if config != nil {
		serve = func() error { return server.ServeTLS(listener, "", "") }
	}
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().String(), conns
}

// TestAskOverEveryWire: a question is asked in the protocol that it names, over one
// connection, and what a handshake fails of is said.
func TestAskOverEveryWire(t *testing.T) {
	pair, ca, _, _ := certificate(t, "shop.example", time.Now().Add(time.Hour))
	_, mineCA, mine, mineKey := certificate(t, "me", time.Now().Add(time.Hour))
	_, otherCA, _, _ := certificate(t, "shop.example", time.Now().Add(time.Hour))
	old, oldCA, _, _ := certificate(t, "shop.example", time.Now().Add(-time.Hour))
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(mineCA)

	both, bothConns := serveWire(t, &tls.Config{Certificates: []tls.Certificate{pair}}, H1, H2)
	only1, only1Conns := serveWire(t, &tls.Config{Certificates: []tls.Certificate{pair}}, H1)
	mutual, mutualConns := serveWire(t, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert}, H1, H2)
	expired, expiredConns := serveWire(t, &tls.Config{Certificates: []tls.Certificate{old}}, H1)
	plain, plainConns := serveWire(t, nil, H1)
	clear2, clear2Conns := serveWire(t, nil, H2C)

	good := &TLS{CA: ca, ServerName: "shop.example"}
	for _, tt := range []struct {
		name     string
		addr     string
		conns    *atomic.Int32
		wire     Wire
		answer   string
		err      string // part of it, "" means none
		distrust bool
	}{
		{"h1 over TLS", both, bothConns, Wire{TLS: good}, "200 HTTP/1.1 shop.example 0", "", false},
		{"h2", both, bothConns, Wire{Protocol: H2, TLS: good}, "200 HTTP/2.0 shop.example 0", "", false},
		{"insecure", both, bothConns, Wire{TLS: &TLS{Insecure: true}}, "200 HTTP/1.1", "", false},
		{"unverified", both, bothConns, Wire{Protocol: H2, TLS: &TLS{CA: otherCA, ServerName: "x"}}.Unverified(), "200 HTTP/2.0 x 0", "", false},
		{"client certificate", mutual, mutualConns, Wire{Protocol: H2, TLS: &TLS{CA: ca, ServerName: "shop.example", Certificate: mine, Key: mineKey}}, "200 HTTP/2.0 shop.example 1", "", false},
		{"no client certificate", mutual, mutualConns, Wire{TLS: good}, "", "certificate required", false},
		{"another CA", both, bothConns, Wire{TLS: &TLS{CA: otherCA, ServerName: "shop.example"}}, "", "x509: ", true},
		{"no CA", both, bothConns, Wire{TLS: &TLS{ServerName: "shop.example"}}, "", "certificate signed by unknown authority", true},
		{"another name", both, bothConns, Wire{TLS: &TLS{CA: ca, ServerName: "other.example"}}, "", "certificate is valid for shop.example, not other.example", true},
		{"no name", both, bothConns, Wire{TLS: &TLS{CA: ca}}, "", "cannot validate certificate for 127.0.0.1", true},
		{"expired", expired, expiredConns, Wire{TLS: &TLS{CA: oldCA, ServerName: "shop.example"}}, "", "certificate has expired", true},
		{"no h2", only1, only1Conns, Wire{Protocol: H2, TLS: good}, "", "no application protocol", false},
		{"TLS to a plain port", plain, plainConns, Wire{TLS: good}, "", "server gave HTTP response to HTTPS client", false},
		{"plain to a TLS port", both, bothConns, Wire{}, "", "400, wanted 200", false},
		{"h2c", clear2, clear2Conns, Wire{Protocol: H2C}, "200 HTTP/2.0", "", false},
		{"h2c to h1", plain, plainConns, Wire{Protocol: H2C}, "", "h2c, without asking first: ", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.conns.Load()
			probe := Probe{Kind: ProbeHTTP, Port: "data", Wire: tt.wire, Timeout: 5 * time.Second}
			answer, err := probe.Ask(t.Context(), tt.addr)
			fails := tt.answer == ""
			if (err != nil) != fails || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got error %v, want one with %q: %t", err, tt.err, fails)
			}
			if !strings.HasPrefix(answer, tt.answer) {
				t.Errorf("got answer %q, want %q", answer, tt.answer)
			}
			if tt.distrust != NotTrusted(err) {
				t.Errorf("not trusted: got %t, want %t: %v", NotTrusted(err), tt.distrust, err)
			}
			if n := tt.conns.Load() - before; n != 1 {
				t.Errorf("got %d connections, want 1", n)
			}
		})
	}
}

// TestAskOfAServerWithoutALPN: a server that chooses no protocol speaks HTTP/1.1, and is not
// asked in another one.
func TestAskOfAServerWithoutALPN(t *testing.T) {
	pair, ca, _, _ := certificate(t, "shop.example", time.Now().Add(time.Hour))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.ReadAll(conn)
		}
		asked <- err
	}()
	_, err = Probe{Kind: ProbeHTTP, Wire: Wire{Protocol: H2, TLS: &TLS{CA: ca, ServerName: "shop.example"}}, Timeout: 5 * time.Second}.Ask(t.Context(), listener.Addr().String())
	if !errors.Is(err, ErrProtocol) || !NotTrusted(err) {
		t.Errorf("got %v, want ErrProtocol", err)
	}
	<-asked
	listener.Close()
}

// TestAskNeverTwice: a server of HTTP/2 that turns every request away with GOAWAY is asked
// once.
func TestAskNeverTwice(t *testing.T) {
	addr, conns := serveGoAway(t)
	_, err := Probe{Kind: ProbeHTTP, Wire: Wire{Protocol: H2C}, Timeout: 5 * time.Second}.Ask(t.Context(), addr)
	if err == nil || !errors.Is(err, errAgain) {
		t.Errorf("got %v, want %v", err, errAgain)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
}

// serveGoAway answers each connection's first request with a GOAWAY that says that it was not
// processed.
func serveGoAway(t *testing.T) (addr string, conns *atomic.Int32) {
	t.Helper()
	conns = new(atomic.Int32)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conn.Close()
				// An empty SETTINGS frame, then GOAWAY: last stream 0, no error.
				io.WriteString(conn, "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
				head := make([]byte, 24+9) // the preface and the head of the client's first frame
				if _, err := io.ReadFull(conn, head); err != nil {
					return
				}
				io.WriteString(conn, "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
				io.Copy(io.Discard, conn)
			}()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String(), conns
}

func TestWireValidate(t *testing.T) {
	_, ca, cert, key := certificate(t, "a", time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name string
		wire Wire
		err  string
	}{
		{"nothing", Wire{}, ""},
		{"h1 over TLS", Wire{Protocol: H1, TLS: &TLS{}}, ""},
		{"h2", Wire{Protocol: H2, TLS: &TLS{CA: ca}}, ""},
		{"h2c", Wire{Protocol: H2C}, ""},
		{"h2 without TLS", Wire{Protocol: H2}, "want h2c, or TLS"},
		{"h2c over TLS", Wire{Protocol: H2C, TLS: &TLS{}}, "want h2"},
		{"h3", Wire{Protocol: "h3"}, `unknown protocol "h3"`},
		{"no PEM", Wire{TLS: &TLS{CA: []byte("x")}}, "no certificate"},
		{"key alone", Wire{TLS: &TLS{Key: key}}, "certificate and key"},
		{"pair", Wire{TLS: &TLS{Certificate: cert, Key: key}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.wire.Validate()
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}
