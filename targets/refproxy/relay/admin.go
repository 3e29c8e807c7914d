package relay

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
)

// Admin serves the operator, who has the token: JSON in every answer, errors included.
//
//	GET  /v1/status
//	POST /v1/trouble?link=NAME&kind=KIND[&latency=2s&jitter=200ms][&rate=KIB]
//	POST /v1/heal?link=NAME
//
// Each answers with the status after it, by link.
func (r *Relay) Admin(token string) http.Handler {
	return admin.Handler(token, []admin.Question{
		{Method: http.MethodGet, Path: "/v1/status", Answer: func(*http.Request) (any, error) { return r.Status(), nil }},
		{Method: http.MethodPost, Path: "/v1/trouble", Answer: r.adminTrouble},
		{Method: http.MethodPost, Path: "/v1/heal", Answer: r.adminHeal},
	})
}

func (r *Relay) adminTrouble(req *http.Request) (any, error) {
	name, err := admin.Text(req, "link")
	if err != nil {
		return nil, err
	}
	q := req.URL.Query()
	t := Trouble{Kind: Kind(q.Get("kind"))}
	for parameter, to := range map[string]*time.Duration{"latency": &t.Latency, "jitter": &t.Jitter} {
		if text := q.Get(parameter); text != "" {
			if *to, err = time.ParseDuration(text); err != nil {
				return nil, admin.Bad("such as "+parameter+"=200ms", "%s is %q", parameter, text)
			}
		}
	}
	if text := q.Get("rate"); text != "" {
		if t.Rate, err = strconv.Atoi(text); err != nil {
			return nil, admin.Bad("KiB a second, such as rate=10", "rate is %q", text)
		}
	}
	if err := t.check(); err != nil {
		return nil, admin.Bad("", "%v", err)
	}
	return r.answer(r.Spoil(req.Context(), name, t))
}

func (r *Relay) adminHeal(req *http.Request) (any, error) {
	name, err := admin.Text(req, "link")
	if err != nil {
		return nil, err
	}
	return r.answer(r.Heal(req.Context(), name))
}

func (r *Relay) answer(err error) (any, error) {
	if errors.Is(err, ErrNoLink) {
		return nil, &admin.Error{Status: http.StatusNotFound, Text: err.Error()}
	}
	return r.Status(), err
}

// ParseLink reads a link that is written NAME=LISTEN>TO.
func ParseLink(text string) (Link, error) {
	name, rest, _ := strings.Cut(text, "=")
	listen, to, ok := strings.Cut(rest, ">")
	l := Link{Name: name, Listen: listen, To: to}
	if !ok || name == "" {
		return l, fmt.Errorf("link is %q, want NAME=HOST:PORT>HOST:PORT", text)
	}
	return l, l.check()
}
