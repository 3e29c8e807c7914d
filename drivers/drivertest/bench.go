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

// bench is one deployed stack under test.
type bench struct {
	testing.TB
	harness Harness
	driver  drivers.Driver
	stack   drivers.Stack
	env     drivers.Env
	url     string
	events  *recorded
}

// deploy deploys a stack for one case. When the case is over it closes it, and then
// demands that nothing is left and that the events tell a possible story.
func deploy(t testing.TB, h Harness, mutate ...func(*drivers.Stack)) *bench {
	t.Helper()
	b := &bench{TB: t, harness: h, driver: h.Driver(t), stack: NewStack(mutate...)}
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout())
	defer cancel()
	env, err := b.driver.Deploy(ctx, b.stack)
	if err != nil {
		t.Fatalf("deploy: %v", err)
	}
	b.env, b.url = env, env.URL()
	b.events = record(env.Watch())
	t.Cleanup(b.tearDown)
	return b
}

func (b *bench) tearDown() {
	b.Helper()
	if got := b.env.URL(); got != b.url {
		b.Errorf("the URL changed from %s to %s", b.url, got)
	}
	b.must("close", b.env.Close)
	b.nothingLeft()
	events, ended := b.events.all(b.harness.timeout())
	if !ended {
		b.Errorf("the watch was not closed by Close")
	}
	if err := possible(events, true); err != nil {
		b.Errorf("%v\n%s", err, story(events))
	}
}

// nothingLeft demands that nothing of the run exists, by the harness's own count.
func (b *bench) nothingLeft() {
	b.Helper()
	b.eventually("nothing to be left of the run", func(ctx context.Context) error {
		left, err := b.harness.Left(ctx, b.stack.RunID)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left: %s", strings.Join(left, "; "))
		}
		return err
	})
}

// must runs an operation of the driver, which must succeed in time.
func (b *bench) must(what string, do func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), b.harness.timeout())
	defer cancel()
	if err := do(ctx); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

func (b *bench) scale(n int) {
	b.Helper()
	b.must(fmt.Sprintf("scale to %d", n), func(ctx context.Context) error { return b.env.Scale(ctx, n) })
}

func (b *bench) rollout(revision string) {
	b.Helper()
	b.must("rollout to "+revision, func(ctx context.Context) error { return b.env.Rollout(ctx, revision) })
}

// operation is one of the driver's that runs in the background.
type operation struct {
	bench  *bench
	stop   context.CancelFunc
	result chan error
}

func (b *bench) background(do func(context.Context) error) *operation {
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

// eventually asks until there is no error any more.
func (b *bench) eventually(what string, ask func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), b.harness.timeout())
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			b.Fatalf("waited in vain for %s: %v\n%s", what, err, story(b.events.soFar()))
		}
	}
}

// instances lists the subject's instances.
func (b *bench) instances() []drivers.Instance {
	b.Helper()
	var out []drivers.Instance
	b.must("list instances", func(ctx context.Context) (err error) {
		out, err = b.env.Instances(ctx)
		return err
	})
	return out
}

// expect demands n ready instances of a revision and nothing else, each of which answers
// directly and is reached through the balancer. It returns what each process calls
// itself, by instance.
func (b *bench) expect(n int, revision string) map[string]string {
	b.Helper()
	list := b.instances()
	if len(list) != n {
		b.Fatalf("%d instances, want %d: %+v\n%s", len(list), n, list, story(b.events.soFar()))
	}
	boots := map[string]string{}
	for _, i := range list {
		if i.State != drivers.StateReady || i.Revision != revision {
			b.Errorf("instance %s is %s at revision %s, want ready at %s", i.ID, i.State, i.Revision, revision)
		}
		if i.Addr == "" || i.Addr != i.Ports[b.stack.Subject.Ports[0]] || len(i.Ports) != len(b.stack.Subject.Ports) {
			b.Errorf("instance %s: address %q, ports %v, want the first of %v and all of them", i.ID, i.Addr, i.Ports, b.stack.Subject.Ports)
		}
		answer, err := b.get("http://" + i.Addr + "/")
		if err != nil {
			b.Errorf("instance %s, asked directly: %v", i.ID, err)
			continue
		}
		id, rev, boot := parseAnswer(answer)
		if id != i.ID || rev != revision {
			b.Errorf("at the address of instance %s of revision %s answers %q", i.ID, revision, answer)
		}
		boots[i.ID] = boot
	}
	if len(boots) != n {
		b.Fatalf("%d instances answer under their own names, want %d", len(boots), n)
	}
	missing := map[string]bool{}
	for id := range boots {
		missing[id] = true
	}
	if n > 0 {
		b.eventually("a request to reach every instance through the balancer", func(context.Context) error {
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
	// The events must come to say the same as the list.
	b.eventually("the events to agree with the list of instances", func(context.Context) error {
		events := b.events.soFar()
		ready, exist := fold(events)
		if len(exist) != n || len(ready) != n {
			return fmt.Errorf("by the events %v exist and %v are ready, want %d", exist, ready, n)
		}
		for _, i := range list {
			if !slices.Contains(ready, i.ID) {
				return fmt.Errorf("by the events %s is not ready", i.ID)
			}
		}
		return nil
	})
	return boots
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

func (b *bench) get(url string) (string, error) { return ask(http.MethodGet, url) }

func ask(method, url string) (string, error) {
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

// set changes what an instance's signal says (ready) or whether it serves (serving).
func (b *bench) set(i drivers.Instance, what string, to bool) {
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

// awaitEvent waits for an event; instance "" means any, revision too.
func (b *bench) awaitEvent(kind drivers.EventKind, instance, revision string) drivers.Event {
	b.Helper()
	var found drivers.Event
	b.eventually(fmt.Sprintf("event %s of instance %q, revision %q", kind, instance, revision), func(context.Context) error {
		for _, e := range b.events.soFar() {
			if e.Kind == kind && (instance == "" || e.Instance == instance) && (revision == "" || e.Revision == revision) {
				found = e
				return nil
			}
		}
		return errors.New("not among the events")
	})
	return found
}

// fold is what the events amount to: who exists and who of them is ready.
func fold(events []drivers.Event) (ready, exist []string) {
	for _, e := range events {
		remove := func(list []string) []string {
			return slices.DeleteFunc(list, func(id string) bool { return id == e.Instance })
		}
		switch e.Kind {
		case drivers.Started:
			if !slices.Contains(exist, e.Instance) {
				exist = append(exist, e.Instance)
			}
		case drivers.Ready:
			ready = append(remove(ready), e.Instance)
		case drivers.Unready:
			ready = remove(ready)
		case drivers.Gone:
			ready, exist = remove(ready), remove(exist)
		}
	}
	return ready, exist
}

// possible checks that events tell a story that can have happened, and one that has come
// to its end if ended is set.
func possible(events []drivers.Event, ended bool) error {
	type life struct {
		revision                string
		ready, terminates, gone bool
	}
	lives := map[string]*life{}
	for n, e := range events {
		wrong := func(what string) error {
			return fmt.Errorf("event %d (%s of %s): %s", n, e.Kind, e.Instance, what)
		}
		if e.At.IsZero() {
			return wrong("no time")
		}
		if n > 0 && e.At.Before(events[n-1].At) {
			return wrong("before its predecessor")
		}
		if e.Kind == drivers.Lost {
			return wrong("the driver lost events, though nothing was done to its source")
		}
		l := lives[e.Instance]
		if l == nil {
			if e.Kind != drivers.Started {
				return wrong("the instance was never started")
			}
			l = &life{revision: e.Revision}
			lives[e.Instance] = l
		}
		switch {
		case e.Instance == "" || e.Revision == "":
			return wrong("it names no instance or no revision")
		case e.Revision != l.revision:
			return wrong("the instance was of revision " + l.revision)
		case l.gone:
			return wrong("the instance was gone")
		}
		switch e.Kind {
		case drivers.Started:
			if e.Addr == "" {
				return wrong("no address")
			}
		case drivers.Ready:
			if l.ready {
				return wrong("it was ready")
			}
			l.ready = true
		case drivers.Unready:
			if !l.ready {
				return wrong("it was not ready")
			}
			l.ready = false
		case drivers.Terminating:
			if l.terminates {
				return wrong("it was terminating")
			}
			l.terminates = true
		case drivers.Gone:
			l.gone = true
		default:
			return wrong("unknown kind")
		}
	}
	for id, l := range lives {
		if ended && !l.gone {
			return fmt.Errorf("instance %s is not gone at the end", id)
		}
	}
	return nil
}

// story prints events for people.
func story(events []drivers.Event) string {
	var out strings.Builder
	for _, e := range events {
		fmt.Fprintf(&out, "  %8.3fs %-11s %s %s %s\n", e.At.Sub(events[0].At).Seconds(), e.Kind, e.Instance, e.Revision, e.Detail)
	}
	return "events:\n" + out.String()
}
