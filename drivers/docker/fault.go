package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	containertypes "github.com/docker/docker/api/types/container"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// killedStatus is what the engine says of a container whose first process SIGKILL has ended.
const killedStatus = "exit status 137"

// Faults implements drivers.Faulter.
func (d *Driver) Faults(ctx context.Context) map[drivers.FaultKind]error {
	engine, err := d.connect(ctx)
	if err != nil {
		return map[drivers.FaultKind]error{drivers.FaultKill: err, drivers.FaultPause: err, drivers.FaultStop: err, drivers.FaultCPU: err}
	}
	return map[drivers.FaultKind]error{
		drivers.FaultKill: nil, drivers.FaultPause: nil, drivers.FaultStop: nil, drivers.FaultCPU: engine.noShares(ctx),
	}
}

// noShares says why no container can be given a share of a processor.
func (e *engine) noShares(ctx context.Context) error {
	info, err := e.Info(ctx)
	if err == nil && !info.CPUCfsQuota {
		err = errors.New("the kernel of its machine bounds no processor time (CPU CFS quota)")
	}
	if err == nil {
		return nil
	}
	return &drivers.HintError{
		Err:  fmt.Errorf("%w: engine at %v: %w", drivers.ErrUnavailable, e.Address, err),
		Hint: "docker info says what it lacks",
	}
}

// Break implements fleet.Breaker.
func (e *environment) Break(ctx context.Context, f *fleet.Instance, fault drivers.Fault) (drivers.Injection, error) {
	i := e.instanceOf(f)
	if i == nil {
		return nil, errors.New("it has no container")
	}
	switch fault.Kind {
	case drivers.FaultKill:
		i.set(func() { i.killed = true })
		k, err := i.kill(ctx)
		if err != nil {
			i.set(func() { i.killed = false })
		}
		return k, err
	case drivers.FaultStop:
		i.set(func() { i.away = true })
		// Whoever gives up in the middle of it does not know whether there is something to undo.
		ctx, cancel := whole(ctx)
		defer cancel()
		k, err := i.kill(ctx)
		a := away{k}
		if err != nil {
			return nil, errors.Join(err, a.Heal(ctx))
		}
		return a, nil
	case drivers.FaultPause:
		return i.freeze(ctx)
	case drivers.FaultCPU:
		return i.throttle(ctx, fault.CPUs)
	}
	return nil, drivers.ErrUnsupported
}

func (i *instance) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// kill sends SIGKILL to the container's first process, and with it to everything in it, and
// returns once the engine has said that the container has died.
func (i *instance) kill(ctx context.Context) (killed, error) {
	i.mu.Lock()
	k := killed{i, len(i.ends)}
	i.mu.Unlock()
	if err := i.env.engine.ContainerKill(ctx, i.id, "SIGKILL"); err != nil {
		return k, err
	}
	if err := i.died.Wait(ctx, func() bool { return k.end() != "" }); err != nil {
		return k, fmt.Errorf("waiting for the end of container %s: %w", i.id, err)
	}
	return k, nil
}

// killed is a container that was killed, when it had ended so often.
type killed struct {
	instance *instance
	ends     int
}

// end is how the container has ended since, "" while it has not.
func (k killed) end() string {
	k.instance.mu.Lock()
	defer k.instance.mu.Unlock()
	if len(k.instance.ends) <= k.ends {
		return ""
	}
	return k.instance.ends[k.ends]
}

// Proof is the status with which the container has died, as the engine's events tell it.
func (k killed) Proof(context.Context) (seen string, there bool, err error) {
	end := k.end()
	if end == "" {
		return fmt.Sprintf("container %.12s has not died", k.instance.id), false, nil
	}
	return fmt.Sprintf("container %.12s has died: %s", k.instance.id, end), end == killedStatus, nil
}

func (killed) Heal(context.Context) error { return nil }

// freeze stops the container's process by a signal, because the engine asks no container for
// its health that it has paused itself. It does that nevertheless where there are several
// processes, of which a signal would reach the first one alone.
func (i *instance) freeze(ctx context.Context) (drivers.Injection, error) {
	states, err := i.states(ctx)
	if err != nil {
		return nil, err
	}
	f := frozen{i, len(states) > 1}
	if f.paused {
		err = i.env.engine.ContainerPause(ctx, i.id)
	} else {
		err = i.env.engine.ContainerKill(ctx, i.id, "SIGSTOP")
	}
	if err != nil {
		return nil, errors.Join(err, f.Heal(context.WithoutCancel(ctx)))
	}
	return f, nil
}

// states are the states of the container's first process and of all that it has started, as
// ps on the engine's machine shows them.
func (i *instance) states(ctx context.Context) ([]string, error) {
	top, err := i.env.engine.ContainerTop(ctx, i.id, []string{"-o", "pid,ppid,stat"})
	if err != nil {
		return nil, fmt.Errorf("list its processes: %w", err)
	}
	c, err := i.env.engine.ContainerInspect(ctx, i.id)
	if err != nil {
		return nil, err
	}
	// A health check is not a child of the first process.
	family := []string{strconv.Itoa(c.State.Pid)}
	var states []string
	for range len(top.Processes) {
		for _, p := range top.Processes {
			if len(p) == 3 && !slices.Contains(family, p[0]) && slices.Contains(family, p[1]) {
				family = append(family, p[0])
			}
		}
	}
	for _, p := range top.Processes {
		if len(p) == 3 && slices.Contains(family, p[0]) {
			states = append(states, p[2])
		}
	}
	return states, nil
}

// frozen is a container whose processes do not run.
type frozen struct {
	instance *instance
	paused   bool // by the engine
}

// Proof is what the engine says of the container that it has paused itself, and the state of
// the process otherwise.
func (f frozen) Proof(ctx context.Context) (seen string, there bool, err error) {
	if f.paused {
		c, err := f.instance.env.engine.ContainerInspect(ctx, f.instance.id)
		if isNotFound(err) {
			return "the container is gone", false, nil
		}
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("container %.12s is %s; the engine does not ask it for its health meanwhile", f.instance.id, c.State.Status), c.State.Paused, nil
	}
	states, err := f.instance.states(ctx)
	if isNotFound(err) || errdefs.IsConflict(err) {
		return fmt.Sprintf("container %.12s does not run", f.instance.id), false, nil
	}
	if err != nil {
		return "", false, err
	}
	running := func(state string) bool { return !strings.HasPrefix(state, "T") }
	return fmt.Sprintf("the process of container %.12s is in state %s", f.instance.id, strings.Join(states, ", ")),
		len(states) > 0 && !slices.ContainsFunc(states, running), nil
}

// Heal thaws the container. One that has ended, or that runs again, needs no healing.
func (f frozen) Heal(ctx context.Context) error {
	engine := f.instance.env.engine
	var err error
	if f.paused {
		err = engine.ContainerUnpause(ctx, f.instance.id)
	} else {
		err = engine.ContainerKill(ctx, f.instance.id, "SIGCONT")
	}
	if err == nil || isNotFound(err) {
		return nil
	}
	// The engine refuses what makes no sense of a container that was replaced.
	if _, there, proofErr := f.Proof(ctx); proofErr == nil && !there {
		return nil
	}
	return err
}

// away is a container that was killed and is not started again.
type away struct{ killed }

// Proof implements drivers.Injection.
func (a away) Proof(ctx context.Context) (seen string, there bool, err error) {
	if seen, there, err = a.killed.Proof(ctx); !there || err != nil {
		return seen, there, err
	}
	c, err := a.instance.env.engine.ContainerInspect(ctx, a.instance.id)
	if err != nil {
		return "", false, err
	}
	return seen + ", and is " + string(c.State.Status), !c.State.Running, nil
}

// Heal starts the container again. That it is to stay away is forgotten when its start is seen.
func (a away) Heal(ctx context.Context) error {
	return a.instance.env.engine.ContainerStart(ctx, a.instance.id, containertypes.StartOptions{})
}

// throttled is a container that has got a share of a processor.
type throttled struct {
	instance *instance
	was      containertypes.Resources // to be set again
	want     containertypes.Resources
	waited   uint64 // periods in which it had to wait, when it was injected
}

// cpuPeriod is the engine's own choice, in microseconds.
const cpuPeriod = 100_000

// throttle gives the container a share, in the way in which it was given one when it was made:
// the engine does not let the other one be used.
func (i *instance) throttle(ctx context.Context, cpus float64) (drivers.Injection, error) {
	c, err := i.env.engine.ContainerInspect(ctx, i.id)
	if err != nil {
		return nil, err
	}
	t := throttled{instance: i}
	if c.HostConfig.NanoCPUs > 0 {
		t.want.NanoCPUs, t.was.NanoCPUs = int64(math.Round(cpus*1e9)), c.HostConfig.NanoCPUs
	} else {
		t.want.CPUPeriod, t.want.CPUQuota = cpuPeriod, int64(math.Round(cpus*cpuPeriod))
		t.was.CPUPeriod, t.was.CPUQuota = cpuPeriod, -1 // none
	}
	if t.waited, err = i.throttledPeriods(ctx); err != nil {
		return nil, err
	}
	if err := t.update(ctx, t.want); err != nil {
		return nil, errors.Join(err, t.Heal(context.WithoutCancel(ctx)))
	}
	return t, nil
}

func (t throttled) update(ctx context.Context, r containertypes.Resources) error {
	_, err := t.instance.env.engine.ContainerUpdate(ctx, t.instance.id, containertypes.UpdateConfig{Resources: r})
	return err
}

// throttledPeriods is in how many periods the kernel let the container wait, so far.
func (i *instance) throttledPeriods(ctx context.Context) (uint64, error) {
	r, err := i.env.engine.ContainerStatsOneShot(ctx, i.id)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var stats containertypes.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&stats); err != nil {
		return 0, fmt.Errorf("statistics of container %.12s: %w", i.id, err)
	}
	return stats.CPUStats.ThrottlingData.ThrottledPeriods, nil
}

// Proof is what the engine says of the container's share, and in how many periods the kernel let
// it wait since.
func (t throttled) Proof(ctx context.Context) (seen string, there bool, err error) {
	c, err := t.instance.env.engine.ContainerInspect(ctx, t.instance.id)
	if isNotFound(err) {
		return "the container is gone", false, nil
	}
	if err != nil {
		return "", false, err
	}
	now, err := t.instance.throttledPeriods(ctx)
	if err != nil {
		return "", false, err
	}
	h := c.HostConfig
	if now < t.waited { // it has begun anew: it was started again since
		t.waited = 0
	}
	return fmt.Sprintf("container %.12s has a quota of %d of %d us (%d nanocpus) and had to wait in %d periods", t.instance.id, h.CPUQuota, h.CPUPeriod, h.NanoCPUs, now-t.waited),
		h.NanoCPUs == t.want.NanoCPUs && h.CPUQuota == t.want.CPUQuota && now > t.waited, nil
}

// Heal takes the share back. A container that is gone needs no healing.
func (t throttled) Heal(ctx context.Context) error {
	if err := t.update(ctx, t.was); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}
