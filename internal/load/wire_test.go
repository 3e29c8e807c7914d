package load

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// In TLS 1.3 a server refuses a client's certificate when the handshake is over for the
// client, and the connection is reset when there was something to be read: whether the
// client has read the refusal before it writes is a matter of luck, and what is told of it
// is not. What was read in search of it is the reader's.
func TestAWriteThatFailsKnowsTheAlertBeforeIt(t *testing.T) {
	authority := certtest.New(t)
	certificate := authority.Issue(certtest.Options{}).TLS(t)
	for name, tt := range map[string]struct {
		auth   tls.ClientAuthType
		answer string // before the reset
		want   record.Class
		reason string
	}{
		"refused":  {tls.RequireAnyClientCert, "", record.TLS, "certificate required"},
		"reset":    {tls.NoClientCert, "", record.Reset, ""},
		"answered": {tls.NoClientCert, "hello", record.Reset, ""},
	} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			addr := rawServer(t, func(conn net.Conn, in *bufio.Reader) {
				defer close(over)
				secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tt.auth})
				if err := secured.Handshake(); err == nil {
					_, _ = io.WriteString(secured, tt.answer) // the client misses it
				}
				reset(conn, in)
				conn.Close()
			})
			dial, err := newDialing(drivers.Wire{TLS: &drivers.TLS{CA: authority.PEM, ServerName: "localhost"}}, nil, ample)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := dial(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			<-over
			written := error(nil)
			for end := time.Now().Add(ample); written == nil && time.Now().Before(end); {
				_, written = io.WriteString(conn, "hello") // until the reset has come
			}
			_, seen := conn.seen()
			for who, err := range map[string]error{"the one who wrote": written, "the connection": seen} {
				if err == nil || classOf(err) != tt.want || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("%s knows of %v, want %s (%s)", who, err, tt.want, tt.reason)
				}
			}
			if answer, _ := io.ReadAll(conn); string(answer) != tt.answer {
				t.Errorf("what is left to read is %q, want %q", answer, tt.answer)
			}
		})
	}
}
