package upstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

func TestAnswer(t *testing.T) {
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/app/items/7", "", "GET /app/items/7 0 00000000\n"},
		// The check value of CRC-32/IEEE.
		{"POST", "/app/", "123456789", "POST /app/ 9 cbf43926\n"},
		{"PUT", "/a b", "c", "PUT /a b 1 06b9df6f\n"},
	} {
		if got := upstream.Answer(tt.method, tt.path, []byte(tt.body)); got != tt.want {
			t.Errorf("Answer(%q, %q, %q) = %q, want %q", tt.method, tt.path, tt.body, got, tt.want)
		}
	}
}

func TestHandlerAnswersWithAnswer(t *testing.T) {
	server := httptest.NewServer(upstream.Handler(0))
	defer server.Close()
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/app/items/7?query=is+not+shown", ""},
		{"POST", "/app/items/7", strings.Repeat("body ", 100_000)},
		{"DELETE", "/", ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		want := upstream.Answer(tt.method, req.URL.Path, []byte(tt.body))
		if resp.StatusCode != http.StatusOK || string(got) != want {
			t.Errorf("%s %s answers %d %q, want 200 %q", tt.method, tt.path, resp.StatusCode, got, want)
		}
		if resp.ContentLength != int64(len(want)) {
			t.Errorf("%s %s: Content-Length %d, want %d", tt.method, tt.path, resp.ContentLength, len(want))
		}
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		w := httptest.NewRecorder()
		upstream.Handler(250*time.Millisecond).ServeHTTP(w, httptest.NewRequest("GET", "/app/", nil))
		if got := time.Since(begun); got != 250*time.Millisecond {
			t.Errorf("answered after %v, want 250ms", got)
		}
		if w.Code != http.StatusOK {
			t.Errorf("status %d, want 200", w.Code)
		}
	})
}

// aborted reports whether the handler gave no answer.
func aborted(t *testing.T, h http.Handler, r *http.Request) (yes bool) {
	t.Helper()
	w := httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			err, ok := p.(error)
			yes = ok && errors.Is(err, http.ErrAbortHandler)
		}
		if w.Body.Len() > 0 {
			t.Errorf("answered %q", w.Body)
		}
	}()
	h.ServeHTTP(w, r)
	return false
}

func TestNoAnswerToHalfARequest(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("half"), brokenReader{})
	if !aborted(t, upstream.Handler(0), httptest.NewRequest("POST", "/app/", broken)) {
		t.Error("a body that broke off was answered")
	}
}

func TestNoAnswerAfterCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("GET", "/app/", nil).WithContext(ctx)
	if !aborted(t, upstream.Handler(time.Hour), r) {
		t.Error("a request that was cancelled was answered")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
