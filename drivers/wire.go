package drivers

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
)

// Protocol is what is spoken over a connection.
type Protocol string

// The protocols.
const (
	H1  Protocol = "h1"  // HTTP/1.1, over TLS or not
	H2  Protocol = "h2"  // HTTP/2 over TLS, agreed on by ALPN
	H2C Protocol = "h2c" // HTTP/2 without TLS and without asking first (prior knowledge)
)

// Wire is how a port is spoken to. The zero value is HTTP/1.1 without TLS.
type Wire struct {
	Protocol Protocol `json:",omitempty"` // "" means H1
	TLS      *TLS     `json:",omitempty"` // nil means none
}

// TLS is what a client needs to speak TLS. The zero value verifies the server's certificate
// against the system's roots, and the name in it against the host that is connected to.
type TLS struct {
	CA          []byte `json:",omitempty"` // PEM, instead of the system's roots
	ServerName  string `json:",omitempty"` // asked for (SNI) and verified instead of the host
	Certificate []byte `json:",omitempty"` // PEM, the client's own, with Key
	Key         []byte `json:",omitempty"` // PEM
	Insecure    bool   `json:",omitempty"` // nothing is verified
}

// Scheme is that of a URL: https or http.
func (w Wire) Scheme() string {
	if w.TLS != nil {
		return "https"
	}
	return "http"
}

// Multiplexed says whether many requests share a connection.
func (w Wire) Multiplexed() bool { return w.Protocol == H2 || w.Protocol == H2C }

// Opaque says whether a balancer cannot read what goes over it, unless TLS ends there: it
// passes connections on, not requests.
func (w Wire) Opaque() bool { return w.TLS != nil || w.Multiplexed() }

// Unverified is the same without any verification and without a certificate of the client's
// own: what a kubelet does when it asks over TLS. Without TLS it is the same.
func (w Wire) Unverified() Wire {
	if w.TLS != nil {
		w.TLS = &TLS{ServerName: w.TLS.ServerName, Insecure: true}
	}
	return w
}

// Validate reports a protocol that does not exist or does not go with TLS as it is, and
// certificates that cannot be read.
func (w Wire) Validate() error {
	switch w.Protocol {
	case "", H1:
	case H2:
		if w.TLS == nil {
			return errors.New("protocol h2 is agreed on over TLS, and there is none: want h2c, or TLS")
		}
	case H2C:
		if w.TLS != nil {
			return errors.New("protocol h2c is HTTP/2 without TLS, and there is TLS: want h2")
		}
	default:
		return fmt.Errorf("unknown protocol %q: want h1, h2 or h2c", w.Protocol)
	}
	_, err := w.ClientConfig()
	return err
}

// ErrProtocol: the server does not speak the protocol that it is to be spoken to in.
var ErrProtocol = errors.New("the server does not agree on the protocol")

// ClientConfig is the configuration of a client's side of TLS, nil where there is none. It
// offers the one protocol, and a handshake in which the server does not agree on HTTP/2 fails
// with ErrProtocol. An error means that a certificate cannot be read.
func (w Wire) ClientConfig() (*tls.Config, error) {
	if w.TLS == nil {
		return nil, nil
	}
	config := &tls.Config{
		ServerName:         w.TLS.ServerName,
		InsecureSkipVerify: w.TLS.Insecure,
		NextProtos:         []string{"http/1.1"},
	}
	if w.Protocol == H2 {
		config.NextProtos = []string{"h2"}
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != "h2" {
				return fmt.Errorf("%w h2: it offers no HTTP/2 over TLS (ALPN)", ErrProtocol)
			}
			return nil
		}
	}
	if w.TLS.CA != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(w.TLS.CA) {
			return nil, errors.New("tls: ca: no certificate in PEM is in it")
		}
	}
	if w.TLS.Certificate != nil || w.TLS.Key != nil {
		pair, err := tls.X509KeyPair(w.TLS.Certificate, w.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("the client's certificate and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// Configure makes a transport speak it. An error means that a certificate cannot be read.
func (w Wire) Configure(t *http.Transport) error {
	config, err := w.ClientConfig()
	if err != nil {
		return err
	}
	t.TLSClientConfig = config
	t.Protocols = new(http.Protocols)
	switch w.Protocol {
	case H2:
		t.Protocols.SetHTTP2(true)
	case H2C:
		t.Protocols.SetUnencryptedHTTP2(true)
	default:
		t.Protocols.SetHTTP1(true)
	}
	return nil
}

// NotTrusted reports whether a handshake failed for good reasons that no second one will
// change: the server's certificate is not one to trust, it is not the name's or has expired, or
// the two speak different protocols.
func NotTrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification) || errors.Is(err, ErrProtocol)
}
