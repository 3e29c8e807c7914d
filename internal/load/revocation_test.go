package load

import (
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestWhatARevokedSessionIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxAge = 2 * time.Second
		r := &Revocation{Session: "s", MaxAge: maxAge}
		before := time.Now()
		if got := r.expect(before, before); got != record.Serve {
			t.Errorf("that nobody revokes: %s", got)
		}
		time.Sleep(time.Second)
		begun := time.Now()
		r.Begin()
		time.Sleep(time.Second)
		if got := r.expect(begun.Add(time.Hour), begun.Add(time.Hour)); got != record.Either {
			t.Errorf("as long as nobody says that it is revoked: %s", got)
		}
		done := time.Now()
		r.Done()
		for _, tt := range []struct {
			name           string
			sent, answered time.Time
			want           record.Expectation
		}{
			{"answered before", before, begun.Add(-1), record.Serve},
			{"sent before, answered after", before, begun, record.Either},
			{"sent while it is revoked", begun.Add(time.Millisecond), done, record.Either},
			{"sent within the maximum age", done.Add(maxAge), done.Add(time.Hour), record.Either},
			{"sent after it", done.Add(maxAge + 1), done.Add(maxAge + 2), record.DenyRevoked},
		} {
			if got := r.expect(tt.sent, tt.answered); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
		}
	})
}

// TestRevokedSessionIsJudged, by the load and by the reference client: no denial that is right is
// a failure, and no answer that is wrong is taken for one.
func TestRevokedSessionIsJudged(t *testing.T) {
	revocations := map[record.Expectation]func() *Revocation{
		record.Serve:       func() *Revocation { return &Revocation{} },
		record.Either:      func() *Revocation { r := &Revocation{MaxAge: time.Hour}; r.Begin(); r.Done(); return r },
		record.DenyRevoked: func() *Revocation { r := &Revocation{MaxAge: -time.Hour}; r.Begin(); r.Done(); return r },
	}
	for _, tt := range []struct {
		expect record.Expectation
		status int
		body   string
		class  record.Class
		breach bool
	}{
		{record.Serve, 200, "hello", record.OK, false},
		{record.Serve, 403, "no", "http_403", false},
		{record.Either, 200, "hello", record.OK, false},
		{record.Either, 200, "other", record.WrongBody, false},
		{record.Either, 401, "no", record.OK, false},
		{record.Either, 403, "no", record.OK, false},
		{record.Either, 503, "no", "http_503", false},
		{record.DenyRevoked, 403, "no", record.OK, false},
		{record.DenyRevoked, 401, "no", record.OK, false},
		{record.DenyRevoked, 503, "no", record.OK, false},
		{record.DenyRevoked, 502, "no", "http_502", false},
		{record.DenyRevoked, 200, "hello", "http_200", true},
	} {
		t.Run(string(tt.expect)+" "+strconv.Itoa(tt.status)+" "+tt.body, func(t *testing.T) {
			server := httpServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			streams := []Stream{streamOf("a", 1, true, Request{Path: "/", WantBody: "hello", Revocation: revocations[tt.expect]()})}
			_, sent := run(t, Plan{URL: server.URL, Rate: 1000, Hits: 10, Timeout: ample, Streams: streams})
			sampled := sampleReference(t, 10, ReferencePlan{URL: server.URL, Timeout: ample, Streams: streams})
			for who, samples := range map[string][]record.Sample{"load": sent, "reference": sampled} {
				for _, s := range samples {
					if s.Expect != tt.expect || s.Class != tt.class || s.Breach() != tt.breach {
						t.Fatalf("%s: %s %s, breach %v; want %s, breach %v", who, s.Expect, s.Class, s.Breach(), tt.class, tt.breach)
					}
				}
			}
		})
	}
	p := Plan{URL: "http://127.0.0.1:1", Base: time.Now(), Rate: 1, Hits: 1, Timeout: ample, Deny: 0.5, Streams: []Stream{{
		Name: "a", Weight: 1, Requests: []Request{{Path: "/"}}, Denials: []Request{{Path: "/", Revocation: &Revocation{}}},
	}}}
	if err := p.Validate(); err == nil {
		t.Error("a session that must be denied anyway can be revoked")
	}
}
