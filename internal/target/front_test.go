package target

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// The load trusts the balancer that TLS ends at, and no other one.
func TestTerminate(t *testing.T) {
	for subject, want := range map[drivers.Protocol]drivers.Protocol{
		"": drivers.H1, drivers.H1: drivers.H1, drivers.H2: drivers.H2, drivers.H2C: drivers.H2,
	} {
		id, front, err := terminate(subject)
		if err != nil {
			t.Fatal(err)
		}
		if front.Protocol != want {
			t.Errorf("subject %q: the front speaks %s, want %s", subject, front.Protocol, want)
		}
		if err := handshake(t, id, front); err != nil {
			t.Errorf("subject %q: %v", subject, err)
		}
		another, _, err := terminate(subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(t, another, front); err == nil || !drivers.NotTrusted(err) {
			t.Errorf("another balancer: got %v, want it not to be trusted", err)
		}
	}
}

// handshake is what a client that speaks the front's wire says of a server with the identity.
func handshake(t *testing.T, id *drivers.Identity, front drivers.Wire) error {
	t.Helper()
	pair, err := tls.X509KeyPair(id.Certificate, id.Key)
	if err != nil {
		t.Fatal(err)
	}
	config, err := front.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.(*tls.Conn).Handshake() // what the client says of it counts
	}()
	mine, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = tls.Client(mine, config).HandshakeContext(t.Context())
	mine.Close()
	<-served
	listener.Close()
	return err
}

// A scenario's word on TLS reaches the stack: how the subject is spoken to, how its signal is
// asked, and what the balancer does.
func TestBuildOverTLS(t *testing.T) {
	for _, tt := range []struct {
		name, target, rest, signal string
		subject, front, asked      string // schemes
		terminates                 bool
	}{
		{"plain", "", "", "port: data", "http", "http", "http", false},
		{"passed through", "  tls: {insecure: true}\n", "", "port: data", "https", "https", "https", false},
		{"said so", "  tls: {insecure: true}\n", "balancer: {tls: passthrough}\n", "port: data", "https", "https", "https", false},
		{"terminated", "  tls: {insecure: true}\n", "balancer: {tls: terminate}\n", "port: data", "https", "https", "https", true},
		{"terminated before a plain one", "", "balancer: {tls: terminate}\n", "port: data", "http", "https", "http", true},
		{"a health port of its own", "  ports: {health: 0}\n  tls: {insecure: true}\n", "", "port: health", "https", "https", "http", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "name: mine\ntarget:\n  exec: ./mine\n" + tt.target + tt.rest + `replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs: [{name: mine, signal: {kind: http, ` + tt.signal + `}}]
`
			s, err := scenarios.Parse("mine.yaml", []byte(text), scenarios.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Build(s, s.Designs[0], "process")
			if err != nil {
				t.Fatal(err)
			}
			subject := got.Stack.Subject
			if s := strings.Join([]string{subject.Wire.Scheme(), got.Front.Scheme(), subject.Signal.Wire.Scheme()}, " "); s != tt.subject+" "+tt.front+" "+tt.asked {
				t.Errorf("subject, front and signal: got %s, want %s %s %s", s, tt.subject, tt.front, tt.asked)
			}
			if (got.Stack.Balancer.Terminate != nil) != tt.terminates {
				t.Errorf("terminates: got %t, want %t", !tt.terminates, tt.terminates)
			}
			if w := subject.Signal.Wire; w.TLS != nil && !w.TLS.Insecure {
				t.Error("the signal verifies a certificate")
			}
		})
	}
}
