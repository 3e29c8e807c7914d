package target

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

const (
	tokenLife    = credential.MaxLife // longer than any run
	tokenAge     = 10 * time.Minute   // as presented first: the clocks of a cluster's nodes may be behind
	tokensAtMost = 256                // distinct sessions that the load uses
	variety      = 32                 // distinct requests of each kind and stream
	postBytes    = 256
)

// buildRefproxy deploys the reference proxy with its control plane and upstream. Each
// call has a signing seed of its own, so tokens of one trial are worthless in another.
func buildRefproxy(s *scenarios.Scenario, d scenarios.Design) (Target, error) {
	seed := make([]byte, 32)
	if _, err := rand.Read(seed); err != nil {
		return Target{}, fmt.Errorf("refproxy seed: %w", err)
	}
	creds, err := mintCredentials(seed, s.Target.Refproxy.Sessions)
	if err != nil {
		return Target{}, err
	}
	revocation := creds.revocation(s)
	truth := creds.truth(d)
	streams, err := creds.streams(s.Load, revocation)
	if err != nil {
		return Target{}, err
	}
	p := s.Target.Refproxy
	environment := map[string]string{}
	if p.GoMaxProcs > 0 {
		environment["GOMAXPROCS"] = strconv.Itoa(p.GoMaxProcs)
	}
	controlEnvironment := maps.Clone(environment)
	controlEnvironment["REFPROXY_SEED"] = hex.EncodeToString(seed)
	operator := rand.Text() // of this trial, as the seed is
	controlEnvironment[admin.TokenVariable] = operator
	through := relayed(s)
	heartbeat := min(p.MaxAge/5, control.DefaultHeartbeat)
	proxyArgs := []string{
		"proxy",
		"--instance", "${instance}", "--revision", "${revision}",
		"--listen", "${listen.data}", "--health-listen", "${listen.health}",
		"--control", reach(ControlName, through), "--upstream", reach(UpstreamName, through),
		"--health", d.Health, "--heartbeat", heartbeat.String(),
		// What it heard last had been on its way: so it gives up a little before.
		"--stale-after", (p.MaxAge - p.MaxAge/10).String(),
		"--lame-duck", d.LameDuck.String(), "--close-wait", d.CloseWait.String(), "--stop-grace", d.StopGrace.String(),
	}
	controlArgs := []string{
		"control", "--listen", "${listen.api}", "--admin-listen", "${listen.admin}", "--heartbeat", heartbeat.String(),
		"--sessions", strconv.Itoa(p.Sessions), "--sync-rate", strconv.FormatFloat(p.SyncRate, 'f', -1, 64), "--routes", strconv.Itoa(p.Routes),
	}
	if d.FailOpen {
		proxyArgs = append(proxyArgs, "--fail-open")
	}
	if d.FailClosed {
		proxyArgs = append(proxyArgs, "--fail-closed")
	}
	if asks(s, told...) {
		proxyArgs, controlArgs = append(proxyArgs, "--allow-faults"), append(controlArgs, "--allow-faults")
	}
	t := Target{
		Stack: drivers.Stack{
			Dependencies: []drivers.Service{{
				Name:  UpstreamName,
				Args:  []string{"upstream", "--listen", "${listen.data}", "--latency", p.UpstreamLatency.String()},
				Env:   environment,
				Ports: []string{"data"}, StopGrace: 2 * time.Second,
				Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Path: "/", Body: upstream.Answer(http.MethodGet, "/", nil)},
			}, {
				Name:  ControlName,
				Args:  controlArgs,
				Env:   controlEnvironment,
				Ports: []string{"api", "admin"}, StopGrace: 2 * time.Second,
				Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "admin", Path: admin.HealthPath},
			}},
			Subject: drivers.Service{
				Name: "proxy", Args: proxyArgs, Env: environment, Ports: []string{"data", "health"},
				Serves: serves(truth, drivers.Wire{}),
			},
		},
		Streams:    streams,
		Truth:      truth,
		Revocation: revocation,
	}
	if len(through) > 0 {
		relay := relayService(through)
		relay.Env = maps.Clone(environment)
		relay.Env[admin.TokenVariable] = operator
		t.Stack.Dependencies = append(t.Stack.Dependencies, relay)
	}
	t.Stack.Revisions = misbehaving(s, t.Stack.Subject)
	return t, nil
}

// credentials are the tokens that the load presents.
type credentials struct {
	active  []string // of sessions that may use /app/
	numbers []int    // of these
	doomed  string   // of a session that may too, until it is revoked
	revoked []string // well signed, but their session was revoked before the start
}

func mintCredentials(seed []byte, sessions int) (*credentials, error) {
	issuer, err := credential.NewIssuer(seed)
	if err != nil {
		return nil, fmt.Errorf("refproxy credentials: %w", err)
	}
	issued := time.Now().Add(-tokenAge)
	var c credentials
	// Spread over the whole range, so that the last records to be synced count too.
	step := max(1, sessions/tokensAtMost)
	for n := 0; n < sessions; n += step {
		if credential.Revoked(n) {
			continue
		}
		token, err := issuer.Token(credential.SessionID(n), issued, tokenLife)
		if err != nil {
			return nil, fmt.Errorf("refproxy credentials: %w", err)
		}
		c.active, c.numbers = append(c.active, token), append(c.numbers, n)
	}
	for n := 0; n < sessions && len(c.revoked) < variety; n++ {
		if !credential.Revoked(n) {
			continue
		}
		token, err := issuer.Token(credential.SessionID(n), issued, tokenLife)
		if err != nil {
			return nil, fmt.Errorf("refproxy credentials: %w", err)
		}
		c.revoked = append(c.revoked, token)
	}
	if len(c.active) == 0 {
		return nil, fmt.Errorf("refproxy credentials: none of %d sessions is active", sessions)
	}
	return &c, nil
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

func (c *credentials) get(path string, n int) load.Request {
	return load.Request{
		Method: http.MethodGet, Path: path, Header: bearer(c.active[n%len(c.active)]),
		Expect: record.Serve, Statuses: []int{http.StatusOK}, WantBody: upstream.Answer(http.MethodGet, path, nil),
	}
}

// truth is the request that only an instance that truly works answers as expected. One
// that fails open serves anybody before it has synced: what it owes is the refusal.
func (c *credentials) truth(d scenarios.Design) load.Request {
	r := c.get("/app/items/truth", 0)
	if d.FailOpen && len(c.revoked) > 0 {
		r.Header = bearer(c.revoked[0])
		r.Expect, r.Statuses, r.WantBody, r.AnyBody = record.Deny, []int{http.StatusForbidden}, "", true
	}
	return r
}

func postBody(n int) []byte {
	body := make([]byte, postBytes)
	for i := range body {
		body[i] = 'a' + byte((n+i)%26)
	}
	return body
}

func (c *credentials) post(path string, n int) load.Request {
	body := postBody(n)
	r := c.get(path, n)
	r.Method, r.Body, r.WantBody = http.MethodPost, body, upstream.Answer(http.MethodPost, path, body)
	return r
}

// denied turns a request into one that must be denied: by policy (the route is
// forbidden to everybody), or by the state of its session.
func (c *credentials) denied(r load.Request, n int) load.Request {
	if n%2 == 0 || len(c.revoked) == 0 {
		r.Path = "/forbidden/" + strconv.Itoa(n)
	} else {
		r.Header = bearer(c.revoked[n%len(c.revoked)])
	}
	r.Expect, r.Statuses = record.Deny, []int{http.StatusUnauthorized, http.StatusForbidden}
	r.WantBody, r.AnyBody = "", true
	return r
}

func (c *credentials) streams(l scenarios.Traffic, revocation *load.Revocation) ([]load.Stream, error) {
	var out []load.Stream
	for _, name := range streamNames(l.Streams) {
		s := load.Stream{Name: name, Weight: l.Streams[name]}
		var build func(path string, n int) load.Request
		switch name {
		case "keepalive-get":
			s.Reuse, build = true, c.get
		case "keepalive-post":
			s.Reuse, build = true, c.post
		case "newconn-get":
			build = c.get
		default:
			return nil, fmt.Errorf("stream %q: want keepalive-get, keepalive-post or newconn-get", name)
		}
		for n := range max(variety, len(c.active)) {
			s.Requests = append(s.Requests, build("/app/items/"+strconv.Itoa(n), n))
		}
		c.doom(s.Requests, revocation)
		for n := range variety {
			s.Denials = append(s.Denials, c.denied(build("/app/items/"+strconv.Itoa(n), n), n))
		}
		out = append(out, s)
	}
	return out, nil
}
