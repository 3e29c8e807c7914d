package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestHealthcheck(t *testing.T) {
	prober := []string{"/program", "probe"}
	places := drivers.Places{Listen: map[string]string{"data": "0.0.0.0:8080"}}
	http := drivers.Probe{Kind: drivers.ProbeHTTP, Port: "health", Path: "/ready", Interval: 300 * time.Millisecond, Timeout: 200 * time.Millisecond, Fall: 2}
	for name, c := range map[string]struct {
		probe         drivers.Probe
		startInterval bool
		want          *container.HealthConfig
		spec          *spec // that the last argument of the test holds
	}{
		"none":       {probe: drivers.Probe{Kind: drivers.ProbeNone}, want: &container.HealthConfig{Test: []string{"NONE"}}},
		"no kind":    {want: &container.HealthConfig{Test: []string{"NONE"}}},
		"image":      {probe: drivers.Probe{Kind: drivers.ProbeImage}, want: &container.HealthConfig{}},
		"image, own": {probe: drivers.Probe{Kind: drivers.ProbeImage, Interval: time.Second, Fall: 4}, want: &container.HealthConfig{Interval: time.Second, Retries: 4}},
		"http": {
			probe: http,
			want:  &container.HealthConfig{Test: []string{"CMD", "/program", "probe"}, Interval: 300 * time.Millisecond, Timeout: 1200 * time.Millisecond, Retries: 2},
			spec:  &spec{"127.0.0.1:81", http.WithDefaults()},
		},
		"http with a start interval": {
			probe: http, startInterval: true,
			want: &container.HealthConfig{Test: []string{"CMD", "/program", "probe"}, Interval: 300 * time.Millisecond, StartInterval: 300 * time.Millisecond, Timeout: 1200 * time.Millisecond, Retries: 2},
			spec: &spec{"127.0.0.1:81", http.WithDefaults()},
		},
		"tcp with defaults": {
			probe: drivers.Probe{Kind: drivers.ProbeTCP, Port: "health"},
			want:  &container.HealthConfig{Test: []string{"CMD", "/program", "probe"}, Interval: time.Second, Timeout: 2 * time.Second, Retries: 1},
			spec:  &spec{"127.0.0.1:81", drivers.Probe{Kind: drivers.ProbeTCP, Port: "health"}.WithDefaults()},
		},
		"command": {
			probe: drivers.Probe{Kind: drivers.ProbeCommand, Command: []string{"check", "${listen.data}"}, Interval: time.Minute, Timeout: time.Second, Fall: 3},
			want:  &container.HealthConfig{Test: []string{"CMD", "check", "0.0.0.0:8080"}, Interval: time.Minute, Timeout: time.Second, Retries: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := healthcheck(c.probe, prober, "127.0.0.1:81", places, c.startInterval)
			if err != nil {
				t.Fatal(err)
			}
			if c.spec != nil {
				last := len(got.Test) - 1
				var s spec
				if err := json.Unmarshal([]byte(got.Test[last]), &s); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(*c.spec, s); diff != "" {
					t.Errorf("the prober is told something else (-want +got):\n%s", diff)
				}
				got.Test = got.Test[:last]
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, p := range map[string]drivers.Probe{
		"interval below the engine's":   {Kind: drivers.ProbeTCP, Port: "health", Interval: time.Microsecond},
		"unknown kind":                  {Kind: "guess"},
		"placeholder that is not there": {Kind: drivers.ProbeCommand, Command: []string{"${listen.nowhere}"}},
	} {
		if got, err := healthcheck(p, prober, "", places, false); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

// TestProbeMain: what healthcheck writes, ProbeMain understands.
func TestProbeMain(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("the answer\n")) // the test's own connection
	}))
	defer server.Close()
	h, err := healthcheck(drivers.Probe{Kind: drivers.ProbeHTTP}, nil, server.Listener.Addr().String(), drivers.Places{}, false)
	if err != nil {
		t.Fatal(err)
	}
	args := h.Test[1:]
	for _, c := range []struct {
		status, want int
		args         []string
		output       string
	}{
		{http.StatusOK, 0, args, "200 the answer\n"},
		{http.StatusServiceUnavailable, 1, args, "503 the answer\n"},
		{http.StatusOK, 1, nil, "health probe: 0 arguments, want 1\n"},
	} {
		status = c.status
		var out bytes.Buffer
		if got := ProbeMain(c.args, &out); got != c.want || out.String() != c.output {
			t.Errorf("status %d, arguments %q: exit status %d, output %q; want %d, %q", c.status, c.args, got, out.String(), c.want, c.output)
		}
	}
}

func TestStatus(t *testing.T) {
	event := func(at int64, action string, attributes ...string) report {
		m := &events.Message{Action: events.Action(action), TimeNano: at, Actor: events.Actor{Attributes: map[string]string{}}}
		for n := 0; n < len(attributes); n += 2 {
			m.Actor.Attributes[attributes[n]] = attributes[n+1]
		}
		return report{event: m}
	}
	at := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
	running := func(since int64, health string) report {
		return report{found: &container.State{Running: true, StartedAt: at(since), Health: &container.Health{Status: health}}}
	}
	const getsHealthy, getsUnhealthy = "health_status: healthy", "health_status: unhealthy"
	for name, c := range map[string]struct {
		reports []report
		want    []string // what is told, and the verdict where it changes
	}{
		"life": {
			[]report{event(10, "start"), event(20, getsHealthy), event(30, getsUnhealthy), event(40, getsHealthy), event(50, "die", "exitCode", "0"), event(60, "destroy")},
			[]string{"started", "ready", "unready", "unhealthy", "ready", "unready", "died exit status 0", "deleted"},
		},
		"restart begins with no verdict": {
			[]report{event(10, "start"), event(20, getsHealthy), event(30, "die", "exitCode", "2"), event(40, "start"), event(50, getsHealthy)},
			[]string{"started", "ready", "unready", "died exit status 2", "started", "ready"},
		},
		"out of memory": {
			[]report{event(10, "start"), event(20, "oom"), event(30, "die", "exitCode", "137")},
			[]string{"started", "died exit status 137, out of memory"},
		},
		"paused is not ready, whatever its health": {
			[]report{event(10, "start"), event(20, getsHealthy), event(30, "pause"), event(40, "unpause")},
			[]string{"started", "ready", "unready", "ready"},
		},
		"each event once": {
			[]report{event(10, "start"), event(10, "start"), event(20, getsHealthy), event(20, getsHealthy), event(30, "die", "exitCode", "1"), event(30, "die", "exitCode", "1")},
			[]string{"started", "ready", "unready", "died exit status 1"},
		},
		"an inspection finds nothing new": {
			[]report{event(10, "start"), event(20, getsHealthy), running(9, "healthy")},
			[]string{"started", "ready"},
		},
		"an inspection finds what was missed": {
			[]report{event(10, "start"), event(20, getsHealthy), running(9, "unhealthy"), event(25, getsUnhealthy)},
			[]string{"started", "ready", "unready", "unhealthy"},
		},
		"an inspection finds another run, and the events come after it": {
			[]report{event(10, "start"), event(20, getsHealthy), running(40, "healthy"), event(30, "die", "exitCode", "1"), event(41, "start"), event(50, getsHealthy)},
			[]string{"started", "ready", "unready", "died its end was not seen", "started", "ready"},
		},
		"an inspection finds it dead": {
			[]report{event(10, "start"), event(20, getsHealthy), {found: &container.State{StartedAt: at(9), ExitCode: 7}}, event(30, "die", "exitCode", "7")},
			[]string{"started", "ready", "unready", "died exit status 7"},
		},
		"an inspection finds it dead, and it was never seen": {
			[]report{{found: &container.State{StartedAt: at(9), ExitCode: 7, OOMKilled: true}}},
			[]string{"started", "died exit status 7, out of memory"},
		},
		"an inspection finds nothing": {
			[]report{event(10, "start"), event(20, getsHealthy), {notFound: true}, event(30, "die"), event(31, "destroy")},
			[]string{"started", "ready", "unready", "died removed", "deleted"},
		},
		"an inspection before the start": {
			[]report{{found: &container.State{StartedAt: "0001-01-01T00:00:00Z"}}, event(10, "start")},
			[]string{"started"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s status
			var got []string
			was := false
			for _, r := range c.reports {
				changes := s.transition(r)
				verdict := func(ready bool) {
					if ready != was {
						got = append(got, map[bool]string{true: "ready", false: "unready"}[ready])
					}
					was = ready
				}
				ready, _ := s.ready(drivers.ProbeHTTP)
				for _, c := range changes {
					if c.kind == died || c.kind == unhealthy {
						verdict(false)
					}
					got = append(got, strings.TrimSpace(map[changeKind]string{started: "started", died: "died " + c.detail, unhealthy: "unhealthy", deleted: "deleted"}[c.kind]))
				}
				verdict(ready)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadyWithoutASignal(t *testing.T) {
	var s status
	for _, c := range []struct {
		action events.Action
		want   bool
	}{{"start", true}, {"pause", false}, {"unpause", true}, {"die", false}} {
		s.transition(report{event: &events.Message{Action: c.action}})
		if got, why := s.ready(drivers.ProbeNone); got != c.want {
			t.Errorf("after %s: ready is %t (%s), want %t", c.action, got, why, c.want)
		}
	}
}

// TestBuild: the program is built once, and every deployment gets the same.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module built\n\ngo 1.26\n")
	write("main.go", "package main\n\nfunc main() {}\n")
	d := New(Config{Program: filepath.Join(dir, "go.mod"), Source: dir})
	b, err := d.binary(t.Context(), "arm64")
	if err != nil || len(b) == 0 {
		t.Fatalf("built %d bytes, %v", len(b), err)
	}
	write("main.go", "package main\n\nfunc main() { nonsense() }\n")
	if again, err := d.binary(t.Context(), "arm64"); err != nil || !bytes.Equal(b, again) {
		t.Errorf("the program is another one the second time, or %v", err)
	}
	_, err = d.binary(t.Context(), "amd64")
	var hint *drivers.HintError
	if !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v, want ErrUnavailable with a hint and what the compiler says", err)
	}
}

func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		service drivers.Service
		want    map[string]int
	}{
		"free":  {drivers.Service{Ports: []string{"a", "b"}}, map[string]int{"a": 8080, "b": 8081}},
		"fixed": {drivers.Service{Ports: []string{"a", "b", "c"}, Fixed: map[string]int{"b": 8080}}, map[string]int{"a": 8081, "b": 8080, "c": 8082}},
	} {
		if diff := cmp.Diff(c.want, numbers(c.service)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhatTakesAwayIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("cannot connect")
		var e engine
		calls := 0
		err := e.persist(t.Context(), func(context.Context) error {
			if calls++; calls < 5 {
				return away
			}
			return nil
		})
		if err != nil || calls != 5 {
			t.Errorf("an engine that comes back: %v after %d calls, want success at the fifth", err, calls)
		}
		began := time.Now()
		if err := e.persist(t.Context(), func(context.Context) error { return away }); !errors.Is(err, away) {
			t.Errorf("an engine that stays away: %v, want %v", err, away)
		}
		if took := time.Since(began); took < absenceLimit || took > absenceLimit+2*maxBackoff {
			t.Errorf("given up after %v, want about %v", took, absenceLimit)
		}
		began = time.Now()
		inUse := fmt.Errorf("network: %w", errdefs.ErrPermissionDenied)
		if err := e.persist(t.Context(), func(context.Context) error { return inUse }); !errors.Is(err, inUse) {
			t.Errorf("an engine that refuses: %v, want %v", err, inUse)
		}
		if took := time.Since(began); took < refusalLimit || took > refusalLimit+2*maxBackoff {
			t.Errorf("given up after %v, want about %v", took, refusalLimit)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.persist(ctx, func(context.Context) error { return away }); !errors.Is(err, away) {
			t.Errorf("with a context that has ended: %v, want %v", err, away)
		}
	})
}
