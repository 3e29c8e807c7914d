package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

// live asks a process whether it lives until it has ended, as a kubelet does: the startup probe
// until that has succeeded, and the liveness probe from then on. One that fails ends the process,
// and the supervisor starts the next one.
func (s *supervisor) live(m *member, c *child) {
	if startup := m.Service.Startup.WithDefaults(); startup.Kind != drivers.ProbeNone {
		if !s.asks(m, c, "startup", startup, func(checks streak) bool { return checks.ok >= startup.Rise }) {
			return
		}
	}
	if liveness := m.Service.Liveness.WithDefaults(); liveness.Kind != drivers.ProbeNone {
		s.asks(m, c, "liveness", liveness, func(streak) bool { return false })
	}
}

// asks asks a probe until that is enough, and says whether it was. When it has failed too often
// the process is ended.
func (s *supervisor) asks(m *member, c *child, what string, probe drivers.Probe, enough func(streak) bool) bool {
	ctx, done := lifecycle.Until(context.Background(), c.done, errors.New("the process has ended"))
	defer done()
	ctx, stopped := lifecycle.Until(ctx, m.StopAsked(), errors.New("it was asked to stop"))
	defer stopped()
	ticker := time.NewTicker(probe.Interval)
	defer ticker.Stop()
	var checks streak
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
		answer, err := probe.Ask(ctx, s.addrOf(m, probe.Port))
		if ctx.Err() != nil {
			return false
		}
		checks.add(err == nil)
		switch {
		case enough(checks):
			return true
		case checks.failed >= probe.Fall:
			s.endUnhealthy(ctx, m, c, fmt.Sprintf("its %s probe failed %d times: %s", what, checks.failed, answer))
			return false
		}
	}
}

// endUnhealthy has a process stop as a kubelet does: it waits as before any stop, asks, and kills
// it when its grace is over. Nothing tells the balancer, and nothing thaws what is frozen.
func (s *supervisor) endUnhealthy(ctx context.Context, m *member, c *child, why string) {
	because := func(why string) (runs bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if runs = m.running && m.child == c; runs {
			m.unhealthy = why
		}
		return runs
	}
	if !because(why) {
		return
	}
	for _, step := range []struct {
		after time.Duration
		do    func() error
	}{
		{m.Service.PreStop, func() error { return c.signal(unix.SIGTERM, false) }},
		{m.Service.StopGrace, func() error {
			because(fmt.Sprintf("%s; killed after its grace of %v", why, m.Service.StopGrace))
			return c.kill()
		}},
	} {
		timer := time.NewTimer(step.after)
		select {
		case <-timer.C:
		case <-ctx.Done(): // it has ended, or whoever stops it sees to its grace
			timer.Stop()
			return
		}
		if err := step.do(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			because(fmt.Sprintf("%s; %v", why, err))
		}
	}
}
