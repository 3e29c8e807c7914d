package kubernetes

import (
	"errors"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// TestProbeOverTLS: kubelet asks over TLS and verifies nobody; what it cannot do is refused, and
// what it does otherwise is noted.
func TestProbeOverTLS(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wire   drivers.Wire
		scheme v1.URIScheme // "" means that nothing is said, which is HTTP
		note   string
		err    error
	}{
		{"plain", drivers.Wire{}, "", "", nil},
		{"unverified", drivers.Wire{TLS: &drivers.TLS{Insecure: true}}, v1.URISchemeHTTPS, "", nil},
		{"unverified h2", drivers.Wire{Protocol: drivers.H2, TLS: &drivers.TLS{Insecure: true}}, v1.URISchemeHTTPS, "", nil},
		{"verified", drivers.Wire{TLS: &drivers.TLS{}}, v1.URISchemeHTTPS, "without a name, a certificate or any verification", nil},
		{"by name", drivers.Wire{TLS: &drivers.TLS{ServerName: "a", Insecure: true}}, v1.URISchemeHTTPS, "without a name", nil},
		{"h2c", drivers.Wire{Protocol: drivers.H2C}, "", "", drivers.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := translation{service: drivers.Service{Name: "web"}, numbers: map[string]int32{"data": 8443}}
			got, err := tr.probe("signal", drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Wire: tt.wire})
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			var scheme v1.URIScheme
			if s := got.HTTPGet.Scheme; s != nil {
				scheme = *s
			}
			if scheme != tt.scheme {
				t.Errorf("got scheme %q, want %q", scheme, tt.scheme)
			}
			if notes := strings.Join(tr.notes, "\n"); !strings.Contains(notes, tt.note) || (notes != "") != (tt.note != "") {
				t.Errorf("got notes %q, want %q", notes, tt.note)
			}
		})
	}
}
