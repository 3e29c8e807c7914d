//go:build e2e

package adaptertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// shutdowns is how often each server is shut down in each row of the table.
const shutdowns = 50

// traffic is what clients send without end while a server is shut down. They send with
// bodies that cannot be sent again, so that nothing is repeated unseen.
type traffic struct {
	name    string
	clients int
	fresh   bool // a connection for each request
	http2   bool
}

// tally is what became of the requests.
type tally struct {
	answered, refused int // refused: no connection, so sending again is safe
	accepted          int // lost, although the server had accepted it
	other             int // lost on the way, or in the kernel
}

func (t *tally) add(u tally) {
	t.answered += u.answered
	t.refused += u.refused
	t.accepted += u.accepted
	t.other += u.other
}

// TestShutdownTable shuts servers down under load, without a lame duck and without a close
// wait, and prints what that loses as a table for the README of healthkit/bench.
func TestShutdownTable(t *testing.T) {
	cert := certificate(t)
	for _, machine := range []struct {
		name string
		busy int // loops on each core
	}{{"quiet", 0}, {"3 busy loops on each core", 3}} {
		t.Run(machine.name, func(t *testing.T) {
			oversubscribe(t, machine.busy)
			fmt.Printf("\n%s, %d shutdowns each, lost of requests:\n\n", machine.name, shutdowns)
			fmt.Println("| | http.Server: accepted, on the way | Graceful: accepted, on the way |\n|---|---|---|")
			for _, load := range []traffic{
				{name: "HTTP/1.1, a connection each, 4 clients", clients: 4, fresh: true},
				{name: "HTTP/1.1, a connection each, 32 clients", clients: 32, fresh: true},
				{name: "HTTP/1.1, kept alive, 8 clients", clients: 8},
				{name: "HTTP/2, 8 clients", clients: 8, http2: true},
			} {
				var plain, graceful tally
				for range shutdowns {
					plain.add(shutDownUnder(t, load, cert, func(s *http.Server) healthkit.Server { return s }))
					graceful.add(shutDownUnder(t, load, cert, func(s *http.Server) healthkit.Server { return healthkit.Graceful(s) }))
				}
				cell := func(u tally) string {
					return fmt.Sprintf("%d, %d of %d", u.accepted, u.other, u.answered+u.accepted+u.other)
				}
				fmt.Printf("| %s | %s | %s |\n", load.name, cell(plain), cell(graceful))
				if graceful.answered == 0 || plain.answered == 0 {
					t.Errorf("%s: no request was answered", load.name)
				}
				if load.http2 {
					continue // net/http's, see GracefulServer
				}
				if graceful.accepted > 0 {
					t.Errorf("%s: %d requests that were accepted got no answer", load.name, graceful.accepted)
				}
				if !load.fresh && graceful.other > shutdowns/10 {
					t.Errorf("%s: %d requests lost in %d shutdowns, want 1 in 10 at most", load.name, graceful.other, shutdowns)
				}
			}
		})
	}
}

// shutDownUnder shuts one server down under a load that begins before and ends after it.
func shutDownUnder(t *testing.T, load traffic, cert tls.Certificate, kind func(*http.Server) healthkit.Server) tally {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &countingListener{Listener: inner}
	var handled sync.Map
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handled.Store(r.Header.Get("Id"), true)
		_, _ = io.Copy(w, r.Body)
	})}
	scheme := "http"
	if load.http2 {
		scheme = "https"
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	server := kind(s)
	served := make(chan error, 1)
	go func() {
		if byTLS, ok := server.(interface {
			ServeTLS(net.Listener, string, string) error
		}); ok && load.http2 {
			served <- byTLS.ServeTLS(l, "", "")
			return
		}
		served <- server.Serve(l)
	}()

	transport := &http.Transport{
		MaxIdleConnsPerHost: load.clients, DisableKeepAlives: load.fresh, ForceAttemptHTTP2: load.http2,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its own, of this test
	}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	over := make(chan struct{})
	warm := make(chan struct{})
	var answers atomic.Int64
	tallies := make(chan tally)
	for n := range load.clients {
		go func() {
			var own tally
			for i := 0; ; i++ {
				select {
				case <-over:
					tallies <- own
					return
				default:
				}
				id := fmt.Sprint(n, "-", i)
				local, err := send(client, scheme+"://"+inner.Addr().String(), id)
				switch {
				case err == nil:
					l.accepted.Delete(local) // a port may come again
					own.answered++
					if answers.Add(1) == int64(20*load.clients) {
						close(warm)
					}
				case isRefused(err):
					own.refused++
					time.Sleep(time.Millisecond) // its pace, not a wait for something
				default:
					_, seen := handled.Load(id)
					if load.fresh {
						_, seen = l.accepted.Load(local)
					}
					if seen {
						own.accepted++
					} else {
						own.other++
					}
				}
				if n%2 == 1 {
					time.Sleep(time.Duration(n) * 100 * time.Microsecond) // some think
				}
			}
		}()
	}
	select {
	case <-warm:
	case <-time.After(time.Minute):
		t.Fatal("no load within a minute")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("%s: shutdown: %v", load.name, err)
	}
	close(over)
	var all tally
	for range load.clients {
		all.add(<-tallies)
	}
	transport.CloseIdleConnections()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("%s: serve: %v", load.name, err)
	}
	return all
}

// send sends one request that cannot be sent again, and returns from where.
func send(client *http.Client, url, id string) (local string, err error) {
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { local = info.Conn.LocalAddr().String() },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(strings.NewReader(id)))
	if err != nil {
		return "", err
	}
	req.ContentLength = int64(len(id))
	req.Header.Set("Id", id)
	resp, err := client.Do(req)
	if err != nil {
		return local, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it has been read
	if err == nil && string(body) != id {
		err = fmt.Errorf("answer %q to %q", body, id)
	}
	return local, err
}

func isRefused(err error) bool {
	var op *net.OpError
	return errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &op) && op.Op == "dial"
}

// countingListener knows who was accepted.
type countingListener struct {
	net.Listener
	accepted sync.Map
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Store(conn.RemoteAddr().String(), true)
	}
	return conn, err
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// busyLoop makes this program a busy loop for as long as somebody holds its input.
const busyLoop = "HEALTHKIT_BUSY_LOOP"

func init() {
	if os.Getenv(busyLoop) == "" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is closed
		os.Exit(0)
	}()
	for spins := 0; ; spins++ {
	}
}

// oversubscribe keeps the machine busy with that many loops on each core until the test ends.
func oversubscribe(t *testing.T, loops int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range loops * runtime.NumCPU() {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), busyLoop+"=1", "GOMAXPROCS=2")
		input, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = input.Close() // ends it
			if err := cmd.Wait(); err != nil {
				t.Errorf("a busy loop: %v", err)
			}
		})
	}
}
