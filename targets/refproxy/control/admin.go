package control

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// Admin serves the operator, who has the token: JSON in every answer, errors included.
//
//	GET  /v1/status
//	POST /v1/generation[?bad=true]   publish the next generation, or a bad one
//	POST /v1/revoke?session=ID
//	GET  /v1/session?session=ID      is it revoked
//	POST /v1/stall, /v1/unstall      silence the streams, or let them go on
//	POST /v1/fault?kind=KIND&instance=ID[&instance=ID...][&on=false]
//	                                 have proxies do something wrong, where that is allowed
//
// Each POST but revoke answers with the status after it; revoke answers with the session
// and the version of the records that says that it is revoked. A fault is in effect, or gone,
// when it is answered.
func (p *Plane) Admin(token string) http.Handler {
	questions := []admin.Question{
		{Method: http.MethodGet, Path: "/v1/status", Answer: func(*http.Request) (any, error) { return p.Status(), nil }},
		{Method: http.MethodPost, Path: "/v1/generation", Answer: p.adminPublish},
		{Method: http.MethodPost, Path: "/v1/revoke", Answer: p.adminRevoke},
		{Method: http.MethodGet, Path: "/v1/session", Answer: p.adminSession},
		{Method: http.MethodPost, Path: "/v1/stall", Answer: p.adminStall(true)},
		{Method: http.MethodPost, Path: "/v1/unstall", Answer: p.adminStall(false)},
	}
	if p.options.AllowFaults {
		questions = append(questions, admin.Question{Method: http.MethodPost, Path: "/v1/fault", Answer: p.adminFault})
	}
	return admin.Handler(token, questions)
}

func (p *Plane) adminStall(stalled bool) func(*http.Request) (any, error) {
	return func(*http.Request) (any, error) {
		p.Stall(stalled)
		return p.Status(), nil
	}
}

func (p *Plane) adminPublish(r *http.Request) (any, error) {
	bad, err := admin.Flag(r, "bad", false)
	if err != nil {
		return nil, err
	}
	p.Publish(bad)
	return p.Status(), nil
}

func (p *Plane) adminRevoke(r *http.Request) (any, error) {
	session, err := admin.Text(r, "session")
	if err != nil {
		return nil, err
	}
	version, err := p.Revoke(session)
	if err != nil {
		return nil, answered(err)
	}
	return struct {
		Session string `json:"session"`
		Version uint64 `json:"version"`
	}{session, version}, nil
}

func (p *Plane) adminSession(r *http.Request) (any, error) {
	session, err := admin.Text(r, "session")
	if err != nil {
		return nil, err
	}
	revoked, err := p.Revoked(session)
	if err != nil {
		return nil, answered(err)
	}
	return struct {
		Session string `json:"session"`
		Revoked bool   `json:"revoked"`
	}{session, revoked}, nil
}

func (p *Plane) adminFault(r *http.Request) (any, error) {
	on, err := admin.Flag(r, "on", true)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	fault := feed.Fault(q.Get("kind"))
	if !slices.Contains(feed.AllFaults(), fault) {
		return nil, admin.Bad(fmt.Sprintf("use one of %q", feed.AllFaults()), "kind is %q", fault)
	}
	if len(q["instance"]) == 0 {
		return nil, admin.Bad("add &instance=ID, once for each", "instance is missing")
	}
	for _, instance := range q["instance"] {
		err = errors.Join(err, p.SetFault(r.Context(), instance, fault, on))
	}
	return p.Status(), answered(err)
}

// answered is an error as the operator is told of it.
func answered(err error) error {
	if errors.Is(err, ErrNoSession) || errors.Is(err, ErrNoInstance) {
		return &admin.Error{Status: http.StatusNotFound, Text: err.Error()}
	}
	return err
}
