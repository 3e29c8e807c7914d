package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	containertypes "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

const (
	// portTries is how often a container is created anew when somebody else took a port.
	portTries = 3
	// settleLimit is how long, after the engine said that a container has stopped, its
	// event may take before the container is inspected instead.
	settleLimit = 2 * time.Second
)

// defaultStopSignal is what the engine sends when neither container nor image names one.
const defaultStopSignal = "SIGTERM"

// environment implements drivers.Env, all of its optional capabilities and fleet.Runtime.
type environment struct {
	*fleet.Environment
	driver  *Driver
	engine  *engine
	stack   drivers.Stack
	labels  map[string]string
	network string // its name, and the prefix of the containers'
	watched *watch

	image       string // that the driver built; "" if no service needs it
	prober      []byte // the program, for containers of other images
	stopSignals map[string]string
	networkMade bool

	following sync.WaitGroup // goroutines of instances
	stopping  sync.WaitGroup // goroutines of Stop and End

	mu        sync.Mutex
	instances map[*fleet.Instance]*instance // that have a container
	output    map[string]string             // of instances whose container is gone, by ID
	failures  []error                       // of cleaning up
}

var (
	_ drivers.Injector = (*environment)(nil)
	_ drivers.Logger   = (*environment)(nil)
	_ fleet.Runtime    = (*environment)(nil)
	_ fleet.Breaker    = (*environment)(nil)
)

func newEnvironment(d *Driver, engine *engine, stack drivers.Stack) (*environment, error) {
	lab, err := owner.Self()
	if err != nil {
		return nil, err
	}
	deployment := strings.ToLower(rand.Text()[:12])
	e := &environment{
		driver: d, engine: engine, stack: stack,
		network: "rollout-lab-" + deployment,
		labels: map[string]string{
			dockerengine.LabelDriver: driverName, dockerengine.LabelRun: stack.RunID, dockerengine.LabelOwner: lab.String(),
			labelDeployment: deployment,
		},
		stopSignals: map[string]string{},
		instances:   map[*fleet.Instance]*instance{},
		output:      map[string]string{},
	}
	e.Environment, err = fleet.New(fleet.Config{Stack: stack, Runtime: e, Clean: e.clean})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// prepare makes everything that the instances need: images, the network, the events.
func (e *environment) prepare(ctx context.Context) error {
	for _, s := range e.stack.Services() {
		if err := e.prepareImage(ctx, s); err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
	}
	making, made := whole(ctx)
	defer made()
	e.networkMade = true
	if _, err := e.engine.NetworkCreate(making, e.network, network.CreateOptions{Driver: "bridge", Labels: e.labels}); err != nil {
		return fmt.Errorf("create network %s: %w", e.network, err)
	}
	e.watched = newWatch(e)
	return nil
}

func (e *environment) prepareImage(ctx context.Context, s drivers.Service) error {
	if s.Image == "" {
		if e.image != "" {
			return nil
		}
		labels := maps.Clone(e.labels)
		delete(labels, labelDeployment) // several may share it
		name, err := e.driver.acquireImage(ctx, e.engine, labels)
		if err != nil {
			return err
		}
		e.image, e.stopSignals[name] = name, defaultStopSignal
		return nil
	}
	found, err := fetchImage(ctx, e.engine, s.Image)
	if err != nil {
		return err
	}
	e.stopSignals[s.Image] = defaultStopSignal
	if found.Config != nil && found.Config.StopSignal != "" {
		e.stopSignals[s.Image] = found.Config.StopSignal
	}
	switch s.Signal.Kind {
	case drivers.ProbeImage:
		if found.Config == nil || found.Config.Healthcheck == nil || len(found.Config.Healthcheck.Test) == 0 || found.Config.Healthcheck.Test[0] == "NONE" {
			return &drivers.HintError{
				Err:  fmt.Errorf("image %s has no health check", s.Image),
				Hint: "give the service a signal of kind http, tcp or command",
			}
		}
	case drivers.ProbeHTTP, drivers.ProbeTCP:
		if e.prober == nil {
			e.prober, err = e.driver.binary(ctx, e.engine.Arch)
		}
	}
	return err
}

// Create implements fleet.Runtime.
func (e *environment) Create(ctx context.Context, i *fleet.Instance) error {
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		numbers, err := e.driver.ports.Take(len(i.Service.Ports))
		if err != nil {
			return err
		}
		if err = e.launch(ctx, i, numbers); err == nil {
			return nil
		}
		// What was free when it was chosen may have been taken before the engine bound it.
		lost := slices.ContainsFunc(numbers, func(p int) bool { return !ports.Free(p) })
		e.driver.ports.Release(numbers)
		if !lost || try == portTries {
			return err
		}
	}
}

// Stop implements fleet.Runtime.
func (e *environment) Stop(_ context.Context, f *fleet.Instance) error {
	i := e.instanceOf(f)
	if i == nil {
		return nil // it ended by itself, and is about to be reported as gone
	}
	e.stopping.Go(func() { e.stop(i) })
	return nil
}

// stop stops a container and sees to it that its end is taken in.
func (e *environment) stop(i *instance) {
	grace := i.Service.StopGrace
	i.reports.Put(report{}) // one that does not run at present is not started again
	// The engine knows whole seconds only. It gets more than the grace, in case the lab
	// does not live to see its end.
	var killing sync.WaitGroup
	killing.Add(1)
	timer := time.AfterFunc(grace, func() {
		defer killing.Done()
		e.kill(i, fmt.Sprintf("killed after its grace of %v", grace))
	})
	defer func() {
		if timer.Stop() {
			killing.Done()
		}
		killing.Wait()
	}()
	seconds := int(math.Ceil(grace.Seconds()))
	var away time.Time // since when the engine does not answer
	for wait := firstBackoff; ; wait = longer(wait) {
		err := e.stopOnce(i, seconds)
		if i.endsWithin(wait) {
			return
		}
		switch {
		case err == nil:
			away = time.Time{}
		case away.IsZero():
			away = time.Now()
		case time.Since(away) > absenceLimit:
			e.fail(fmt.Errorf("stop container %s of %s: %w", i.id, i.ID, err))
			i.reports.Put(report{notFound: true})
			<-i.ended
			return
		}
	}
}

// stopOnce asks the engine to stop a container, and then what has become of it unless it
// tells that itself.
func (e *environment) stopOnce(i *instance, seconds int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second+callLimit)
	defer cancel()
	err := e.engine.ContainerStop(ctx, i.id, containertypes.StopOptions{Timeout: &seconds})
	if err != nil && !isNotFound(err) {
		return err
	}
	if i.endsWithin(settleLimit) {
		return nil
	}
	return e.inspect(ctx, i)
}

// endsWithin waits for so long at most for the end of the instance.
func (i *instance) endsWithin(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-i.ended:
		return true
	case <-timer.C:
		return false
	}
}

// kill ends a container at once; why is told when it is gone.
func (e *environment) kill(i *instance, why string) {
	select {
	case <-i.ended:
		return
	default:
	}
	i.mu.Lock()
	i.detail = why
	i.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	err := e.engine.ContainerKill(ctx, i.id, "SIGKILL")
	if err != nil && !isNotFound(err) && !errdefs.IsConflict(err) {
		i.mu.Lock()
		i.detail = "kill: " + err.Error()
		i.mu.Unlock()
	}
}

// End implements fleet.Runtime.
func (e *environment) End(f *fleet.Instance) {
	if i := e.instanceOf(f); i != nil {
		e.stopping.Go(func() { e.kill(i, "killed: the environment was closed without grace") })
	}
}

// inspect asks the engine what has become of a container and lets follow take that in.
func (e *environment) inspect(ctx context.Context, i *instance) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	c, err := e.engine.ContainerInspect(ctx, i.id)
	switch {
	case isNotFound(err):
		i.reports.Put(report{notFound: true})
		return nil
	case err != nil:
		return err
	}
	i.reports.Put(report{found: c.State})
	return nil
}

// clean implements fleet.Config.Clean.
func (e *environment) clean(ctx context.Context) error {
	e.stopping.Wait()
	e.following.Wait()
	if e.watched != nil {
		e.watched.close()
	}
	var errs []error
	if e.networkMade {
		err := e.engine.persist(ctx, func(ctx context.Context) error { return e.engine.NetworkRemove(ctx, e.network) })
		if err != nil {
			errs = append(errs, fmt.Errorf("remove network %s: %w", e.network, err))
		}
	}
	if e.image != "" {
		errs = append(errs, e.driver.releaseImage(ctx, e.engine, e.stack.RunID))
	}
	e.driver.forget(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(append(e.failures, errs...)...)
}

func (e *environment) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures = append(e.failures, err)
}

func (e *environment) added(i *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.instances[i.Instance] = i
}

func (e *environment) dropped(i *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.instances, i.Instance)
}

func (e *environment) keepLogs(id, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.output[id] = text
}

func (e *environment) instanceOf(f *fleet.Instance) *instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.instances[f]
}

// byContainer is the instance that has a container, nil if there is none any more.
func (e *environment) byContainer(id string) *instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range e.instances {
		if i.id == id {
			return i
		}
	}
	return nil
}

func (e *environment) all() []*instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.instances))
}

// Logs implements drivers.Logger: the last 64 KiB of what an instance wrote, also of one
// that is gone.
func (e *environment) Logs(ctx context.Context, instanceID string) (string, error) {
	e.mu.Lock()
	text, gone := e.output[instanceID]
	var id string
	for f, i := range e.instances {
		if f.ID == instanceID {
			id = i.id
		}
	}
	e.mu.Unlock()
	if gone {
		return text, nil
	}
	if id == "" {
		return "", fmt.Errorf("logs: %w: %s", fleet.ErrNoInstance, instanceID)
	}
	text, err := e.engine.readLogs(ctx, id)
	if err != nil {
		return "", fmt.Errorf("logs of %s: %w", instanceID, err)
	}
	return text, nil
}

func isNotFound(err error) bool { return errdefs.IsNotFound(err) }
