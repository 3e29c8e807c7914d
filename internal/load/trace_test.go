package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
	"github.com/rollout-lab/rollout-lab/internal/edge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// spoken is a server that speaks a protocol, over TLS unless that is h2c, and names nobody.
func spoken(t *testing.T, protocol drivers.Protocol) (addr string, wire drivers.Wire) {
	t.Helper()
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }),
		Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(protocol == drivers.H1)
	server.Protocols.SetHTTP2(protocol == drivers.H2)
	server.Protocols.SetUnencryptedHTTP2(protocol == drivers.H2C)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wire = drivers.Wire{Protocol: protocol}
	serve := server.Serve
	if protocol != drivers.H2C {
		authority := certtest.New(t)
		wire.TLS = &drivers.TLS{CA: authority.PEM, ServerName: "localhost"}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{authority.Issue(certtest.Options{}).TLS(t)}}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(listener) }()
	t.Cleanup(func() { server.Close(); <-ended })
	return listener.Addr().String(), wire
}

// Where a balancer passes connections on, each sample has the instance that its connection went
// to, or why it went nowhere.
func TestSamplesThroughABalancerOfConnections(t *testing.T) {
	for _, protocol := range []drivers.Protocol{drivers.H1, drivers.H2, drivers.H2C} {
		for _, reuse := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, reuse %t", protocol, reuse), func(t *testing.T) {
				addr, wire := spoken(t, protocol)
				balancer, err := edge.New(edge.Config{Wire: wire})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					ctx, cancel := context.WithTimeout(context.Background(), ample)
					defer cancel()
					if err := balancer.Close(ctx); err != nil {
						t.Error(err)
					}
				})
				host := balancer.URL()[strings.LastIndex(balancer.URL(), "/")+1:]
				ask := newTracedExchanger(t, host, wire, balancer.Trace, reuse)
				want := func(class record.Class, instance, reason string) {
					t.Helper()
					s := ask(Request{Path: "/", WantBody: "hello"}, ample)
					if s.Class != class || s.Instance != instance || s.Reason != reason {
						t.Errorf("got %s %q from %q, want %s %q from %q", s.Class, s.Reason, s.Instance, class, reason, instance)
					}
				}
				want(record.Reset, "", drivers.NoInstanceReason)
				balancer.Route(edge.Endpoint{ID: "dead", Addr: refusing(t)})
				want(record.Reset, "dead", drivers.RefusedReason)
				balancer.Unroute("dead")
				balancer.Route(edge.Endpoint{ID: "a", Addr: addr})
				want(record.OK, "a", "")
				balancer.Unroute("a")
				if reuse { // the connection is where it was
					want(record.OK, "a", "")
				} else {
					want(record.Reset, "", drivers.NoInstanceReason)
				}
			})
		}
	}
}

// What the balancer itself has run out of is the harness's trouble, and what it says of an
// earlier connection from the same address is said of that.
func TestTraceOfAConnection(t *testing.T) {
	addr := refusing(t)
	for _, tt := range []struct {
		name  string
		way   drivers.Way
		class record.Class
		where string
	}{
		{"harness", drivers.Way{Instance: "a", Reason: drivers.HarnessReason + "no port", At: time.Now().Add(time.Hour)}, record.Harness, "a"},
		{"nobody", drivers.Way{Reason: drivers.NoInstanceReason, At: time.Now().Add(time.Hour)}, record.Reset, ""},
		{"an earlier one", drivers.Way{Instance: "b", Reason: drivers.RefusedReason, At: time.Now().Add(-time.Hour)}, record.Reset, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := func(netip.AddrPort) (drivers.Way, bool) { return tt.way, true }
			server := rawServer(t, func(conn net.Conn, in *bufio.Reader) {
				_, _ = in.ReadByte() // before that it could end the attempt to connect
				reset(conn, in)
			})
			s := newTracedExchanger(t, server, drivers.Wire{TLS: &drivers.TLS{Insecure: true}}, trace, false)(Request{Path: "/"}, ample)
			if s.Class != tt.class || s.Instance != tt.where {
				t.Errorf("got %s %q from %q, want %s from %q", s.Class, s.Reason, s.Instance, tt.class, tt.where)
			}
		})
	}
	if s := newTracedExchanger(t, addr, drivers.Wire{}, func(netip.AddrPort) (drivers.Way, bool) { return drivers.Way{}, false }, false)(Request{Path: "/"}, ample); s.Class != record.Refused {
		t.Errorf("got %s, want refused", s.Class)
	}
}
