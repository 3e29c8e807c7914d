package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// upstreamEvery is how often the data plane makes sure that the upstream is there.
const upstreamEvery = time.Second

// upstreamRetry is how soon it tries again as long as it never was.
const upstreamRetry = 50 * time.Millisecond

// askTimeout is how long a dependency may take to answer a question about itself.
const askTimeout = time.Second

// The data plane's own loop goes round every workEvery, and is not alive when it has not for
// workLimit.
const (
	workEvery = 100 * time.Millisecond
	workLimit = 3 * time.Second
)

// work goes round until ctx ends. What keeps it keeps the requests as well.
func (p *Proxy) work(ctx context.Context, tick func()) {
	ticker := time.NewTicker(workEvery)
	defer ticker.Stop()
	for p.faults.pass(ctx) == nil {
		tick()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// crash ends the proxy once it has had all that it needs for long enough.
func (p *Proxy) crash(ctx context.Context, failed chan<- error) {
	ticker := time.NewTicker(workEvery)
	defer ticker.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		unready := slices.ContainsFunc(p.subsystems(), func(s *subsystem) bool { return s.status().phase == starting })
		switch {
		case unready:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= CrashDelay:
			failed <- ErrCrash
			return
		}
	}
}

// watchUpstream asks the upstream until ctx ends. The data plane is not ready before the
// upstream answered once. When it goes away later the data plane is degraded only: every
// instance shares it, so taking one out of service would take all of them.
func (p *Proxy) watchUpstream(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := p.askUpstream(ctx)
		reached := false
		p.data.update(func(now status) status {
			if err == nil {
				now.phase, now.reason, now.broken = ready, "", false
			} else {
				now = now.trouble("upstream: " + err.Error())
			}
			reached = now.phase != starting
			return now
		})
		if reached {
			timer.Reset(upstreamEvery)
		} else {
			timer.Reset(upstreamRetry)
		}
	}
}

func (p *Proxy) askUpstream(ctx context.Context) error {
	return ask(ctx, onceTransport{p.transport}, p.upstream)
}

// ask asks a dependency for something that it answers whenever it works at all.
func ask(ctx context.Context, transport http.RoundTripper, address *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode >= http.StatusInternalServerError {
		err = errors.Join(err, fmt.Errorf("it answers %s", resp.Status))
	}
	return errors.Join(err, resp.Body.Close())
}
