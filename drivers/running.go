package drivers

import (
	"context"
	"errors"
	"sync"
)

// Running holds the environments that a driver has deployed and that are not closed yet,
// so that Sweep can end those of a run. The zero value holds none. Its methods may be
// called concurrently.
type Running struct {
	mu   sync.Mutex
	runs map[Env]string // the ID of its run
}

// Add adds an environment of a run.
func (r *Running) Add(e Env, runID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs == nil {
		r.runs = map[Env]string{}
	}
	r.runs[e] = runID
}

// Remove takes out an environment that is closed, if it is in.
func (r *Running) Remove(e Env) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, e)
}

// Len is how many environments there are.
func (r *Running) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.runs)
}

// Close closes the environments of a run without grace, and joins their errors. Each takes
// itself out.
func (r *Running) Close(ctx context.Context, runID string) error {
	r.mu.Lock()
	var found []Env
	for e, run := range r.runs {
		if run == runID {
			found = append(found, e)
		}
	}
	r.mu.Unlock()
	now, end := context.WithCancel(ctx)
	end()
	var errs []error
	for _, e := range found {
		errs = append(errs, e.Close(now))
	}
	return errors.Join(errs...)
}
