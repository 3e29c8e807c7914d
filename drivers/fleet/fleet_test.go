package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// servers is a runtime whose instances are servers of this process.
type servers struct {
	mu      sync.Mutex
	running map[*Instance]*httptest.Server

	onCreate func(i *Instance) error       // before it starts
	late     func(i *Instance) error       // after it was reported as started
	onStop   func(i *Instance) (hold bool) // true: it goes when End is called
	most     int                           // instances of the subject that ran at a time
	restarts []string                      // in place
}

func newServers() *servers { return &servers{running: map[*Instance]*httptest.Server{}} }

func (s *servers) Create(_ context.Context, i *Instance) error {
	if s.onCreate != nil {
		if err := s.onCreate(i); err != nil {
			return err
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.mu.Lock()
	s.running[i] = server
	subjects := 0
	for other := range s.running {
		if other.Subject {
			subjects++
		}
	}
	s.most = max(s.most, subjects)
	s.mu.Unlock()
	i.SetAddrs(map[string]string{i.Service.Ports[0]: server.Listener.Addr().String()}, nil)
	i.Started("server")
	if s.late != nil {
		if err := s.late(i); err != nil {
			s.take(i).Close()
			return err
		}
	}
	i.SetReady(true, "says so")
	return nil
}

func (s *servers) take(i *Instance) *httptest.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	server := s.running[i]
	delete(s.running, i)
	return server
}

func (s *servers) Stop(_ context.Context, i *Instance) error {
	if s.onStop != nil && s.onStop(i) {
		return nil
	}
	s.End(i)
	return nil
}

func (s *servers) End(i *Instance) {
	if server := s.take(i); server != nil {
		server.Close()
		i.SetReady(false, "ended")
		i.Exited("status 0", "")
		i.Gone("removed")
	}
}

func (s *servers) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running)
}

// restarting is a runtime that also restarts in place.
type restarting struct{ *servers }

func (r restarting) Restart(_ context.Context, i *Instance) error {
	r.mu.Lock()
	r.restarts = append(r.restarts, i.ID)
	r.mu.Unlock()
	i.SetReady(false, "restarts")
	i.Exited("status 0", "")
	i.Started("server")
	i.SetReady(true, "says so")
	return nil
}

func stack(mutate ...func(*drivers.Stack)) drivers.Stack {
	s := drivers.Stack{
		RunID: "r", Name: "s",
		Dependencies: []drivers.Service{{Name: "backend", Ports: []string{"data"}}},
		Subject:      drivers.Service{Name: "web", Ports: []string{"data"}, Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data"}},
		Replicas:     2, Revision: "v1", Rolling: drivers.Rolling{MaxSurge: 1},
	}
	for _, m := range mutate {
		m(&s)
	}
	return s
}

func environment(t *testing.T, r Runtime, mutate ...func(*drivers.Stack)) *Environment {
	t.Helper()
	e, err := New(Config{Stack: stack(mutate...), Runtime: r})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func deploy(t *testing.T, r Runtime, mutate ...func(*drivers.Stack)) *Environment {
	t.Helper()
	e := environment(t, r, mutate...)
	if err := e.Deploy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

// kinds lists the events of the subject so far as "kind instance".
func kinds(t *testing.T, e *Environment) []string {
	t.Helper()
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	var out []string
	for event := range e.Watch() {
		out = append(out, string(event.Kind)+" "+event.Instance)
	}
	return out
}

func TestARestartInPlaceKeepsTheBounds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mutate func(*drivers.Stack)
		want   []string
		most   int
	}{
		{"none may be unavailable", func(*drivers.Stack) {}, []string{"web-1", "web-2"}, 3},
		{"one may be", func(s *drivers.Stack) { s.Rolling = drivers.Rolling{MaxUnavailable: 1} }, []string{"web-1", "web-2"}, 2},
		{"the address stays open", func(s *drivers.Stack) { s.Subject.Socket = true }, []string{"web-1", "web-2"}, 2},
		{"nothing there", func(s *drivers.Stack) { s.Replicas = 0 }, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServers()
			e := deploy(t, restarting{s}, tt.mutate)
			if err := e.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			list, err := e.Instances(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != e.stack.Replicas {
				t.Errorf("%d instances after the restart, want %d", len(list), e.stack.Replicas)
			}
			if !slices.Equal(s.restarts, tt.want) {
				t.Errorf("restarted %v, want %v", s.restarts, tt.want)
			}
			if s.most != tt.most {
				t.Errorf("at most %d instances at a time, want %d", s.most, tt.most)
			}
		})
	}
}

func TestARestartThatTheBalancerIsToldOf(t *testing.T) {
	e := deploy(t, restarting{newServers()}, func(s *drivers.Stack) {
		s.Replicas, s.Balancer.DeregisterFirst, s.Rolling = 1, true, drivers.Rolling{MaxUnavailable: 1}
	})
	if err := e.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"started web-1", "ready web-1", "unready web-1", "started web-1", "ready web-1", "terminating web-1", "unready web-1", "gone web-1"}
	if got := kinds(t, e); !slices.Equal(got, want) {
		t.Errorf("events\n%v, want\n%v", got, want)
	}
}

// A wait before the stop is one in which nothing is routed to the instance and it runs: that is
// what a preStop hook of Kubernetes is good for.
func TestTheLabWaitsBeforeAStop(t *testing.T) {
	const wait = 300 * time.Millisecond
	s := newServers()
	asked := make(chan time.Time, 9)
	s.onStop = func(i *Instance) bool {
		if i.Subject {
			asked <- time.Now()
		}
		return false
	}
	e := deploy(t, s, func(s *drivers.Stack) { s.Subject.PreStop = wait })
	began := time.Now()
	if err := e.Scale(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if took := (<-asked).Sub(began); took < wait {
		t.Errorf("it was asked to stop after %v, want %v at least", took, wait)
	}
	began = time.Now()
	got := kinds(t, e)
	want := []string{"terminating", "unready", "gone"}
	var last []string
	stopped := ""
	for _, event := range got {
		kind, id, _ := strings.Cut(event, " ")
		if kind == "terminating" && stopped == "" {
			stopped = id
		}
		if id == stopped {
			last = append(last, kind)
		}
	}
	if !slices.Equal(last, want) {
		t.Errorf("of the one that stopped %v, want %v: out of the balancer before it is asked", last, want)
	}
	if took := time.Since(began); took > wait {
		t.Errorf("to close took %v: nobody gains by waiting then", took)
	}
}

// An instance that ends while its stop is waited for is not waited for any longer, and one whose
// environment is closed meanwhile neither.
func TestAWaitBeforeAStopIsCutShort(t *testing.T) {
	s := newServers()
	e := deploy(t, s, func(s *drivers.Stack) { s.Subject.PreStop = time.Hour })
	e.mu.Lock()
	i := e.instances[1]
	e.mu.Unlock()
	scaled := make(chan error, 1)
	go func() { scaled <- e.Scale(t.Context(), 1) }()
	for !i.Stopping() {
		runtime.Gosched()
	}
	select {
	case <-i.StopAsked():
		t.Error("it was asked to stop at once")
	default:
	}
	i.Exited("status 1", "")
	<-i.StopAsked()
	if err := <-scaled; err != nil {
		t.Error(err)
	}
	go func() { scaled <- e.Scale(t.Context(), 0) }()
	e.mu.Lock()
	i = e.instances[0]
	e.mu.Unlock()
	for !i.Stopping() {
		runtime.Gosched()
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-scaled
	if n := s.left(); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

func TestARestartInPlaceWaitsAsWell(t *testing.T) {
	const wait = 200 * time.Millisecond
	e := deploy(t, restarting{newServers()}, func(s *drivers.Stack) {
		s.Replicas, s.Subject.PreStop, s.Rolling = 1, wait, drivers.Rolling{MaxUnavailable: 1}
	})
	began := time.Now()
	if err := e.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < wait {
		t.Errorf("the restart took %v, want %v at least", took, wait)
	}
	want := []string{"started web-1", "ready web-1", "unready web-1", "started web-1", "ready web-1", "terminating web-1", "unready web-1", "gone web-1"}
	if got := kinds(t, e); !slices.Equal(got, want) {
		t.Errorf("events\n%v, want\n%v", got, want)
	}
}

// A runtime may say that an instance is gone and nothing else before: nothing routes to it
// from then on.
func TestWhatIsGoneIsNotRoutedTo(t *testing.T) {
	s := newServers()
	e := deploy(t, s)
	e.mu.Lock()
	i := e.instances[0]
	e.mu.Unlock()
	if !i.Routed() {
		t.Fatal("it is not routed to after the deployment")
	}
	s.take(i).Close()
	i.Gone("removed by somebody else")
	if i.Routed() {
		t.Error("it is gone and routed to")
	}
	if got := kinds(t, e); slices.Index(got, "unready "+i.ID) > slices.Index(got, "gone "+i.ID) || !slices.Contains(got, "unready "+i.ID) {
		t.Errorf("events %q, want it unready before it is gone", got)
	}
}

// Once the balancer was told of a stop, no check that still succeeds brings the instance back.
func TestWhatTheBalancerWasToldOfStaysOut(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprint("told ", told), func(t *testing.T) {
			s := newServers()
			var e *Environment
			again := make(map[bool]int) // how many of those that stop were routed to again
			s.onStop = func(i *Instance) bool {
				if e != nil && e.life.Err() == nil {
					i.SetReady(false, "one check failed")
					i.SetReady(true, "the next did not")
					again[i.Routed()]++
				}
				return false
			}
			e = deploy(t, s, func(s *drivers.Stack) { s.Balancer.DeregisterFirst = told })
			if err := e.Scale(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if again[!told] != 1 || again[told] != 0 {
				t.Errorf("routed to again: %d, not again: %d; want it again only where nobody was told", again[true], again[false])
			}
		})
	}
}

func TestAnInstanceThatWasStartedButCannotBeCreatedIsGone(t *testing.T) {
	s := newServers()
	s.late = func(i *Instance) error {
		if i.Revision == "v2" {
			return errors.New("lost it again")
		}
		return nil
	}
	e := deploy(t, s)
	if err := e.Rollout(t.Context(), "v2"); err == nil || !strings.Contains(err.Error(), "lost it again") {
		t.Errorf("got %v, want the error of the runtime", err)
	}
	if got := kinds(t, e); !slices.Contains(got, "gone web-3") {
		t.Errorf("web-3 was started, but never gone: %v", got)
	}
}

func TestADeploymentThatFailsLeavesNothing(t *testing.T) {
	s := newServers()
	s.onCreate = func(i *Instance) error {
		if i.ID == "web-2" {
			return errors.New("no room")
		}
		return nil
	}
	cleaned := 0
	e, err := New(Config{Stack: stack(), Runtime: s, Clean: func(context.Context) error { cleaned++; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Deploy(t.Context()); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v, want the error of the runtime", err)
	}
	if s.left() != 0 || cleaned != 1 {
		t.Errorf("%d servers left and cleaned %d times, want none and once", s.left(), cleaned)
	}
}

func TestCloseWaitsForWhatIsBeingCreated(t *testing.T) {
	s := newServers()
	creating, goOn := make(chan struct{}), make(chan struct{})
	s.onCreate = func(i *Instance) error {
		if i.Revision == "v2" {
			close(creating)
			<-goOn
		}
		return nil
	}
	e := deploy(t, s)
	change := make(chan error, 1)
	go func() { change <- e.Rollout(context.Background(), "v2") }()
	<-creating
	closed := make(chan error, 1)
	go func() { closed <- e.Close(context.Background()) }()
	<-e.Closing()
	select {
	case err := <-closed:
		t.Fatalf("closed (%v) while an instance was being created", err)
	default:
	}
	close(goOn)
	if err := <-change; !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("the change got %v, want ErrClosed", err)
	}
	if err := <-closed; err != nil || s.left() != 0 {
		t.Errorf("close: %v, %d servers left", err, s.left())
	}
}

func TestACloseWhoseContextEndsTakesTheGrace(t *testing.T) {
	s := newServers()
	held := make(chan struct{}, 2)
	s.onStop = func(i *Instance) bool {
		if i.Subject {
			held <- struct{}{}
		}
		return i.Subject
	}
	e := deploy(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	closed := make(chan error, 1)
	go func() { closed <- e.Close(ctx) }()
	<-held
	<-held
	cancel()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("instances keep their grace after the context has ended")
	}
	if s.left() != 0 {
		t.Errorf("%d servers left", s.left())
	}
}

// cutShort begins a rollout to v2 and cancels it once an instance of that has started.
func cutShort(t *testing.T, e *Environment) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	change := make(chan error, 1)
	go func() { change <- e.Rollout(ctx, "v2") }()
	for event := range e.Watch() {
		if event.Kind == drivers.Started && event.Revision == "v2" {
			break
		}
	}
	cancel()
	return <-change
}

func TestAnErrorCarriesTheLastOutput(t *testing.T) {
	s := newServers()
	var created *Instance
	s.late = func(i *Instance) error {
		if i.Revision == "v2" {
			i.Output(func() string { return "cannot reach the database" })
			i.Answer("503 not ready")
			created = i
		}
		return nil
	}
	e := deploy(t, unready{s})
	err := cutShort(t, e)
	if err == nil || !strings.Contains(err.Error(), "cannot reach the database") || !strings.Contains(err.Error(), "503 not ready") {
		t.Errorf("got %v, want the last answer and the last output of %s", err, created.ID)
	}
}

// unready is a runtime that never calls an instance of revision v2 ready.
type unready struct{ *servers }

func (u unready) Create(ctx context.Context, i *Instance) error {
	if i.Revision != "v2" {
		return u.servers.Create(ctx, i)
	}
	return u.create(i)
}

// create starts an instance and says nothing of its readiness.
func (u unready) create(i *Instance) error {
	if u.onCreate != nil {
		if err := u.onCreate(i); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Second,
	}}
	server.Start()
	u.mu.Lock()
	u.running[i] = server
	u.mu.Unlock()
	i.SetAddrs(map[string]string{i.Service.Ports[0]: l.Addr().String()}, nil)
	if u.late != nil {
		if err := u.late(i); err != nil {
			return err
		}
	}
	i.Started("server")
	return nil
}

func TestOtherPoliciesAreRefused(t *testing.T) {
	if _, err := New(Config{Stack: stack(func(s *drivers.Stack) { s.Balancer.Policy = "dice" }), Runtime: newServers()}); err == nil || !strings.Contains(err.Error(), "dice") {
		t.Errorf("got %v, want the unknown policy named", err)
	}
}
