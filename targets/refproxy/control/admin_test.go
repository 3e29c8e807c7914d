package control_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// ask asks the operator's endpoint and decodes the answer, which must be JSON.
func ask(t *testing.T, p *control.Plane, method, target string, into any) int {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", admin.Authorization("operator"))
	p.Admin("operator").ServeHTTP(w, r)
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: Content-Type is %q", method, target, got)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%s %s answers %q: %v", method, target, w.Body, err)
	}
	return w.Code
}

func TestAdminRefuses(t *testing.T) {
	p := newPlane(t, nil)
	before := p.Status()
	for _, tt := range []struct {
		method, target string
		status         int
		says           string
	}{
		{"GET", "/v1/revoke?session=session-000001", http.StatusMethodNotAllowed, "use POST"},
		{"POST", "/v1/status", http.StatusMethodNotAllowed, "use GET"},
		{"POST", "/v1/nothing", http.StatusNotFound, "/v1/generation"},
		{"POST", "/v1/revoke", http.StatusBadRequest, "?session="},
		{"POST", "/v1/revoke?session=nobody", http.StatusNotFound, "session-000099"},
		{"POST", "/v1/revoke?session=session-000100", http.StatusNotFound, "session-000099"},
		{"POST", "/v1/revoke?session=session-1", http.StatusNotFound, "session-1"},
		{"POST", "/v1/revoke?session=session--00001", http.StatusNotFound, "no such session"},
		{"POST", "/v1/revoke?session=session-000001x", http.StatusNotFound, "no such session"},
		{"POST", "/v1/generation?bad=perhaps", http.StatusBadRequest, "use true or false"},
	} {
		var answer struct{ Error, Hint string }
		status := ask(t, p, tt.method, tt.target, &answer)
		if status != tt.status || !strings.Contains(answer.Error+" "+answer.Hint, tt.says) || answer.Error == "" {
			t.Errorf("%s %s answers %d %+v, want %d and %q", tt.method, tt.target, status, answer, tt.status, tt.says)
		}
	}
	if diff := cmp.Diff(before, p.Status()); diff != "" {
		t.Errorf("what was refused changed something (-before +after):\n%s", diff)
	}
}

func TestAdmin(t *testing.T) {
	p := newPlane(t, nil)
	var s control.Status
	if ask(t, p, "POST", "/v1/generation", &s); s.Generation != 2 || s.Bad {
		t.Errorf("after a publication: generation %d, bad %v; want 2, false", s.Generation, s.Bad)
	}
	if ask(t, p, "POST", "/v1/generation?bad=true", &s); s.Generation != 3 || !s.Bad {
		t.Errorf("after a bad one: generation %d, bad %v; want 3, true", s.Generation, s.Bad)
	}
	if ask(t, p, "POST", "/v1/stall", &s); !s.Stalled {
		t.Error("not stalled after stall")
	}
	if ask(t, p, "POST", "/v1/unstall", &s); s.Stalled {
		t.Error("stalled after unstall")
	}
	for range 2 { // the second changes nothing
		var r struct {
			Session string
			Version uint64
		}
		if ask(t, p, "POST", "/v1/revoke?session=session-000001", &r); r.Session != "session-000001" || r.Version != 2 {
			t.Errorf("revoke answers %+v, want session-000001 at version 2", r)
		}
	}
	ask(t, p, "GET", "/v1/status", &s)
	want := control.Status{
		Epoch: p.Status().Epoch, Generation: 3, Bad: true, Routes: 5, Sessions: 100,
		Revoked: 3, Version: 2, Subscribers: []control.Subscriber{},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestStatusListsSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, nil)
		sessions := open(t, p, feed.SessionsPath, feed.Position{})
		config := open(t, p, feed.ConfigPath, feed.Position{})
		until(t, config, feed.Config)
		until(t, sessions, feed.Records)
		synctest.Wait()
		got := p.Status().Subscribers
		if len(got) != 2 || got[0].Stream != "config" || got[1].Stream != "sessions" {
			t.Fatalf("subscribers are %+v, want config and sessions", got)
		}
		if got[0].Position != 1 || got[1].Position != 0 || got[1].Records != 1 {
			t.Errorf("subscribers are %+v, want generation 1 and one record", got)
		}
		until(t, sessions, feed.End)
		synctest.Wait()
		if got := p.Status().Subscribers[1]; got.Position != 1 || got.Instance != "a" {
			t.Errorf("subscriber is %+v, want a at version 1", got)
		}
	})
}

func TestSubscribersLeave(t *testing.T) {
	p := newPlane(t, nil)
	t.Run("follow", func(t *testing.T) { <-open(t, p, feed.ConfigPath, feed.Position{}) })
	if got := p.Status().Subscribers; len(got) != 0 {
		t.Errorf("subscribers are %+v, want none", got)
	}
}

func TestKeysVerifyTheSeedsTokens(t *testing.T) {
	p := newPlane(t, nil)
	w := httptest.NewRecorder()
	p.Streams().ServeHTTP(w, httptest.NewRequest("GET", feed.KeysPath, nil))
	var got credential.KeySet
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	issuer, err := credential.NewIssuer(make([]byte, credential.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(issuer.Keys(), got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*control.Options){
		"no sessions":        func(o *control.Options) { o.Sessions = 0 },
		"no rate":            func(o *control.Options) { o.SyncRate = 0 },
		"negative rate":      func(o *control.Options) { o.SyncRate = -1 },
		"negative routes":    func(o *control.Options) { o.Routes = -1 },
		"negative heartbeat": func(o *control.Options) { o.Heartbeat = -1 },
		"short seed":         func(o *control.Options) { o.Seed = o.Seed[1:] },
	} {
		o := control.Options{Seed: make([]byte, credential.SeedSize), Sessions: 1, SyncRate: 1}
		change(&o)
		if _, err := control.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
