package load

import (
	"net/http"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Revocation is a session that is revoked while a load uses it. What its requests have to meet
// with depends on when they are sent and answered: served before, either for as long as a service
// may go by what it knew before, denied from then on.
type Revocation struct {
	Session string
	MaxAge  time.Duration // how long a service may go by what it knew before

	mu          sync.Mutex
	begun, done time.Time
}

// Begin says that the session is about to be revoked.
func (r *Revocation) Begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = time.Now()
}

// Done says that the session is revoked.
func (r *Revocation) Done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = time.Now()
}

// expect is what a request that was sent and answered then had to meet with.
func (r *Revocation) expect(sent, answered time.Time) record.Expectation {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.begun.IsZero() || answered.Before(r.begun):
		return record.Serve
	case !r.done.IsZero() && sent.After(r.done.Add(r.MaxAge)):
		return record.DenyRevoked
	}
	return record.Either
}

// rightly says whether a refusal with a status is as good an answer as any to a request with that
// expectation of a session that may be revoked. From when on it must be denied it is right as well
// to let nobody in, for lack of anything to decide by.
func rightly(expect record.Expectation, status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return expect == record.Either || expect == record.DenyRevoked
	case http.StatusServiceUnavailable:
		return expect == record.DenyRevoked
	}
	return false
}
