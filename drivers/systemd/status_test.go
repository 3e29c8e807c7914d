package systemd

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTransition(t *testing.T) {
	// active is a service that runs as this process, or none with 0.
	active := func(pid uint32, status string) state {
		return state{active: "active", sub: "running", status: status, mainPID: pid, process: process{pid, uint64(pid)}}
	}
	dead := func(pid uint32) state {
		return state{active: "failed", sub: "failed", process: process{pid, uint64(pid)}, code: exited, exit: 3}
	}
	listening := state{active: "active"}
	for name, tt := range map[string]struct {
		status  status
		reports []report
		want    []string
	}{
		"life": {
			status{notifies: true},
			[]report{
				{service: state{active: "activating", sub: "start", mainPID: 1, process: process{1, 1}}},
				{service: active(1, "ready")},
				{service: active(1, "draining: 3 left")},
				{service: dead(1), final: true},
			},
			[]string{"unready", "started 1", "ready", "unready", "unready", "ended exit status 3"},
		},
		"another process at once": {
			status{},
			[]report{{service: active(1, "")}, {service: active(2, "")}},
			[]string{"started 1", "ready", "ended its end went unseen", "started 2", "ready"},
		},
		"the same twice": {
			status{},
			[]report{{service: active(1, "")}, {service: active(1, "")}},
			[]string{"started 1", "ready", "ready"},
		},
		"what it says does not count unless it notifies": {
			status{},
			[]report{{service: active(1, "not ready")}},
			[]string{"started 1", "ready"},
		},
		"a socket is no instance before its service was ready": {
			status{notifies: true, socket: true},
			[]report{{service: active(1, "not ready"), listener: listening}},
			[]string{"unready", "started 1"},
		},
		"a socket outlives its service": {
			status{notifies: true, socket: true},
			[]report{
				{service: active(1, ""), listener: listening},
				{service: dead(1), listener: listening},
				{service: dead(1), listener: listening, final: true},
			},
			[]string{"started 1", "ready", "ended exit status 3", "ready", "unready"},
		},
		"it fails before it has a process": {
			status{},
			[]report{{service: state{active: "failed", result: "resources"}, final: true}},
			[]string{"unready"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range tt.reports {
				for _, c := range tt.status.transition(r) {
					switch c.kind {
					case unready:
						got = append(got, "unready")
					case ended:
						got = append(got, "ended "+c.detail)
					case started:
						got = append(got, fmt.Sprint("started ", c.process.pid))
					case ready:
						got = append(got, "ready")
					case answered:
						if c.detail != r.service.String() {
							t.Errorf("answered %q, want what systemd says", c.detail)
						}
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
