//go:build go1.25

package healthkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a listener without a network, so that a bubble can hold it.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.closed) }); return nil }
func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case m.conns <- far:
		return near, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) client(t *testing.T) *http.Client {
	transport := &http.Transport{DialContext: m.dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type ran struct {
	report ShutdownReport
	err    error
}

func start(ctx context.Context, r *Registry, plan RunPlan) <-chan ran {
	plan.Signals = []os.Signal{}
	done := make(chan ran, 1)
	go func() {
		report, err := r.Run(ctx, plan)
		done <- ran{report, err}
	}()
	return done
}

// A whole life, second by second, in the time of the bubble.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Expect: []string{"storage"}})
		data, probes := newMemory(), newMemory()
		dataClient, probeClient := data.client(t), probes.client(t)
		entered, release := make(chan struct{}), make(chan struct{})
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") })
		mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			io.WriteString(w, "finished")
		})
		expect := func(when string, readyz, drainz int, closing bool) {
			t.Helper()
			for path, want := range map[string]int{"/readyz": readyz, "/drainz": drainz, "/livez": 200} {
				if status, _, _, err := fetch(probeClient, "http://h"+path); err != nil || status != want {
					t.Errorf("%s: %s got %d, %v; want %d", when, path, status, err, want)
				}
			}
			if r.Phase() == PhaseStopped {
				return
			}
			if status, body, c, err := fetch(dataClient, "http://d/"); err != nil || status != 200 || body != "served" || c != closing {
				t.Errorf("%s: data got %d %q, close %v, %v; want it served with close %v", when, status, body, c, err, closing)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		done := start(ctx, r, RunPlan{
			Endpoints:      []Endpoint{{Listener: data, Server: &http.Server{Handler: mux}}},
			HealthListener: probes, HealthLinger: time.Second,
			Budget: 25 * time.Second, LameDuck: 5 * time.Second, CloseWait: time.Second,
		})
		expect("before the first report", 503, 503, false)
		storage := mustRegister(t, r, "storage", Options{})
		var stoppedWith int
		storage.OnStop(func(context.Context) error { stoppedWith = r.InFlight(); return nil })
		storage.Ready()
		expect("ready", 200, 503, false)

		cancel(errors.New("told to stop"))
		synctest.Wait()
		expect("lame duck", 503, 503, false)
		time.Sleep(5*time.Second - 1)
		expect("lame duck to the end", 503, 503, false)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		expect("closing", 503, 503, true)
		slow := make(chan string, 1)
		go func() {
			_, body, _, _ := fetch(data.client(t), "http://d/slow")
			slow <- body
		}()
		<-entered
		time.Sleep(3 * time.Second)
		if _, _, _, err := fetch(dataClient, "http://d/"); err == nil {
			t.Error("the data listener is open after the close wait")
		}
		if _, body, _, _ := fetch(probeClient, "http://h/drainz"); body != "draining, 1 in flight\n" {
			t.Errorf("got %q while one is in flight", body)
		}
		close(release)
		if got := <-slow; got != "finished" {
			t.Errorf("request in flight got %q", got)
		}
		synctest.Wait()
		time.Sleep(500 * time.Millisecond) // http.Server polls for idle connections
		expect("stopped", 503, 200, false)
		got := <-done
		if got.err != nil || got.report.CutShort || got.report.Aborted != 0 || got.report.LameDuck != 5*time.Second || got.report.CloseWait != time.Second {
			t.Errorf("got %+v, %v", got.report, got.err)
		}
		if s, _ := r.Snapshot().Component("storage"); s.State != Stopped || stoppedWith != 0 {
			t.Errorf("storage is %s, stopped with %d in flight", s.State, stoppedWith)
		}
		if reason := r.Snapshot().Reason(); !strings.Contains(reason, "stopped") {
			t.Errorf("got %q", reason)
		}
		if _, _, _, err := fetch(probeClient, "http://h/readyz"); err == nil {
			t.Error("the health listener is open after Run")
		}
	})
}

// The budget holds whatever is in flight, and says what it cut.
func TestRunBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		data := newMemory()
		entered, release := make(chan struct{}), make(chan struct{})
		server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(entered)
			<-release
		})}
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{Endpoints: []Endpoint{{Listener: data, Server: server}}, Budget: 10 * time.Second})
		go data.client(t).Get("http://d/")
		<-entered
		begun := time.Now()
		cancel()
		got := <-done
		// A fifth of the budget is kept for stop hooks; there are none.
		if took := time.Since(begun); took != 8*time.Second || got.report.Aborted != 1 || !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("took %v, got %+v, %v; want 8s, 1 aborted", took, got.report, got.err)
		}
		close(release)
		synctest.Wait()
	})
}

type brokenServer struct{ err error }

func (s brokenServer) Serve(l net.Listener) error     { return errors.Join(s.err, l.Close()) }
func (s brokenServer) Shutdown(context.Context) error { return nil }

// A server that ends by itself takes the process down, in order.
func TestRunEndsWithAServer(t *testing.T) {
	for _, broken := range []error{errors.New("too many open files"), nil} {
		synctest.Test(t, func(t *testing.T) {
			r := New(Config{AllowEmpty: true})
			release := r.Hold()
			done := start(t.Context(), r, RunPlan{Endpoints: []Endpoint{
				{Listener: newMemory(), Server: brokenServer{broken}},
				{Listener: newMemory(), Server: &http.Server{}},
			}})
			time.Sleep(15 * time.Second)
			select {
			case <-done:
				t.Error("did not wait for the work in flight")
			default:
			}
			release()
			got := <-done
			if got.err == nil || broken != nil && !errors.Is(got.err, broken) || got.report.Aborted != 0 || r.Phase() != PhaseStopped {
				t.Errorf("got %+v, %v in phase %s; want an error with %v", got.report, got.err, r.Phase(), broken)
			}
		})
	}
}

func TestRunOfAClosedRegistryEndsItsServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		data, probes := newMemory(), newMemory()
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{Endpoints: []Endpoint{{Listener: data, Server: &http.Server{}}}, HealthListener: probes})
		synctest.Wait()
		closeRegistry(t, r)
		cancel()
		if got := <-done; !errors.Is(got.err, ErrPhase) {
			t.Errorf("got %v, want ErrPhase", got.err)
		}
		<-data.closed
		<-probes.closed
	})
}

// A worker has nothing that balancers could route to, so it waits for nobody.
func TestRunWithoutAPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		var order []string
		loop := mustRegister(t, r, "loop", Options{DependsOn: []string{"queue"}})
		loop.OnStop(func(context.Context) error { order = append(order, "loop"); return nil })
		mustRegister(t, r, "queue", Options{}).OnStop(func(context.Context) error { order = append(order, "queue"); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		if got := <-start(ctx, r, RunPlan{}); got.err != nil || got.report.CutShort {
			t.Errorf("got %+v, %v", got.report, got.err)
		}
		if took := time.Since(begun); took != 0 || !slices.Equal(order, []string{"loop", "queue"}) {
			t.Errorf("took %v, stopped %v", took, order)
		}
	})
}

// A server with certificates serves TLS, and HTTP/2 over it; its clients are told
// to go away like those of HTTP/1.
func TestRunServesTLS(t *testing.T) {
	donor := httptest.NewTLSServer(nil)
	certificates, roots := donor.TLS.Certificates, x509.NewCertPool()
	roots.AddCert(donor.Certificate())
	donor.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := New(Config{AllowEmpty: true})
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, r, RunPlan{LameDuck: -1, CloseWait: -1, Endpoints: []Endpoint{{Listener: l, Server: &http.Server{
		TLSConfig: &tls.Config{Certificates: certificates},
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { io.WriteString(w, req.Proto) }),
	}}}})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	if _, body, _, err := fetch(&http.Client{Transport: transport}, "https://"+l.Addr().String()); err != nil || body != "HTTP/2.0" {
		t.Errorf("got %q, %v; want HTTP/2.0", body, err)
	}
	cancel()
	if got := <-done; got.err != nil {
		t.Error(got.err)
	}
}

func TestRunRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	server, given := &http.Server{}, newMemory()
	tests := []struct {
		name string
		plan RunPlan
		want string
	}{
		{"parts above the budget", RunPlan{Budget: 10 * time.Second, LameDuck: 20 * time.Second}, "do not fit into the budget of 10s"},
		{"negative budget", RunPlan{Budget: -1}, "budget -1ns"},
		{"no server", RunPlan{Endpoints: []Endpoint{{Addr: ":0"}}}, "endpoint 0 (:0) has no server"},
		{"health handler without a port", RunPlan{Health: http.NotFoundHandler()}, "a health handler and no address"},
		{"probes of a server of another kind", RunPlan{Endpoints: []Endpoint{{Addr: ":0", Server: brokenServer{}, Probes: true}}}, "endpoint 0 (:0) cannot answer probes"},
		{"no address", RunPlan{Endpoints: []Endpoint{{Server: server}}}, "endpoint 0 has no address"},
		{"address in use beside a listener", RunPlan{HealthListener: given, Endpoints: []Endpoint{{Server: &http.Server{Addr: taken.Addr().String()}}}}, taken.Addr().String()},
		{"address in use", RunPlan{HealthAddr: "127.0.0.1:0", Endpoints: []Endpoint{{Addr: taken.Addr().String(), Server: server}}}, taken.Addr().String()},
	}
	for _, tt := range tests {
		r := New(Config{AllowEmpty: true})
		if _, err := r.Run(t.Context(), tt.plan); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if r.Phase() != PhaseServing {
			t.Errorf("%s: the registry was touched, it is %s", tt.name, r.Phase())
		}
	}
	select {
	case <-given.closed:
	default:
		t.Error("a refused run left a listener open")
	}
	if server.Handler != nil {
		t.Error("a refused run wrapped the handler")
	}
}

// A client that was cut has no answer, however well its handler behaved.
func TestRunCountsWhoWasCut(t *testing.T) {
	for name, handler := range map[string]func(end <-chan struct{}, req *http.Request){
		"handlers that heed their context": func(_ <-chan struct{}, req *http.Request) { <-req.Context().Done() },
		"handlers that do not":             func(end <-chan struct{}, _ *http.Request) { <-end },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				defer close(end)
				r := New(Config{AllowEmpty: true})
				data := newMemory()
				ctx, cancel := context.WithCancel(t.Context())
				done := start(ctx, r, RunPlan{
					Budget: 5 * time.Second, LameDuck: -1, CloseWait: -1,
					Endpoints: []Endpoint{{Listener: data, Server: &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { handler(end, req) })}}},
				})
				var clients sync.WaitGroup
				for range 5 {
					client := data.client(t)
					clients.Go(func() {
						if _, _, _, err := fetch(client, "http://d/"); err == nil {
							t.Error("a client that was cut got an answer")
						}
					})
				}
				synctest.Wait()
				cancel()
				got := <-done
				if got.report.Aborted != 5 || !errors.Is(got.err, context.DeadlineExceeded) || !strings.Contains(got.err.Error(), "5 requests in flight were aborted") {
					t.Errorf("got %+v, %v; want 5 aborted", got.report, got.err)
				}
				clients.Wait()
			})
		})
	}
}

// Whatever has been put round the handler already, a request counts once.
func TestRunCountsOnce(t *testing.T) {
	other := New(Config{})
	for name, server := range map[string]func(r *Registry, h http.Handler) Server{
		"as it is":                      func(_ *Registry, h http.Handler) Server { return &http.Server{Handler: h} },
		"with the middleware":           func(r *Registry, h http.Handler) Server { return &http.Server{Handler: r.Middleware(h)} },
		"with that of another registry": func(_ *Registry, h http.Handler) Server { return &http.Server{Handler: other.Middleware(h)} },
		"graceful":                      func(_ *Registry, h http.Handler) Server { return Graceful(&http.Server{Handler: h}) },
		"graceful, with the middleware": func(r *Registry, h http.Handler) Server { return Graceful(&http.Server{Handler: r.Middleware(h)}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Config{})
			counts := 0
			s := server(r, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { counts = r.InFlight() }))
			endpoints := []Endpoint{{Server: s}, {Server: s}}
			servers, _ := r.prepare(endpoints)
			if len(servers) != 1 || endpoints[0].Server != servers[0] || endpoints[1].Server != servers[0] {
				t.Fatalf("got %v of %v, want one server for both", servers, endpoints)
			}
			servers, _ = r.prepare(endpoints) // of another Run
			g, ok := servers[0].(*GracefulServer)
			if !ok {
				t.Fatalf("got a %T", servers[0])
			}
			g.http.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			if counts != 1 {
				t.Errorf("one request counts as %d", counts)
			}
		})
	}
}

// IPv4 beside IPv6, TCP beside a socket: under the race detector, too.
func TestRunServesOneServerOnTwoEndpoints(t *testing.T) {
	for name, server := range map[string]func(*http.Server) Server{
		"http.Server": func(s *http.Server) Server { return s },
		"graceful":    func(s *http.Server) Server { return Graceful(s) },
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Config{AllowEmpty: true})
			s := server(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") })})
			var endpoints []Endpoint
			for range 2 {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				endpoints = append(endpoints, Endpoint{Listener: l, Server: s})
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := start(ctx, r, RunPlan{Endpoints: endpoints, LameDuck: -1, CloseWait: -1})
			for _, e := range endpoints {
				if _, body, _, err := fetch(newClient(t), "http://"+e.Listener.Addr().String()); err != nil || body != "served" {
					t.Errorf("%s: got %q, %v", e.Listener.Addr(), body, err)
				}
			}
			cancel()
			if got := <-done; got.err != nil {
				t.Error(got.err)
			}
		})
	}
}

// A browser connects once more than it needs. Nobody has asked anything there, so that it
// holds up the end by the second in which something may still come, and is no error.
func TestRunDoesNotWaitForSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{AllowEmpty: true})
		data := newMemory()
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, r, RunPlan{
			Budget: 5 * time.Second, LameDuck: -1, CloseWait: -1,
			Endpoints: []Endpoint{{Listener: data, Server: &http.Server{Handler: http.NotFoundHandler()}}},
		})
		silent, err := data.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		synctest.Wait()
		told := time.Now()
		cancel()
		got := <-done
		// http.Server looks every half second whether all are closed.
		if took := time.Since(told); got.err != nil || got.report.Aborted != 0 || took < firstRequest || took > firstRequest+500*time.Millisecond {
			t.Errorf("took %v, got %+v, %v", took, got.report, got.err)
		}
		if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the silent connection: %v, want it closed", err)
		}
	})
}
