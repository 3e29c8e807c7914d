package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// HealthPrefix is where the data port of a proxy with faults allowed answers what its health port
// does: /readyz is at HealthPrefix + "readyz". So somebody who reaches that port alone can see
// what those who ask for its health see. Neither faults of the data plane nor the policy apply.
const HealthPrefix = "/.health/"

// What the faults are like.
const (
	// SlowCheck is how long an answer about the health takes: longer than anybody waits for one.
	SlowCheck = 3 * time.Second
	// FlapEvery is how long a proxy that flaps is unready, and then ready, and so on.
	FlapEvery = time.Second
)

// faults are what a proxy does wrong because the control plane says so. It is told only if it
// was started with faults allowed; otherwise there are none, and a nil *faults never has one.
type faults struct {
	life string // names this process

	mu       sync.Mutex
	on       []feed.Fault
	released chan struct{} // closed when the deadlock ends, nil without one
	flapping time.Time     // since when, zero without
}

func newFaults() *faults { return &faults{life: rand.Text()} }

// set puts the faults into effect that are to be on.
func (f *faults) set(on []feed.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = on
	if locked := slices.Contains(on, feed.Deadlock); locked != (f.released != nil) {
		if locked {
			f.released = make(chan struct{})
		} else {
			close(f.released)
			f.released = nil
		}
	}
	if flap := slices.Contains(on, feed.Flap); flap != !f.flapping.IsZero() {
		f.flapping = time.Time{}
		if flap {
			f.flapping = time.Now()
		}
	}
}

// has says whether a fault is on.
func (f *faults) has(fault feed.Fault) bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.on, fault)
}

// pass returns once nothing is deadlocked, or with an error when ctx ends before.
func (f *faults) pass(ctx context.Context) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	released := f.released
	f.mu.Unlock()
	if released == nil {
		return nil
	}
	select {
	case <-released:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// down says whether a proxy that flaps is unready now. It begins with that.
func (f *faults) down() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.flapping.IsZero() && time.Since(f.flapping)/FlapEvery%2 == 0
}

// spoil is the health port with what is wrong with it.
func (f *faults) spoil(probes http.Handler) http.Handler {
	if f == nil {
		return probes
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.has(feed.SlowCheck) {
			timer := time.NewTimer(SlowCheck)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		if r.URL.Path == "/readyz" && f.down() {
			http.Error(w, "flapping, as it was told to", http.StatusServiceUnavailable)
			return
		}
		probes.ServeHTTP(w, r)
	})
}

// intercept answers what is not the data plane's business while something is wrong with it, and
// says whether it has.
func (f *faults) intercept(w http.ResponseWriter, r *http.Request, probes http.Handler) bool {
	if f == nil {
		return false
	}
	if path, ok := strings.CutPrefix(r.URL.Path, HealthPrefix); ok {
		asked := r.Clone(r.Context())
		asked.URL.Path = "/" + path
		probes.ServeHTTP(w, asked)
		return true
	}
	if f.pass(r.Context()) != nil {
		panic(http.ErrAbortHandler) // the client has given up, or the connection was cut
	}
	if f.has(feed.DataDead) {
		refuse(w, refusal{http.StatusServiceUnavailable, "proxy: its data plane is dead, as it was told to be"})
		return true
	}
	return false
}

// tell has a registry say what flaps, for those who hear of it and do not ask.
func (f *faults) tell(ctx context.Context, registry *healthkit.Registry) error {
	component, err := registry.Register("fault", healthkit.Options{})
	if err != nil {
		return err
	}
	component.Ready()
	ticker := time.NewTicker(workEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if f.down() {
			component.Failed(errors.New("flapping, as it was told to"))
		} else {
			component.Ready()
		}
	}
}

// from is where the stream goes on: it is of this process.
func (f *faults) from() feed.Position { return feed.Position{Epoch: f.life} }

// followFaults does what the control plane says, and tells it once it is in effect, until ctx ends.
func (p *Proxy) followFaults(ctx context.Context) {
	follower := feed.Follower{
		Client: p.control, Base: p.options.Control, Path: feed.FaultsPath, Instance: p.options.Instance,
		Silence: 2 * p.options.StaleAfter, From: p.faults.from,
		Message: func(m feed.Message) error {
			if m.Kind != feed.Faults {
				return nil
			}
			p.faults.set(m.Faults)
			p.log.Warn("doing wrong what it is told to", "faults", m.Faults)
			return p.acknowledge(ctx, m.Version)
		},
		Broken: func(err error, wait time.Duration) {
			p.log.Warn("stream broken", "subsystem", "faults", "err", err, "retry", wait)
		},
	}
	follower.Follow(ctx)
}

// acknowledge tells the control plane that a version of the faults is in effect.
func (p *Proxy) acknowledge(ctx context.Context, version uint64) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	address, err := url.JoinPath(p.options.Control, feed.FaultsPath)
	if err != nil {
		return err
	}
	query := feed.Query(p.options.Instance, feed.Position{Epoch: p.faults.life, Version: version}).Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"?"+query, nil)
	if err != nil {
		return err
	}
	resp, err := p.control.Do(req)
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	if resp.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("acknowledge: control plane answers %s", resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}
