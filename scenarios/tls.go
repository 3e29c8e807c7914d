package scenarios

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// TLS is how a target's certificate is verified, and what the lab shows of its own. Files
// are named from the folder that the scenario is in; what they hold is in no record.
type TLS struct {
	CA          string `yaml:"ca,omitempty" doc:"a PEM file with the authorities to trust; without it those of the system"`
	ServerName  string `yaml:"server_name,omitempty" doc:"the name that is asked for (SNI) and verified; without it the host of the URL, or localhost for instances"`
	Certificate string `yaml:"certificate,omitempty" doc:"a PEM file with the lab's own certificate, for servers that ask for one"`
	Key         string `yaml:"key,omitempty" doc:"a PEM file with its private key"`
	Insecure    bool   `yaml:"insecure,omitempty" doc:"nothing is verified, and the report says so"`

	// What the files hold.
	ca, certificate, key []byte `yaml:"-"`
}

// nameServer fills in that TLS is spoken where the URL says so, and with whom.
func (t *Target) nameServer() {
	name := "localhost"
	if t.Address() {
		u, err := url.Parse(t.URL)
		if err != nil || u.Scheme != "https" {
			return // what is wrong with it is reported
		}
		name = u.Hostname()
		if t.TLS == nil {
			t.TLS = &TLS{}
		}
	}
	if t.TLS != nil && t.TLS.ServerName == "" {
		t.TLS.ServerName = name
	}
}

// Wire is how the target is spoken to, by everybody who asks it.
func (t *Target) Wire() drivers.Wire {
	w := drivers.Wire{Protocol: drivers.Protocol(t.Protocol)}
	if t.TLS != nil {
		w.TLS = &drivers.TLS{
			CA: t.TLS.ca, ServerName: t.TLS.ServerName, Insecure: t.TLS.Insecure,
			Certificate: t.TLS.certificate, Key: t.TLS.key,
		}
	}
	return w
}

// SignalWire is how an instance is asked for a signal: at the port data as it is spoken to, else
// plain unless the signal says https. Nobody is verified and nothing is shown, as a kubelet
// does.
func (t *Target) SignalWire(g Signal) drivers.Wire {
	switch {
	case g.Kind != drivers.ProbeHTTP:
		return drivers.Wire{}
	case g.Port == "data":
		return t.Wire().Unverified()
	case g.Scheme == "https":
		name := "localhost"
		if t.TLS != nil {
			name = t.TLS.ServerName
		}
		return drivers.Wire{TLS: &drivers.TLS{ServerName: name}}.Unverified()
	}
	return drivers.Wire{}
}

// wrongScheme says what is wrong with the scheme of a signal, "" when nothing is.
func (t *Target) wrongScheme(g Signal) (why, hint string) {
	speaks := t.Wire().Scheme()
	if g.Kind != drivers.ProbeHTTP || g.Port != "data" || g.Scheme == "" || g.Scheme == speaks {
		return "", ""
	}
	if speaks == "https" {
		return "is http, and the target speaks TLS at its port data", "remove it, or ask another port"
	}
	return "is https, and the target speaks no TLS at its port data", "remove it, or give target a tls"
}

// tls reads how TLS is spoken, and the files that it names.
func (d *decoder) tls(n *node, path string, to *TLS) {
	d.fields(n, path, reflect.ValueOf(to).Elem())
	if n.kind != mapping {
		return
	}
	if to.Insecure && to.CA != "" {
		at := n.get("ca")
		d.problem(at.line, at.column, join(path, "ca")+" means nothing with insecure: true", "remove one of them")
		return
	}
	if to.CA != "" {
		to.ca = d.authorities(n.get("ca"), to.CA)
	}
	switch {
	case to.Certificate != "" && to.Key == "":
		d.problem(n.line, n.column, join(path, "key")+" is missing", "the PEM file with the private key of the certificate")
	case to.Key != "" && to.Certificate == "":
		d.problem(n.line, n.column, join(path, "certificate")+" is missing", "the PEM file with the certificate of the key")
	case to.Key != "":
		to.certificate, to.key = d.keyPair(n.get("certificate"), n.get("key"), to)
	}
}

// authorities reads the certificates to trust; nil when there are none that will do.
func (d *decoder) authorities(n *node, name string) []byte {
	data := d.readBeside(n, name, "certificates are")
	if data == nil {
		return nil
	}
	all := d.certificates(n, name, data)
	if len(all) == 0 {
		return nil
	}
	now := time.Now()
	if !slices.ContainsFunc(all, func(c *x509.Certificate) bool { return !now.After(c.NotAfter) }) {
		d.problem(n.line, n.column, expired(name, all[0]), "ask for a new one")
		return nil
	}
	return data
}

func expired(name string, c *x509.Certificate) string {
	return fmt.Sprintf("the certificate in %s has expired: it was valid until %s", quote(name), c.NotAfter.UTC().Format(time.RFC3339))
}

// certificates are those in a PEM file, at least one, or none and a problem.
func (d *decoder) certificates(n *node, name string, data []byte) (all []*x509.Certificate) {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			d.problem(n.line, n.column, fmt.Sprintf("certificate %d in %s cannot be read: %v", len(all)+1, quote(name), err), "")
			return nil
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		d.problem(n.line, n.column, "there is no certificate in "+quote(name), "a PEM file begins with -----BEGIN CERTIFICATE-----")
	}
	return all
}

// keyPair reads the lab's own certificate and its key.
func (d *decoder) keyPair(certificate, key *node, of *TLS) (certificatePEM, keyPEM []byte) {
	certificatePEM = d.readBeside(certificate, of.Certificate, "certificates are")
	keyPEM = d.readBeside(key, of.Key, "keys are")
	if certificatePEM == nil || keyPEM == nil {
		return nil, nil
	}
	chain := d.certificates(certificate, of.Certificate, certificatePEM)
	if len(chain) == 0 {
		return nil, nil
	}
	_, err := tls.X509KeyPair(certificatePEM, keyPEM)
	if err != nil {
		d.problem(key.line, key.column, fmt.Sprintf("the key in %s does not go with the certificate in %s: %v", quote(of.Key), quote(of.Certificate), err),
			"the key that the certificate was made for, without a passphrase")
		return nil, nil
	}
	switch now := time.Now(); {
	case now.After(chain[0].NotAfter):
		d.problem(certificate.line, certificate.column, expired(of.Certificate, chain[0]), "ask for a new one")
		return nil, nil
	case now.Before(chain[0].NotBefore):
		d.problem(certificate.line, certificate.column, fmt.Sprintf("the certificate in %s is not valid before %s", quote(of.Certificate), chain[0].NotBefore.UTC().Format(time.RFC3339)), "is the clock right?")
		return nil, nil
	}
	return certificatePEM, keyPEM
}
