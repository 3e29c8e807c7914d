package docker

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	containertypes "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

const (
	// firstPort is the number, inside the container, of the first port that is not fixed.
	firstPort = 8080
	// logTail bounds what is kept of an instance's output, in bytes and in lines.
	logTail      = 64 << 10
	logTailLines = 2000
	// callLimit bounds one call to the engine that takes a moment at most.
	callLimit = 15 * time.Second
	// lookAgain is how often a container is inspected that ended and is to be started again
	// by the engine.
	lookAgain = 5 * time.Second
)

// instance is the container of one instance of a service.
type instance struct {
	*fleet.Instance
	env     *environment
	name    string
	id      string
	ports   []int
	reports *drivers.Queue[report]

	// follow's own:
	exit        string    // how it died last
	restartedAt time.Time // by the driver, after a kill

	died drivers.Broadcast

	mu     sync.Mutex
	killed bool     // by a fault: the engine does not start it again
	away   bool     // by a fault: nobody is to start it again until it is healed
	ends   []string // how it has ended, each time
	detail string   // how it came to its end, when the driver had a hand in that

	ended chan struct{} // closed when the container is removed and follow has returned
}

// follow takes in what the engine says of the container until it is removed.
func (i *instance) follow() {
	defer close(i.ended)
	var s status
	ran := false
	for {
		var again <-chan time.Time
		if ran && !s.running {
			again = time.After(lookAgain)
		}
		select {
		case <-i.reports.Ready():
		case <-again:
			// An engine that gives up on a restart says nothing of it. That it does not answer
			// is for the watch to notice.
			_ = i.env.inspect(context.Background(), i)
		}
		for _, r := range i.reports.Take() {
			changes := s.transition(r)
			for _, c := range changes {
				ran = ran || c.kind == started
				i.tell(c)
			}
			i.SetReady(s.ready(i.Service.Signal.Kind))
			if slices.ContainsFunc(changes, func(c change) bool { return c.kind == unhealthy }) {
				i.Answer(i.env.lastCheck(i.id)) // after the verdict, as it takes a moment
			}
			if (ran || s.deleted) && !s.running && i.finish(&s, r.gaveUp()) {
				return
			}
		}
	}
}

// tell passes on what became of the container.
func (i *instance) tell(c change) {
	switch c.kind {
	case started:
		i.set(func() { i.away = false })
		i.Started(c.detail + " " + i.id[:min(len(i.id), 12)])
	case died:
		i.exit = c.detail
		i.SetReady(false, "container ended: "+c.detail)
		i.Exited(c.detail, lastLines(i.env.logs(i.id), 5))
		i.set(func() { i.ends = append(i.ends, c.detail) })
		i.died.Send()
	}
}

// lastWords is the last of the output, for an error, and what the last health check said:
// the engine tells of its verdict alone, and an instance may be far from one.
func (i *instance) lastWords() string {
	words := lastLines(i.env.logs(i.id), 5)
	if check := i.env.lastCheck(i.id); check != "" {
		words += "; last health check: " + check
	}
	return words
}

// finish removes a container that does not run unless it is to be started again, and says
// whether it has. The engine has given up on one that it was to start again and does not.
func (i *instance) finish(s *status, gaveUp bool) (removed bool) {
	i.mu.Lock()
	killed, away, detail := i.killed, i.away, i.detail
	i.killed = false
	i.mu.Unlock()
	if away && !i.Stopping() && !s.deleted {
		return false
	}
	// What was found just before it was started again here is no news.
	gaveUp = gaveUp && !killed && time.Since(i.restartedAt) > callLimit
	if i.Service.RestartOnExit && !i.Stopping() && !s.deleted && !gaveUp {
		if !killed {
			return false
		}
		err := i.restart()
		if err == nil {
			i.restartedAt = time.Now()
			return false
		}
		detail = "start after a kill: " + err.Error()
	}
	if err := i.remove(); err != nil {
		i.env.fail(err)
		detail = strings.TrimPrefix(detail+"; "+err.Error(), "; ")
	}
	i.env.dropped(i)
	i.env.driver.ports.Release(i.ports)
	switch {
	case detail == "":
		detail = i.exit
	case i.exit != "":
		detail = i.exit + " (" + detail + ")"
	}
	i.Gone(detail)
	return true
}

// restart starts a container that a fault has ended.
func (i *instance) restart() error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return i.env.engine.ContainerStart(ctx, i.id, containertypes.StartOptions{})
}

// remove keeps the last of the container's output and removes it with its volumes.
func (i *instance) remove() error {
	i.env.keepLogs(i.ID, i.env.logs(i.id))
	return i.env.engine.persist(context.Background(), func(ctx context.Context) error {
		return i.env.engine.RemoveContainer(ctx, i.id)
	})
}

// numbers are the numbers of a service's ports inside its container.
func numbers(s drivers.Service) map[string]int {
	out := map[string]int{}
	used := map[int]bool{}
	for name, n := range s.Fixed {
		out[name], used[n] = n, true
	}
	next := firstPort
	for _, name := range s.Ports {
		if _, fixed := s.Fixed[name]; fixed {
			continue
		}
		for used[next] {
			next++
		}
		out[name], used[next] = next, true
	}
	return out
}

// request is what a container is made from.
type request struct {
	config  *containertypes.Config
	host    *containertypes.HostConfig
	network *network.NetworkingConfig
}

// request is the container of an instance, with its ports published on these.
func (e *environment) request(i *fleet.Instance, published []int) (request, error) {
	inside := numbers(i.Service)
	listen := map[string]string{}
	reach, peers := map[string]string{}, map[string]string{}
	alias := strings.ToLower(i.ID)
	exposed, bindings := nat.PortSet{}, nat.PortMap{}
	for n, port := range i.Service.Ports {
		listen[port] = "0.0.0.0:" + strconv.Itoa(inside[port])
		reach[port] = ports.Loopback(published[n])
		peers[port] = alias + ":" + strconv.Itoa(inside[port])
		p := nat.Port(strconv.Itoa(inside[port]) + "/tcp")
		exposed[p] = struct{}{}
		bindings[p] = append(bindings[p], nat.PortBinding{HostIP: "127.0.0.1", HostPort: strconv.Itoa(published[n])})
	}
	i.SetAddrs(reach, peers)
	places := i.Places(listen)
	args, variables, err := places.Command(i.Service)
	if err != nil {
		return request{}, err
	}
	image, prober := e.image, programPath
	if i.Service.Image == "" {
		args = append(slices.Clone(e.driver.config.Args), args...)
	} else {
		image, prober = i.Service.Image, proberPath
	}
	signal := i.Service.Signal
	asked := "127.0.0.1:" + strconv.Itoa(inside[signal.Port])
	health, err := healthcheck(signal, append([]string{prober}, e.driver.config.Probe...), asked, places, e.engine.startInterval())
	if err != nil {
		return request{}, err
	}
	role := roleDependency
	if i.Subject {
		role = roleSubject
	}
	r := request{
		config: &containertypes.Config{
			Image: image, Cmd: args, ExposedPorts: exposed, Healthcheck: health,
			Labels: withLabels(e.labels, labelService, i.Service.Name, labelRole, role, labelInstance, i.ID, labelRevision, i.Revision),
			// Any signal sent through the engine would count as the wish to stop, and cancel
			// the restart policy, if it did not know which one is.
			StopSignal: e.stopSignals[image],
		},
		host: &containertypes.HostConfig{
			NetworkMode:  containertypes.NetworkMode(e.network),
			PortBindings: bindings,
			Resources: containertypes.Resources{
				NanoCPUs:   int64(math.Round(i.Service.Limits.CPUs * 1e9)),
				Memory:     i.Service.Limits.Memory,
				MemorySwap: i.Service.Limits.Memory, // no more than that with swap
			},
			// The driver reads the output back, which not every way of logging allows.
			LogConfig: containertypes.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m", "max-file": "2"}},
		},
		network: &network.NetworkingConfig{
			EndpointsConfig: map[string]*network.EndpointSettings{e.network: {Aliases: []string{alias}}},
		},
	}
	for name, value := range variables {
		r.config.Env = append(r.config.Env, name+"="+value)
	}
	if i.Service.RestartOnExit {
		r.host.RestartPolicy.Name = containertypes.RestartPolicyAlways
	}
	return r, nil
}

// launch creates and starts a container. When it fails nothing is left of it.
func (e *environment) launch(ctx context.Context, f *fleet.Instance, ports []int) error {
	i := &instance{
		Instance: f, env: e, ports: ports, name: e.network + "-" + strings.ToLower(f.ID),
		reports: drivers.NewQueue[report](), ended: make(chan struct{}),
	}
	r, err := e.request(f, ports)
	if err != nil {
		return err
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	made, err := e.engine.ContainerCreate(ctx, r.config, r.host, r.network, nil, i.name)
	if err != nil {
		return joined(fmt.Errorf("create container %s: %w", i.name, err), e.engine.RemoveContainer(ctx, i.name))
	}
	i.id = made.ID
	if f.Service.Image != "" && (f.Service.Signal.Kind == drivers.ProbeHTTP || f.Service.Signal.Kind == drivers.ProbeTCP) {
		if err := e.addProber(ctx, i.id); err != nil {
			return joined(fmt.Errorf("copy the health probe: %w", err), e.engine.RemoveContainer(ctx, i.id))
		}
	}
	f.Output(i.lastWords)
	e.added(i)
	if err := e.engine.ContainerStart(ctx, i.id, containertypes.StartOptions{}); err != nil {
		e.dropped(i)
		return joined(fmt.Errorf("start container %s: %w", i.name, err), e.engine.RemoveContainer(ctx, i.id))
	}
	e.following.Go(i.follow)
	return nil
}

// addProber copies the program into a container of an image that lacks it.
func (e *environment) addProber(ctx context.Context, id string) error {
	archive, err := dockerengine.Tar(dockerengine.File{Name: strings.TrimPrefix(proberPath, "/"), Mode: 0o555, Content: e.prober})
	if err != nil {
		return err
	}
	return e.engine.CopyToContainer(ctx, id, "/", bytes.NewReader(archive), containertypes.CopyToContainerOptions{})
}

// joined is an error and, if there is one, that of cleaning up after it.
func joined(err, cleaning error) error {
	if cleaning == nil {
		return err
	}
	return fmt.Errorf("%w; and cleaning up: %w", err, cleaning)
}

// logs is the end of a container's output, "" when the engine has none to give.
func (e *environment) logs(id string) string {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	text, err := e.engine.readLogs(ctx, id)
	if err != nil {
		return ""
	}
	return text
}

func (e *engine) readLogs(ctx context.Context, id string) (string, error) {
	text, err := e.LastLines(ctx, id, logTailLines)
	if err != nil {
		return "", err
	}
	return strings.ToValidUTF8(text[max(len(text)-logTail, 0):], ""), nil
}

// lastLines is the last n lines of a text that are not empty, on one line.
func lastLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(len(lines)-n, 0):], " | ")
}

// lastCheck is what the last health check of a container printed, "" if there was none.
func (e *environment) lastCheck(id string) string {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	c, err := e.engine.ContainerInspect(ctx, id)
	if err != nil || c.State == nil || c.State.Health == nil || len(c.State.Health.Log) == 0 {
		return ""
	}
	last := c.State.Health.Log[len(c.State.Health.Log)-1]
	return strings.TrimSpace(fmt.Sprintf("exit status %d: %s", last.ExitCode, lastLines(last.Output, 3)))
}
