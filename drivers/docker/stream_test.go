package docker_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	containertypes "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/docker"
)

// gate is a socket in front of the engine's that can be cut.
type gate struct {
	listener net.Listener
	engine   string // path of its socket
	done     sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

// newGate skips the test where the engine has no socket in the file system.
func newGate(t *testing.T) *gate {
	t.Helper()
	where := os.Getenv("DOCKER_HOST")
	if where == "" {
		where = client.DefaultDockerHost
	}
	path, ok := strings.CutPrefix(where, "unix://")
	if !ok {
		t.Skipf("the engine is at %s, want a socket", where)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "gate.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, engine: path, conns: map[net.Conn]struct{}{}}
	g.done.Go(g.serve)
	t.Cleanup(func() {
		l.Close()
		g.set(true)
		g.done.Wait()
	})
	return g
}

func (g *gate) host() string { return "unix://" + g.listener.Addr().String() }

func (g *gate) serve() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		if !g.keep(c) {
			c.Close()
			continue
		}
		up, err := net.Dial("unix", g.engine)
		if err != nil || !g.keep(up) {
			c.Close()
			continue
		}
		for from, to := range map[net.Conn]net.Conn{c: up, up: c} {
			g.done.Go(func() {
				_, _ = io.Copy(to, from) // ends when either side does
				from.Close()
				to.Close()
			})
		}
	}
}

// keep remembers a connection, to be closed by a cut; it says whether there is none now.
func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.cut {
		g.conns[c] = struct{}{}
	}
	return !g.cut
}

// set cuts the connections and lets no more in, or lets them in again.
func (g *gate) set(cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = cut
	for c := range g.conns {
		c.Close()
	}
	clear(g.conns)
}

// containerOf finds the container of an instance by its address.
func containerOf(t *testing.T, env drivers.Env, instance string) string {
	t.Helper()
	list, err := env.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.ID != instance {
			continue
		}
		found, err := engineClient(t).ContainerList(t.Context(), containertypes.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", "dev.rollout-lab.instance="+instance)),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range found {
			for _, p := range c.Ports {
				if strings.HasSuffix(i.Addr, ":"+strconv.Itoa(int(p.PublicPort))) {
					return c.ID
				}
			}
		}
	}
	t.Fatalf("no container of %s", instance)
	return ""
}

// isUnhealthy says what else the engine calls a container.
func isUnhealthy(ctx context.Context, c *client.Client, id string) error {
	found, err := c.ContainerInspect(ctx, id)
	if err == nil && (found.State.Health == nil || found.State.Health.Status != containertypes.Unhealthy) {
		err = fmt.Errorf("its health is %+v", found.State.Health)
	}
	return err
}

// TestABrokenStream: while the engine cannot be heard one instance becomes unhealthy and
// another one is removed. Watchers are told of the gap, and of both once it has ended; the
// third instance serves throughout and nothing is told of it twice.
func TestABrokenStream(t *testing.T) {
	requireEngine(t)
	c := config(t)
	g := newGate(t)
	real := engineClient(t)
	t.Setenv("DOCKER_HOST", g.host())
	h := harness()
	h.Driver = func(testing.TB) drivers.Driver { return docker.New(c) }
	b := h.Deploy(t, slow, func(s *drivers.Stack) { s.Replicas = 3 })
	b.MayLose = true
	env, list := b.Env, b.Instances()
	sick, lost, well := list[0], list[1], list[2]
	sickID, lostID := containerOf(t, env, sick.ID), containerOf(t, env, lost.ID)

	g.set(true)
	b.AwaitEvent(drivers.Lost, "", "")
	b.Set(sick, "ready", false)
	if err := real.ContainerRemove(t.Context(), lostID, containertypes.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	b.Eventually("the engine to call it unhealthy", func(ctx context.Context) error { return isUnhealthy(ctx, real, sickID) })
	if err := env.Restart(t.Context()); err == nil {
		t.Error("a restart without an engine succeeded")
	}
	g.set(false)

	b.AwaitEvent(drivers.Unready, sick.ID, "")
	b.AwaitEvent(drivers.Gone, lost.ID, "")
	for range 10 {
		if answer := get(t, env.URL()); !strings.HasPrefix(answer, well.ID+" ") {
			t.Errorf("answered by %q, want %s, which alone is ready", answer, well.ID)
		}
	}
	b.Set(sick, "ready", true)
	b.AwaitNth(2, drivers.Ready, sick.ID)
	if err := env.Scale(t.Context(), 3); err != nil {
		t.Errorf("a change after the stream was mended: %v", err)
	}
	if err := env.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for e := range env.Watch() {
		count[string(e.Kind)+" "+e.Instance]++
	}
	for what, want := range map[string]int{
		"lost ":              1,
		"started " + well.ID: 1, "ready " + well.ID: 1, "unready " + well.ID: 1, "gone " + well.ID: 1,
		"started " + sick.ID: 1, "ready " + sick.ID: 2, "unready " + sick.ID: 2, "gone " + sick.ID: 1,
		"started " + lost.ID: 1, "ready " + lost.ID: 1, "unready " + lost.ID: 1, "gone " + lost.ID: 1,
	} {
		if count[what] != want {
			t.Errorf("%d events %q, want %d", count[what], what, want)
		}
	}
}
