package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// The signing keys are fetched until they are there, and then again, in case that they
// change, which they do when a control plane without a fixed seed starts again.
const (
	keysRetry   = 100 * time.Millisecond
	keysTimeout = 2 * time.Second
)

// authenticate verifies the token of each request. It keeps no verdict.
type authenticate struct {
	subsystem
	client   *http.Client
	control  string
	refresh  time.Duration
	verifier atomic.Pointer[credential.Verifier] // nil until keys are there
}

// newAuthenticate returns the subsystem that fetches the keys again every refresh.
func newAuthenticate(client *http.Client, control string, refresh time.Duration) *authenticate {
	a := &authenticate{client: client, control: control, refresh: refresh}
	a.name = "authenticate"
	a.set(status{reason: "no signing keys fetched"})
	return a
}

// run fetches the keys until ctx ends.
func (a *authenticate) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := a.fetch(ctx)
		if err == nil {
			a.set(status{phase: ready})
			timer.Reset(a.refresh)
			continue
		}
		a.update(func(now status) status { return now.trouble("no signing keys: " + err.Error()) })
		timer.Reset(keysRetry)
	}
}

func (a *authenticate) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	address, err := url.JoinPath(a.control, feed.KeysPath)
	if err != nil {
		return fmt.Errorf("address of the control plane: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("request keys: %w", err)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read from: closing it has nothing to say
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("control plane answers %s to %s", resp.Status, feed.KeysPath)
	}
	var set credential.KeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	verifier, err := credential.NewVerifier(set, time.Now)
	if err != nil {
		return err
	}
	a.verifier.Store(verifier)
	return nil
}
