package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// The least and the most that a follower waits before it connects again.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// ErrSilent: a stream brought nothing, not even a heartbeat, for too long.
var ErrSilent = errors.New("stream is silent")

// Follower follows one stream of a control plane.
type Follower struct {
	Client *http.Client // must have no timeout of its own
	Base   string       // the control plane's address: scheme and host
	Path   string       // of the stream

	Instance string        // who follows
	Silence  time.Duration // how long a stream may bring nothing before it is given up

	// From says where to go on; it is asked at every attempt.
	From func() Position
	// Message takes each message in order. An error from it ends the connection, and
	// the stream is started again.
	Message func(Message) error
	// Broken is told why a connection ended or could not be made, and how long the
	// follower waits before the next attempt.
	Broken func(err error, wait time.Duration)
}

// Follow follows the stream, whatever happens to it, until ctx ends.
func (f *Follower) Follow(ctx context.Context) {
	backoff := minBackoff
	for ctx.Err() == nil {
		messages, err := f.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		if messages > 0 {
			backoff = minBackoff
		}
		// Spread, so that a fleet does not come back to a control plane in step.
		wait := backoff/2 + rand.N(backoff/2+1)
		f.Broken(err, wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// connection follows the stream until its connection ends, and says how many messages it
// brought. The error is never nil: a stream has no end of its own.
func (f *Follower) connection(ctx context.Context) (messages int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(f.Silence, func() {
		cancel(fmt.Errorf("%w: nothing for %v", ErrSilent, f.Silence))
	})
	defer silence.Stop()
	defer func() {
		if cause := context.Cause(ctx); errors.Is(cause, ErrSilent) {
			err = cause
		}
	}()

	address, err := url.JoinPath(f.Base, f.Path)
	if err != nil {
		return 0, fmt.Errorf("address of the control plane: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		address+"?"+Query(f.Instance, f.From()).Encode(), nil)
	if err != nil {
		return 0, fmt.Errorf("request stream: %w", err)
	}
	resp, err := f.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from: closing it has nothing to say
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // what there is helps
		return 0, fmt.Errorf("control plane answers %s to %s: %q", resp.Status, f.Path, text)
	}
	lines := json.NewDecoder(resp.Body)
	for {
		var m Message
		if err := lines.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return messages, errors.New("control plane closed the stream")
			}
			return messages, fmt.Errorf("read stream: %w", err)
		}
		silence.Reset(f.Silence)
		messages++
		if err := f.Message(m); err != nil {
			return messages, fmt.Errorf("message of kind %q: %w", m.Kind, err)
		}
	}
}
