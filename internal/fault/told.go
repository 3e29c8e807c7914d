package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/proxy"
)

// What an instance that is asked directly may take.
const (
	soon   = 500 * time.Millisecond
	longer = 1200 * time.Millisecond // more than a second, which probes wait
)

// injectTold has one instance of the reference proxy do something wrong, by way of its control
// plane. Whether it does is asked of the instance itself.
func injectTold(ctx context.Context, f scenarios.Fault, into Target) (drivers.Injection, error) {
	q := url.Values{"kind": {string(f.Kind)}, "instance": {into.Instance.ID}}
	heal := func(ctx context.Context) error {
		return post(ctx, into, target.ControlName, "/v1/fault?on=false&"+q.Encode())
	}
	if err := post(ctx, into, target.ControlName, "/v1/fault?"+q.Encode()); err != nil {
		return nil, fmt.Errorf("%w (taken back: %w)", err, heal(context.WithoutCancel(ctx)))
	}
	i := &asked{addr: into.Instance.Addr, serves: into.Stack.Subject.Serves}
	look := map[scenarios.FaultKind]func(context.Context) (string, bool){
		scenarios.SlowCheck: i.slowCheck, scenarios.Deadlock: i.deadlock, scenarios.DataDead: i.dataDead, scenarios.Flap: i.flap,
	}[f.Kind]
	return done{func(ctx context.Context) (string, bool, error) {
		seen, sees := look(ctx)
		plane, err := statusOf(ctx, into)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return "", false, err
		}
		return agree(slices.Contains(plane.Faults[into.Instance.ID], feed.Fault(f.Kind)), sees, seen)
	}, heal}, nil
}

// statusOf is what the control plane says of itself.
func statusOf(ctx context.Context, into Target) (s control.Status, err error) {
	err = operate(ctx, into, target.ControlName, http.MethodGet, "/v1/status", &s)
	return s, err
}

// asked is an instance that is asked whether it does what it was told.
type asked struct {
	addr   string
	serves drivers.Probe

	mu         sync.Mutex
	well, down time.Time // when its readiness was last seen to be so
}

// health asks it for its health as those do who go by it.
func (i *asked) health(ctx context.Context, limit time.Duration) (got, bool) {
	return within(ctx, limit, http.MethodGet, "http://"+i.addr+proxy.HealthPrefix+"readyz", nil)
}

// request asks it for what it is there for.
func (i *asked) request(ctx context.Context, limit time.Duration) (got, bool) {
	return within(ctx, limit, http.MethodGet, "http://"+i.addr+i.serves.Path, i.serves.Header)
}

// say is what was asked and answered, for people.
func say(what string, a got, late bool, limit time.Duration) string {
	if late {
		return fmt.Sprintf("%s is not answered within %v", what, limit)
	}
	return what + ": " + a.says()
}

func (i *asked) both(ctx context.Context, request, health time.Duration) (r, h got, noAnswer, noHealth bool, seen string) {
	r, noAnswer = i.request(ctx, request)
	h, noHealth = i.health(ctx, health)
	return r, h, noAnswer, noHealth, say("a request", r, noAnswer, request) + "; " + say("its readiness", h, noHealth, health)
}

func (i *asked) slowCheck(ctx context.Context) (string, bool) {
	r, _, _, noHealth, seen := i.both(ctx, soon, longer)
	return seen, noHealth && r.err == nil
}

func (i *asked) deadlock(ctx context.Context) (string, bool) {
	_, h, noAnswer, _, seen := i.both(ctx, soon, soon)
	return seen, noAnswer && h.err == nil
}

func (i *asked) dataDead(ctx context.Context) (string, bool) {
	r, h, _, _, seen := i.both(ctx, soon, soon)
	return seen, r.status == http.StatusServiceUnavailable && h.status == http.StatusOK
}

// flap has to have seen it both well and unwell, not long ago.
func (i *asked) flap(ctx context.Context) (string, bool) {
	a, _ := i.health(ctx, soon)
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	switch a.status {
	case http.StatusOK:
		i.well = now
	case http.StatusServiceUnavailable:
		i.down = now
	}
	const lately = 2*proxy.FlapEvery + soon
	there := now.Sub(i.well) < lately && now.Sub(i.down) < lately
	seen := "its readiness: " + a.says()
	if there {
		seen = fmt.Sprintf("its readiness comes and goes: 200 and 503 within %v", lately)
	}
	return seen, there
}

// injectStall silences the streams of the control plane.
func injectStall(ctx context.Context, _ scenarios.Fault, into Target) (drivers.Injection, error) {
	heal := func(ctx context.Context) error { return post(ctx, into, target.ControlName, "/v1/unstall") }
	if err := post(ctx, into, target.ControlName, "/v1/stall"); err != nil {
		return nil, fmt.Errorf("%w (taken back: %w)", err, heal(context.WithoutCancel(ctx)))
	}
	return done{func(ctx context.Context) (string, bool, error) {
		_, silent, err := follow(ctx, into.Env)
		plane, statusErr := statusOf(ctx, into)
		if err = errors.Join(err, statusErr); err != nil {
			return "", false, err
		}
		seen := "a stream of the lab's own brings the configuration"
		if silent {
			seen = fmt.Sprintf("a stream of the lab's own is open and brings nothing for %v", soon)
		}
		return agree(plane.Stalled, silent, seen)
	}, heal}, nil
}

// injectBadConfig publishes a configuration that proxies must reject, and then a good one.
func injectBadConfig(ctx context.Context, _ scenarios.Fault, into Target) (drivers.Injection, error) {
	heal := func(ctx context.Context) error { return post(ctx, into, target.ControlName, "/v1/generation") }
	if err := post(ctx, into, target.ControlName, "/v1/generation?bad=true"); err != nil {
		return nil, fmt.Errorf("%w (taken back: %w)", err, heal(context.WithoutCancel(ctx)))
	}
	return done{func(ctx context.Context) (string, bool, error) {
		m, silent, err := follow(ctx, into.Env)
		switch {
		case err != nil:
			return "", false, err
		case silent || m.Config == nil:
			return "a stream of the lab's own brings no configuration", false, nil
		}
		if _, err := policy.Compile(*m.Config); err != nil {
			return fmt.Sprintf("a stream of the lab's own brings generation %d, which is refused: %v", m.Config.Generation, err), true, nil
		}
		return fmt.Sprintf("a stream of the lab's own brings generation %d, which is good", m.Config.Generation), false, nil
	}, heal}, nil
}

// follow opens a stream of the configuration as a proxy does and returns what it brings first, or
// that it is open and silent.
func follow(ctx context.Context, env drivers.Env) (first feed.Message, silent bool, err error) {
	base, err := env.Endpoint(ctx, target.ControlName, "api")
	if err != nil {
		return first, false, err
	}
	timed, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	req, err := http.NewRequestWithContext(timed, http.MethodGet, base+feed.ConfigPath+"?"+feed.Query("rollout-lab", feed.Position{}).Encode(), nil)
	if err != nil {
		return first, false, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return first, false, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from: closing it has nothing to say
	line, err := bufio.NewReader(resp.Body).ReadBytes('\n')
	if err != nil {
		if ctx.Err() == nil && isTimeout(err) && resp.StatusCode == http.StatusOK {
			return first, true, nil
		}
		return first, false, err
	}
	return first, false, json.Unmarshal(line, &first)
}

// injectRevoke revokes the session of the load's that is there for it. It does not last.
func injectRevoke(ctx context.Context, _ scenarios.Fault, into Target) (drivers.Injection, error) {
	r := into.Revocation
	if r == nil {
		return nil, errors.New("the load uses no session that could be revoked")
	}
	q := url.Values{"session": {r.Session}}.Encode()
	r.Begin()
	if err := post(ctx, into, target.ControlName, "/v1/revoke?"+q); err != nil {
		return nil, err
	}
	r.Done()
	return done{proof: func(ctx context.Context) (string, bool, error) {
		var s struct{ Revoked bool }
		err := operate(ctx, into, target.ControlName, http.MethodGet, "/v1/session?"+q, &s)
		return fmt.Sprintf("the control plane has %s as revoked: %v", r.Session, s.Revoked), s.Revoked, err
	}}, nil
}
