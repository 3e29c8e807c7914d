package fault

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy"
)

// injectRevision waits for the first instance of the revision after: it misbehaves from its
// start, by what the stack says of it. That it does is seen in the status with which such
// instances end, in what they answer, and in what they ask for.
func injectRevision(ctx context.Context, f scenarios.Fault, into Target) (drivers.Injection, error) {
	w := &watched{after: into.After, lives: map[string]*life{}, first: make(chan struct{})}
	events := into.Env.Watch()
	go func() { // it ends when the environment is closed
		for e := range events {
			w.hear(e)
		}
	}()
	select {
	case <-w.first:
	case <-ctx.Done():
		return nil, fmt.Errorf("no instance of revision %s: %w", into.After, context.Cause(ctx))
	}
	proof := map[string]func(context.Context) (string, bool, error){
		scenarios.NeverReady:      func(ctx context.Context) (string, bool, error) { return w.neverReady(ctx, into) },
		scenarios.CrashAtStart:    func(context.Context) (string, bool, error) { return w.crashed(false) },
		scenarios.CrashAfterReady: func(context.Context) (string, bool, error) { return w.crashed(true) },
		scenarios.WrongAnswers:    func(ctx context.Context) (string, bool, error) { return w.wrong(ctx, into) },
	}[f.Mode]
	return done{proof: proof}, nil
}

// watched is what the runtime says of the instances of one revision.
type watched struct {
	after string
	first chan struct{} // closed when there is one

	mu    sync.Mutex
	lives map[string]*life // the present ones, by instance
	ends  []life           // of those that ended unasked
}

// life is what is known of an instance since it was started, for the first time or again.
type life struct {
	instance string
	ready    bool // it was, at some time
	asked    bool // to stop
	why      string
}

func (w *watched) hear(e drivers.Event) {
	if e.Revision != w.after {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lives[e.Instance]
	if l == nil && e.Kind != drivers.Started {
		return
	}
	switch e.Kind {
	case drivers.Started:
		if len(w.lives)+len(w.ends) == 0 {
			close(w.first)
		}
		if l != nil { // some runtimes say nothing of an end but that it runs again
			w.end(l, e.Detail)
		}
		w.lives[e.Instance] = &life{instance: e.Instance}
	case drivers.Ready:
		l.ready = true
	case drivers.Terminating:
		l.asked = true
	case drivers.Gone:
		w.end(l, e.Detail)
	}
}

// end takes a life away. The caller holds the lock.
func (w *watched) end(l *life, why string) {
	delete(w.lives, l.instance)
	if l.why = why; !l.asked {
		w.ends = append(w.ends, *l)
	}
}

// crashed says whether one has ended with the status of a crash that it was told to have;
// afterReady, whether one has that was ready. Where a running instance is a ready one nothing ends
// before it is. One that was killed, or could not be started, has another status or none.
func (w *watched) crashed(afterReady bool) (string, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	others := ""
	for _, l := range slices.Backward(w.ends) {
		when := map[bool]string{true: "after it was ready", false: "before it was ready"}[l.ready]
		seen := fmt.Sprintf("%s ended by itself %s: %s", l.instance, when, l.why)
		if status, ok := drivers.ExitStatus(l.why); ok && status == refproxy.ExitCrash && (l.ready || !afterReady) {
			return seen, true, nil
		}
		others = "; the first: " + seen
	}
	return fmt.Sprintf("%d instances of %s run, and %d have ended by themselves, none of them by the crash that it was told to have%s", len(w.lives), w.after, len(w.ends), others), false, nil
}

// instances are those of the revision that can be asked.
func (w *watched) instances(ctx context.Context, env drivers.Env) ([]drivers.Instance, error) {
	all, err := env.Instances(ctx)
	return slices.DeleteFunc(all, func(i drivers.Instance) bool {
		return i.Revision != w.after || i.Addr == "" || i.State == drivers.StateTerminating
	}), err
}

// neverReady: it follows the configuration, which comes at once, and asks for no sessions; so it
// serves nothing.
func (w *watched) neverReady(ctx context.Context, into Target) (string, bool, error) {
	there, err := w.instances(ctx, into.Env)
	if err != nil {
		return "", false, err
	}
	plane, err := statusOf(ctx, into)
	if err != nil {
		return "", false, err
	}
	for _, i := range there {
		follows := map[string]bool{}
		for _, s := range plane.Subscribers {
			if s.Instance == i.ID {
				follows[s.Stream] = true
			}
		}
		a, _ := (&asked{addr: i.Addr, serves: into.Stack.Subject.Serves}).request(ctx, soon)
		if follows["config"] && !follows["sessions"] && a.status == http.StatusServiceUnavailable {
			return fmt.Sprintf("%s answers %s, and asks the control plane for no sessions", i.ID, a.says()), true, nil
		}
	}
	return fmt.Sprintf("%d instances of %s, none of which lacks its sessions for good", len(there), w.after), false, nil
}

// wrong: it answers with 200 and something else than the upstream says.
func (w *watched) wrong(ctx context.Context, into Target) (string, bool, error) {
	there, err := w.instances(ctx, into.Env)
	if err != nil {
		return "", false, err
	}
	serves := into.Stack.Subject.Serves
	for _, i := range there {
		a, _ := (&asked{addr: i.Addr, serves: serves}).request(ctx, soon)
		if a.err == nil && a.status == http.StatusOK && serves.Body != "" && string(a.body) != serves.Body {
			return fmt.Sprintf("%s answers 200 and %q, and not %q", i.ID, a.body, serves.Body), true, nil
		}
	}
	return fmt.Sprintf("%d instances of %s, none of which answers wrongly", len(there), w.after), false, nil
}
