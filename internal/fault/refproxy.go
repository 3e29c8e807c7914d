package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
)

// operateLimit is how long the operator's side of a dependency may take to do what it is told.
const operateLimit = 10 * time.Second

// operate asks the operator's side of a dependency, or has it do something, and decodes the
// answer; into may be nil.
func operate(ctx context.Context, on Target, service, method, path string, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, operateLimit, fmt.Errorf("no answer within %v", operateLimit))
	defer cancel()
	base, err := on.Env.Endpoint(ctx, service, "admin")
	if err != nil {
		return err
	}
	a := get(ctx, method, base+path, map[string]string{
		"Authorization": admin.Authorization(target.AdminToken(on.Stack, service)),
	})
	if a.err != nil {
		return fmt.Errorf("%s: %s: %w", service, path, because(ctx, a.err))
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: %s: %d %s", service, path, a.status, a.body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(a.body, into)
}

// post has the operator's side of a dependency do something.
func post(ctx context.Context, on Target, service, path string) error {
	return operate(ctx, on, service, http.MethodPost, path, nil)
}

// got is what became of a question.
type got struct {
	status int
	body   []byte
	err    error
}

// mostAnswer bounds what is read of an answer.
const mostAnswer = 1 << 20

// get asks once, on a connection of its own.
func get(ctx context.Context, method, url string, header map[string]string) got {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return got{err: err}
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: mostAnswer}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return got{err: err}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	return got{resp.StatusCode, body, errors.Join(err, resp.Body.Close())}
}

// within is get for what may not be answered at all. late says that there was no whole answer in
// time, which is not the end of ctx itself.
func within(ctx context.Context, limit time.Duration, method, url string, header map[string]string) (a got, late bool) {
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a = get(timed, method, url, header)
	return a, a.err != nil && ctx.Err() == nil && isTimeout(a.err)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// says is what was answered, for people.
func (a got) says() string {
	if a.err != nil {
		var op *net.OpError
		if errors.As(a.err, &op) && op.Err != nil {
			return op.Err.Error()
		}
		return a.err.Error()
	}
	return fmt.Sprintf("%d", a.status)
}

// agree is a proof by two witnesses: what was seen, and what the service that was told says of
// itself. On a slow machine what is seen may be the machine's doing, and what a service says of
// itself proves nothing alone: where they do not agree nobody knows.
func agree(says, sees bool, seen string) (string, bool, error) {
	if says != sees {
		return "", false, fmt.Errorf("who was told says that it is there: %v; and: %s", says, seen)
	}
	return seen, sees, nil
}

// done is an injection made of functions.
type done struct {
	proof func(ctx context.Context) (seen string, there bool, err error)
	heal  func(ctx context.Context) error // nil where there is nothing to heal
}

func (d done) Proof(ctx context.Context) (string, bool, error) { return d.proof(ctx) }

func (d done) Heal(ctx context.Context) error {
	if d.heal == nil {
		return nil
	}
	return d.heal(ctx)
}
