//go:build e2e

package adaptertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/grpc/grpcserve"
)

// requests is how many each protocol sends at least.
const requests = 350_000

// instance is one process of a service, as far as its clients see, and how to ask it.
type instance struct {
	ask    func(ctx context.Context, id string) error
	cancel context.CancelFunc
	ended  chan error
	close  func() // what the clients had
}

// TestRunLosesNothing replaces one instance by the next without end, by the sequence of Run,
// while clients send requests that cannot be sent again. Whoever balances learns of it
// 30 ms after the signal; the lame duck is longer, as clients may be let run late.
func TestRunLosesNothing(t *testing.T) {
	cert := certificate(t)
	for _, protocol := range []struct {
		name  string
		start func(*testing.T) *instance
	}{
		{"HTTP/1.1", func(t *testing.T) *instance { return startHTTP(t, nil) }},
		{"HTTP/2", func(t *testing.T) *instance { return startHTTP(t, &cert) }},
		{"gRPC", startGRPC},
	} {
		t.Run(protocol.name, func(t *testing.T) {
			var now atomic.Pointer[instance]
			now.Store(protocol.start(t))
			var answered, lost atomic.Int64
			over := make(chan struct{})
			var senders sync.WaitGroup
			for n := range 8 {
				senders.Add(1)
				go func() {
					defer senders.Done()
					for i := 0; ; i++ {
						select {
						case <-over:
							return
						default:
						}
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						if err := now.Load().ask(ctx, fmt.Sprint(n, "-", i)); err != nil {
							lost.Add(1)
							t.Errorf("lost: %v", err)
						} else {
							answered.Add(1)
						}
						cancel()
					}
				}()
			}
			end := func(i *instance) {
				if err := <-i.ended; err != nil {
					t.Errorf("run: %v", err)
				}
				i.close()
			}
			replaced := 0
			for ; answered.Load() < requests && !t.Failed(); replaced++ {
				next, last := protocol.start(t), now.Load()
				if err := next.ask(t.Context(), "first"); err != nil { // connects
					t.Errorf("a new instance: %v", err)
				}
				last.cancel()
				time.Sleep(30 * time.Millisecond) // how long the balancer takes
				now.Store(next)
				end(last)
			}
			close(over)
			senders.Wait()
			now.Load().cancel()
			end(now.Load())
			fmt.Printf("| %s | %d | %d | %d |\n", protocol.name, answered.Load(), replaced, lost.Load())
		})
	}
}

// live runs a server as a process does, until the instance is cancelled.
func live(t *testing.T, i *instance, r *healthkit.Registry, l net.Listener, s healthkit.Server) {
	var ctx context.Context
	ctx, i.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	i.ended = make(chan error, 1)
	go func() {
		_, err := r.Run(ctx, healthkit.RunPlan{
			Endpoints: []healthkit.Endpoint{{Listener: l, Server: s}},
			LameDuck:  400 * time.Millisecond, CloseWait: 200 * time.Millisecond, Budget: 20 * time.Second,
		})
		i.ended <- err
	}()
}

func startHTTP(t *testing.T, cert *tls.Certificate) *instance {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}
	url := "http://" + l.Addr().String()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	if cert != nil {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
		url = "https://" + l.Addr().String()
		transport.ForceAttemptHTTP2 = true
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // its own, of this test
	}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	i := &instance{close: transport.CloseIdleConnections, ask: func(_ context.Context, id string) error {
		_, err := send(client, url, id)
		return err
	}}
	live(t, i, healthkit.New(healthkit.Config{AllowEmpty: true}), l, s)
	return i
}

// called answers one call.
type called struct {
	testpb.UnimplementedTestServiceServer
}

func (called) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

func startGRPC(t *testing.T) *instance {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	s := grpcserve.New(r)
	testpb.RegisterTestServiceServer(s, called{})
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	client := testpb.NewTestServiceClient(conn)
	i := &instance{close: func() { _ = conn.Close() }, ask: func(ctx context.Context, _ string) error {
		_, err := client.EmptyCall(ctx, &testpb.Empty{})
		return err
	}}
	live(t, i, r, l, s)
	return i
}
