package docker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestObserveKnowsItsContainers(t *testing.T) {
	o := &observation{what: "web"}
	for name, want := range map[string]bool{"web": true, "web-2": true, "shop-web-1": false, "other": false} {
		if got := o.matches(name, nil); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if !o.matches("shop-web-1", map[string]string{composeService: "web"}) || o.matches("shop-db-1", map[string]string{composeService: "db"}) {
		t.Error("want the instances of the compose service web")
	}
}

// What the engine says of a container, with and without a health check, becomes the events of
// an instance, each once.
func TestObserveSaysWhatBecomesOfContainers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signal drivers.ProbeKind
		tell   []string // what the engine says: its action, then attributes
		want   []string
	}{
		{"no health check", drivers.ProbeNone, []string{"start", "kill signal=15", "kill signal=15", "die exitCode=0", "destroy"},
			[]string{"started", "ready", "terminating", "unready", "gone"}},
		{"a signal that ends nothing", drivers.ProbeNone, []string{"start", "kill signal=1"}, []string{"started", "ready"}},
		{"started again", drivers.ProbeNone, []string{"start", "die exitCode=1", "start", "kill signal=15"},
			[]string{"started", "ready", "unready", "gone", "started", "ready", "terminating"}},
		{"a health check", drivers.ProbeImage, []string{"start", "health_status: healthy", "health_status: unhealthy", "health_status: healthy", "die exitCode=137"},
			[]string{"started", "ready", "unready", "ready", "unready", "gone"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const id = "0123456789abcdef"
			o := &observation{what: "web", seen: map[string]*observed{id: {name: "web-1", signal: tt.signal}}}
			for n, text := range tt.tell {
				action, attributes := text, map[string]string{"name": "web-1"}
				if before, after, ok := strings.Cut(text, " "); ok && strings.Contains(after, "=") {
					action = before
					key, value, _ := strings.Cut(after, "=")
					attributes[key] = value
				}
				o.hear(t.Context(), events.Message{Action: events.Action(action), Actor: events.Actor{ID: id, Attributes: attributes}, TimeNano: int64(n + 1)})
			}
			o.hear(t.Context(), events.Message{Action: events.ActionDie, Actor: events.Actor{ID: "other", Attributes: map[string]string{"name": "db"}}})
			o.log.Close()
			var got []string
			for e := range o.Watch() {
				got = append(got, string(e.Kind))
				if e.Instance != "web-1@01234567" {
					t.Errorf("it is called %q", e.Instance)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// After a break of the stream what was missed is told, and nothing twice.
func TestObserveAfterABreak(t *testing.T) {
	const id = "0123456789abcdef"
	o := &observation{what: "web", seen: map[string]*observed{id: {name: "web-1", signal: drivers.ProbeNone}}}
	running := &container.State{Running: true, StartedAt: "2026-01-01T00:00:00Z"}
	for _, r := range []report{{found: running}, {found: running}, {notFound: true}, {notFound: true}} {
		o.take(id, r)
	}
	o.log.Close()
	var got []string
	for e := range o.Watch() {
		got = append(got, fmt.Sprint(e.Kind))
	}
	if diff := cmp.Diff([]string{"started", "ready", "unready", "gone"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
