package drivertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	subject    = "target"
	dependency = "backend"
	before     = "v1"
	after      = "v2"
)

// look is how often something is asked for again while the suite waits for it.
const look = 10 * time.Millisecond

// NewStack is the stack that the suite works with, for tests of a driver's own: a run of
// its own, two instances of the target behind a health signal, and one dependency. A
// revision of the subject is made bad with the arguments -bad WHAT@REVISION: unready,
// lies, exits, stubborn (ignores SIGTERM), parent (leaves a stubborn process behind),
// child (leaves it to a child to tell the supervisor).
func NewStack(mutate ...func(*drivers.Stack)) drivers.Stack {
	// A program built with the race detector lingers for a second at its end otherwise,
	// and every stop in the suite would take as long.
	env := map[string]string{targetEnv: "1", "GORACE": "atexit_sleep_ms=0"}
	s := drivers.Stack{
		RunID: "conformance-" + strings.ToLower(rand.Text()[:12]),
		Name:  "suite",
		Dependencies: []drivers.Service{{
			Name: dependency, Env: maps.Clone(env), Ports: []string{"data"}, StopGrace: 10 * time.Second,
			Args:   []string{"-data", "${listen.data}", "-instance", "${instance}"},
			Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Interval: look},
		}},
		Subject: drivers.Service{
			Name: subject, Env: env, Ports: []string{"data", "health"}, StopGrace: 10 * time.Second,
			Args: []string{"-data", "${listen.data}", "-health", "${listen.health}", "-instance", "${instance}", "-revision", "${revision}"},
			Signal: drivers.Probe{
				Kind: drivers.ProbeHTTP, Port: "health", Path: "/ready",
				Interval: 25 * time.Millisecond, Timeout: 2 * time.Second, Rise: 1, Fall: 2,
			},
			Notify: true, // it tells the same
			Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Path: "/", Interval: look, Timeout: 2 * time.Second},
		},
		Replicas: 2, Revision: before,
		Rolling: drivers.Rolling{MaxSurge: 1},
	}
	for _, m := range mutate {
		m(&s)
	}
	return s
}

// bad makes a revision of the subject bad; "" means all of them.
func bad(what, revision string) func(*drivers.Stack) {
	return func(s *drivers.Stack) {
		s.Subject.Args = append(slices.Clone(s.Subject.Args), "-bad", what+"@"+revision)
	}
}

func replicas(n int) func(*drivers.Stack) { return func(s *drivers.Stack) { s.Replicas = n } }

// Bench is one deployed stack under test.
type Bench struct {
	testing.TB
	Driver drivers.Driver
	Stack  drivers.Stack
	Env    drivers.Env

	// MayLose: something was done to the source of the events, so some may be missing.
	MayLose bool

	harness Harness
	url     string
	events  *recorded
}

// Deploy deploys a stack until the end of the test, as each case of the suite does and as a
// driver's own tests may. It closes it then, and demands that nothing is left and that the
// events tell a possible story.
func (h Harness) Deploy(t testing.TB, mutate ...func(*drivers.Stack)) *Bench {
	t.Helper()
	b := h.undeployed(t, mutate...)
	b.deploy()
	t.Cleanup(b.tearDown)
	return b
}

// undeployed is a bench on which nothing is deployed yet.
func (h Harness) undeployed(t testing.TB, mutate ...func(*drivers.Stack)) *Bench {
	t.Helper()
	return &Bench{TB: t, harness: h, Driver: h.driver(t), Stack: NewStack(mutate...), events: &recorded{}}
}

// deploy deploys the stack and begins to record its events.
func (b *Bench) deploy() {
	b.Helper()
	b.Must("deploy", func(ctx context.Context) (err error) {
		b.Env, err = b.Driver.Deploy(ctx, b.Stack)
		return err
	})
	b.url, b.events = b.Env.URL(), record(b.Env.Watch())
}

func (b *Bench) tearDown() {
	b.Helper()
	if got := b.Env.URL(); got != b.url {
		b.Errorf("the URL changed from %s to %s", b.url, got)
	}
	b.Must("close", b.Env.Close)
	b.NothingLeft()
	events, ended := b.events.all(b.harness.timeout())
	if !ended {
		b.Errorf("the watch was not closed by Close")
	}
	if b.MayLose {
		events = slices.DeleteFunc(events, func(e drivers.Event) bool { return e.Kind == drivers.Lost })
	}
	if err := possible(events, true); err != nil {
		b.Errorf("%v\n%s", err, story(events))
	}
}

// NothingLeft demands that nothing of the run exists, by the harness's own count.
func (b *Bench) NothingLeft() {
	b.Helper()
	b.Eventually("nothing to be left of the run", func(ctx context.Context) error {
		return b.harness.nothingLeft(ctx, b.Stack.RunID)
	})
}

// Must runs an operation of the driver, which must succeed in time.
func (b *Bench) Must(what string, do func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), b.harness.timeout())
	defer cancel()
	if err := do(ctx); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

func (b *Bench) scale(n int) {
	b.Helper()
	b.Must(fmt.Sprintf("scale to %d", n), func(ctx context.Context) error { return b.Env.Scale(ctx, n) })
}

func (b *Bench) rollout(revision string) {
	b.Helper()
	b.Must("rollout to "+revision, func(ctx context.Context) error { return b.Env.Rollout(ctx, revision) })
}

// operation is one of the driver's that runs in the background.
type operation struct {
	bench  *Bench
	stop   context.CancelFunc
	result chan error
}

func (b *Bench) background(do func(context.Context) error) *operation {
	ctx, stop := context.WithTimeout(context.Background(), b.harness.timeout())
	o := &operation{b, stop, make(chan error, 1)}
	go func() { o.result <- do(ctx) }()
	return o
}

// cancel cancels the operation and returns its error.
func (o *operation) cancel() error {
	o.stop()
	return o.wait()
}

func (o *operation) wait() error {
	defer o.stop()
	select {
	case err := <-o.result:
		return err
	case <-time.After(o.bench.harness.timeout()):
		return errors.New("it went on after its context had ended")
	}
}

// Eventually asks until there is no error any more.
func (b *Bench) Eventually(what string, ask func(context.Context) error) {
	b.Helper()
	if err := b.harness.await(ask); err != nil {
		b.Fatalf("waited in vain for %s: %v\n%s", what, err, story(b.events.soFar()))
	}
}

// Instances lists the subject's instances.
func (b *Bench) Instances() []drivers.Instance {
	b.Helper()
	var out []drivers.Instance
	b.Must("list instances", func(ctx context.Context) (err error) {
		out, err = b.Env.Instances(ctx)
		return err
	})
	return out
}

// expect demands n ready instances of a revision and nothing else, each of which answers
// directly and is reached through the balancer. It returns what each process calls
// itself, by instance.
func (b *Bench) expect(n int, revision string) map[string]string {
	b.Helper()
	list := b.Instances()
	if len(list) != n {
		b.Fatalf("%d instances, want %d: %+v\n%s", len(list), n, list, story(b.events.soFar()))
	}
	boots := map[string]string{}
	for _, i := range list {
		if boot := b.answers(i, revision); boot != "" {
			boots[i.ID] = boot
		}
	}
	if len(boots) != n {
		b.Fatalf("%d instances answer under their own names, want %d", len(boots), n)
	}
	b.reachesAll(boots)
	b.eventsAgree(list)
	return boots
}

// answers demands of one instance that it is ready, and that it and nobody else answers at
// its address. It returns what the process calls itself, "" when nobody answers.
func (b *Bench) answers(i drivers.Instance, revision string) (boot string) {
	b.Helper()
	if i.State != drivers.StateReady || i.Revision != revision {
		b.Errorf("instance %s is %s at revision %s, want ready at %s", i.ID, i.State, i.Revision, revision)
	}
	if ports := b.Stack.Subject.Ports; i.Addr == "" || i.Addr != i.Ports[ports[0]] || len(i.Ports) != len(ports) {
		b.Errorf("instance %s: address %q, ports %v, want the first of %v and all of them", i.ID, i.Addr, i.Ports, ports)
	}
	answer, err := b.get(b.Stack.Subject.Wire.Scheme() + "://" + i.Addr + "/")
	if err != nil {
		b.Errorf("instance %s, asked directly: %v", i.ID, err)
		return ""
	}
	id, rev, boot := parseAnswer(answer)
	if id != i.ID || rev != revision {
		b.Errorf("at the address of instance %s of revision %s answers %q", i.ID, revision, answer)
	}
	return boot
}

// reachesAll demands that requests through the balancer come to reach each of these
// processes, and nobody else.
func (b *Bench) reachesAll(boots map[string]string) {
	b.Helper()
	if len(boots) == 0 {
		return
	}
	missing := maps.Clone(boots)
	b.Eventually("a request to reach every instance through the balancer", func(context.Context) error {
		answer, err := b.get(b.url + "/")
		if err != nil {
			return err
		}
		id, _, boot := parseAnswer(answer)
		if boots[id] != boot {
			b.Fatalf("through the balancer answers %q, which is none of the instances %v", answer, boots)
		}
		delete(missing, id)
		if len(missing) > 0 {
			return fmt.Errorf("not reached: %v", missing)
		}
		return nil
	})
}

// eventsAgree demands that the events come to say what a list of ready instances says.
func (b *Bench) eventsAgree(list []drivers.Instance) {
	b.Helper()
	b.Eventually("the events to agree with the list of instances", func(context.Context) error {
		ready, exist := fold(b.events.soFar())
		if len(exist) != len(list) || len(ready) != len(list) {
			return fmt.Errorf("by the events %v exist and %v are ready, want %d", exist, ready, len(list))
		}
		for _, i := range list {
			if !slices.Contains(ready, i.ID) {
				return fmt.Errorf("by the events %s is not ready", i.ID)
			}
		}
		return nil
	})
}

// get asks for a URL of the subject's, as it is spoken to, on a connection of its own.
func (b *Bench) get(url string) (string, error) {
	w := b.Stack.Subject.Wire
	if w == (drivers.Wire{}) {
		return Get(url)
	}
	return askWith(asks(b, w, false).Client, http.MethodGet, url)
}

// parseAnswer takes an answer of the target apart.
func parseAnswer(s string) (instance, revision, boot string) {
	parts := strings.Split(s, " ")
	if len(parts) != 3 {
		return "", "", ""
	}
	return parts[0], parts[1], parts[2]
}

// statusError is an answer other than 200.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// client makes a connection for each request, so that each is routed anew.
var client = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// Get asks for a URL on a connection of its own. An answer of another status than 200 is an
// error.
func Get(url string) (string, error) { return ask(http.MethodGet, url) }

func ask(method, url string) (string, error) { return askWith(client, method, url) }

func askWith(client *http.Client, method, url string) (string, error) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", &statusError{resp.StatusCode, strings.TrimSpace(string(body))}
	}
	return string(body), nil
}

// Set changes what an instance's signal says (ready) or whether it serves (serving).
func (b *Bench) Set(i drivers.Instance, what string, to bool) {
	b.Helper()
	if _, err := ask(http.MethodPost, fmt.Sprintf("http://%s/set?%s=%t", i.Ports["health"], what, to)); err != nil {
		b.Fatalf("tell %s: %v", i.ID, err)
	}
}

// recorded is a watch, read as fast as it comes.
type recorded struct {
	mu     sync.Mutex
	events []drivers.Event
	done   chan struct{}
}

func record(watch <-chan drivers.Event) *recorded {
	r := &recorded{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for e := range watch {
			r.mu.Lock()
			r.events = append(r.events, e)
			r.mu.Unlock()
		}
	}()
	return r
}

func (r *recorded) soFar() []drivers.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// all waits until the watch is closed.
func (r *recorded) all(timeout time.Duration) (events []drivers.Event, ended bool) {
	select {
	case <-r.done:
		return r.soFar(), true
	case <-time.After(timeout):
		return r.soFar(), false
	}
}

// AwaitEvent waits for the first event of a kind; instance "" means any, revision too.
func (b *Bench) AwaitEvent(kind drivers.EventKind, instance, revision string) drivers.Event {
	b.Helper()
	return b.Events().Await(fmt.Sprintf("event %s of instance %q, revision %q", kind, instance, revision), func(e drivers.Event) bool {
		return e.Kind == kind && (instance == "" || e.Instance == instance) && (revision == "" || e.Revision == revision)
	})
}

// AwaitNth waits for the nth event of a kind of one instance, from 1.
func (b *Bench) AwaitNth(nth int, kind drivers.EventKind, instance string) drivers.Event {
	b.Helper()
	return b.Events().Await(fmt.Sprintf("event %s of %s, number %d", kind, instance, nth), func(e drivers.Event) bool {
		if e.Kind == kind && e.Instance == instance {
			nth--
		}
		return nth == 0
	})
}

// Events reads the events of the stack from the first one on.
func (b *Bench) Events() *Events { return &Events{bench: b} }

// Events are read one after the other.
type Events struct {
	bench *Bench
	read  int
}

// Await reads on to the first event that is as wanted, and waits for it.
func (r *Events) Await(what string, is func(drivers.Event) bool) drivers.Event {
	r.bench.Helper()
	var found drivers.Event
	r.bench.Eventually(what, func(context.Context) error {
		for _, e := range r.bench.events.soFar()[r.read:] {
			r.read++
			if is(e) {
				found = e
				return nil
			}
		}
		return errors.New("not among the events")
	})
	return found
}

// Recorded are the events so far.
func (b *Bench) Recorded() []drivers.Event { return b.events.soFar() }
