package target

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// frontName is in the certificate of a balancer that TLS ends at.
const frontName = "localhost"

// identityLife is longer than any run.
const identityLife = 7 * 24 * time.Hour

// terminate makes the certificate of a balancer that TLS ends at, signed by an authority that
// is forgotten at once, and says how to speak with it: in HTTP/2 if the subject speaks that,
// and trusting that authority alone.
func terminate(subject drivers.Protocol) (*drivers.Identity, drivers.Wire, error) {
	front := drivers.Wire{Protocol: drivers.H1}
	if subject == drivers.H2 || subject == drivers.H2C {
		front.Protocol = drivers.H2
	}
	id, authority, err := newIdentity()
	if err != nil {
		return nil, front, fmt.Errorf("certificate of the balancer: %w", err)
	}
	front.TLS = &drivers.TLS{CA: authority, ServerName: frontName}
	return id, front, nil
}

func newIdentity() (id *drivers.Identity, authority []byte, err error) {
	root, rootKey, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "rollout-lab, one trial"}, KeyUsage: x509.KeyUsageCertSign,
		IsCA: true, BasicConstraintsValid: true,
	}, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	leaf, key, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "rollout-lab balancer"}, DNSNames: []string{frontName},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root, rootKey)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return &drivers.Identity{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), nil
}

// sign makes a certificate with a key of its own, signed by its parent, or by itself.
func sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, by = template, key
	}
	now := time.Now()
	template.SerialNumber = big.NewInt(now.UnixNano())
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(identityLife) // clocks of containers may be behind
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// PassesThrough says whether a balancer of the lab's passes the connections to the target on
// unread.
func (t *Target) PassesThrough() bool {
	return t.Stack.Balancer.Terminate == nil && t.Stack.Subject.Wire.Opaque()
}
