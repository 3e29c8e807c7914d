package proxy

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// config receives the generations of the configuration and keeps the last good one.
type config struct {
	subsystem
	// adopt puts a generation into use or says why it cannot be.
	adopt func(policy.Config) error

	mu       sync.Mutex
	position feed.Position // of the last generation received, good or bad
	rejected string        // why the last one was not adopted, "" when it was
}

func newConfig(adopt func(policy.Config) error) *config {
	c := &config{adopt: adopt}
	c.name = "config"
	c.set(status{reason: "no generation received"})
	return c
}

// from is where the stream is to go on.
func (c *config) from() feed.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.position
}

// message takes one message of the stream.
func (c *config) message(m feed.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Kind == feed.Config && m.Config != nil:
		c.rejected = ""
		if err := c.adopt(*m.Config); err != nil {
			c.rejected = fmt.Sprintf("generation %d rejected: %v", m.Config.Generation, err)
		}
		c.position = feed.Position{Epoch: m.Epoch, Version: uint64(m.Config.Generation)}
	case m.Kind == feed.Heartbeat:
	default:
		return errors.New("unexpected kind")
	}
	c.fresh()
	c.update(func(now status) status {
		if m.Kind == feed.Config && c.rejected == "" {
			now.generation = m.Config.Generation
		}
		now.broken = false
		switch {
		case now.generation == 0 && c.rejected == "":
			now.reason = "no generation received"
		case now.generation == 0:
			now.reason = c.rejected
		case c.rejected != "":
			now.phase, now.reason = degraded, c.rejected+fmt.Sprintf(", serving %d", now.generation)
		default:
			now.phase, now.reason = ready, ""
		}
		return now
	})
	return nil
}

// broken takes note that the stream broke.
func (c *config) broken(err error) {
	c.update(func(now status) status { return now.trouble("stream broken: " + err.Error()) })
}

// authorize decides by the policy of one generation.
type authorize struct {
	subsystem
	table atomic.Pointer[policy.Table] // nil until the first generation is compiled
}

func newAuthorize() *authorize {
	a := &authorize{}
	a.name = "authorize"
	a.set(status{reason: "no policy compiled"})
	return a
}

// compile compiles a generation and puts it into use. On error the one before stays.
func (a *authorize) compile(c policy.Config) error {
	table, err := policy.Compile(c)
	if err != nil {
		return err
	}
	a.table.Store(table)
	a.set(status{phase: ready, generation: table.Generation()})
	return nil
}
