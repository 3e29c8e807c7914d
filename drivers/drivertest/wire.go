package drivertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
)

// wireName is the name in every certificate of the suite.
const wireName = "target.test"

// The environment of a target that speaks TLS at its data port.
const (
	certificateEnv = "DRIVERTEST_CERTIFICATE"
	keyEnv         = "DRIVERTEST_KEY"
)

// identity makes a certificate for wireName, and says whom to trust for it.
func identity(t testing.TB) (id drivers.Identity, trust *drivers.TLS) {
	t.Helper()
	authority := certtest.New(t)
	c := authority.Issue(certtest.Options{Names: []string{wireName}})
	return drivers.Identity{Certificate: c.PEM, Key: c.Key}, &drivers.TLS{CA: authority.PEM, ServerName: wireName}
}

// speaking makes the subject speak a protocol at its data port, over TLS unless that is h2c,
// and be asked so.
func speaking(t testing.TB, protocol drivers.Protocol) func(*drivers.Stack) {
	return func(s *drivers.Stack) {
		w := drivers.Wire{Protocol: protocol}
		if protocol != drivers.H2C {
			var id drivers.Identity
			id, w.TLS = identity(t)
			s.Subject.Env[certificateEnv], s.Subject.Env[keyEnv] = string(id.Certificate), string(id.Key)
		}
		s.Subject.Args = append(s.Subject.Args, "-protocol", string(protocol))
		s.Subject.Wire, s.Subject.Serves.Wire = w, w
	}
}

// speak makes a server of the target's data port speak the protocol, over TLS if the
// environment holds a certificate.
func speak(s *http.Server, protocol drivers.Protocol) error {
	if cert := os.Getenv(certificateEnv); cert != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(os.Getenv(keyEnv)))
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	s.Protocols = new(http.Protocols)
	switch protocol {
	case drivers.H1:
		s.Protocols.SetHTTP1(true)
	case drivers.H2:
		s.Protocols.SetHTTP2(true)
	case drivers.H2C:
		s.Protocols.SetUnencryptedHTTP2(true)
	default:
		return fmt.Errorf("unknown protocol %q", protocol)
	}
	return nil
}

// asker asks over connections that it knows the local address of.
type asker struct {
	*http.Client
	local netip.AddrPort // of the last connection
}

// asks returns one that speaks a wire with whatever it connects to, and keeps its connections
// or makes one for each request.
func asks(t testing.TB, w drivers.Wire, keep bool) *asker {
	t.Helper()
	a := &asker{}
	transport := &http.Transport{
		DisableKeepAlives: !keep,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				a.local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
			}
			return conn, err
		},
	}
	if err := w.Configure(transport); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	a.Client = &http.Client{Timeout: 10 * time.Second, Transport: transport}
	return a
}
