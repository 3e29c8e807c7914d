package admin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
)

const token = "0123456789abcdef"

// TestOnlyTheOperatorIsAnswered, and nobody else is told even what there is to be asked.
func TestOnlyTheOperatorIsAnswered(t *testing.T) {
	asked := 0
	h := admin.Handler(token, []admin.Question{{Method: "POST", Path: "/v1/stop", Answer: func(*http.Request) (any, error) {
		asked++
		return "stopped", nil
	}}})
	good := admin.Authorization(token)
	for _, tt := range []struct {
		name, method, path, authorization string
		status                            int
		says                              string
	}{
		{"the operator", "POST", "/v1/stop", good, 200, "stopped"},
		{"the operator, wrongly", "POST", "/v1/start", good, 404, "/v1/stop"},
		{"nobody", "POST", "/v1/stop", "", 401, "TOKEN"},
		{"nobody, elsewhere", "GET", "/", "", 401, "TOKEN"},
		{"another token", "POST", "/v1/stop", admin.Authorization(strings.ToUpper(token)), 401, "TOKEN"},
		{"part of the token", "POST", "/v1/stop", admin.Authorization(token[:15]), 401, "TOKEN"},
		{"more than the token", "POST", "/v1/stop", admin.Authorization(token + "0"), 401, "TOKEN"},
		{"no token", "POST", "/v1/stop", admin.Authorization(""), 401, "TOKEN"},
		{"the token alone", "POST", "/v1/stop", token, 401, "TOKEN"},
		{"a prober", "GET", admin.HealthPath, "", 200, "{}"},
		{"a prober, elsewhere", "GET", admin.HealthPath + "/../v1/stop", "", 401, "TOKEN"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(tt.method, tt.path, nil)
		if tt.authorization != "" {
			r.Header.Set("Authorization", tt.authorization)
		}
		h.ServeHTTP(w, r)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: %d %q, want %d that says %s", tt.name, w.Code, w.Body, tt.status, tt.says)
		}
		if challenge := w.Header().Get("WWW-Authenticate"); (challenge != "") != (w.Code == 401) {
			t.Errorf("%s: %d, and challenges with %q", tt.name, w.Code, challenge)
		}
		if strings.Contains(w.Body.String(), token) || tt.status == 401 && strings.Contains(w.Body.String(), "stop") {
			t.Errorf("%s: is told %q", tt.name, w.Body)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}
