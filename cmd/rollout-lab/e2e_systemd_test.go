//go:build e2e && linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tests of this file run against a systemd in a container where the machine's own
// init is another one; a first run builds its image.

func TestE2ESystemdActions(t *testing.T) { actions(t, "systemd") }

func TestE2ESystemdInterruptLeavesNothing(t *testing.T) { interruptLeavesNothing(t, "systemd") }

func TestE2ESystemdKilledLabIsCleanedUp(t *testing.T) { killedIsCleanedUp(t, "systemd") }

const socketScenario = `name: socket
about: One instance, restarted in place; systemd holds its listener meanwhile.
target: {refproxy: {sessions: 200, sync_rate: 10000, routes: 10}}
replicas: 1
load: {rate: 1000, timeout: 2s, deny: 0%, streams: {newconn-get: 1}}
phases:
  baseline: {from: 1s, to: 3s}
  window: {from: 3s, to: 13s}
action: {kind: restart, timeout: 30s}
rolling: {max_surge: 0, max_unavailable: 1}
trials: 1
designs:
  - {name: socket, from: naive, notify: true, socket: true}
  - {name: no-socket, from: naive, notify: true}
positive_controls: [no-socket]
`

// TestE2ESystemdSocket: with a socket not one connection is refused although there is
// nobody else to take them.
func TestE2ESystemdSocket(t *testing.T) {
	needDriver(t, "systemd")
	file := filepath.Join(t.TempDir(), "socket.yaml")
	if err := os.WriteFile(file, []byte(socketScenario), 0o644); err != nil {
		t.Fatal(err)
	}
	_, dir, doc := runLabBinary(t, labBinary(t), "run", file, "--driver", "systemd")
	if len(doc.Cells) != 2 {
		t.Fatalf("%d cells, want 2", len(doc.Cells))
	}
	for _, c := range doc.Cells {
		for _, tr := range c.Trials {
			refused := refusedIn(t, filepath.Join(dir, tr.Files))
			switch {
			case c.Design == "socket" && refused > 0:
				t.Errorf("socket: %d connections were refused", refused)
			case c.Design == "no-socket" && failures(t, tr) == 0:
				t.Error("no-socket: nothing failed: the experiment shows nothing")
			}
			t.Logf("%s trial %d, valid %v %v: %d of %d failed, %v; latency %+v", c.Design, tr.N, tr.Valid, tr.InvalidReasons, failures(t, tr), tr.Planned, tr.Errors, tr.LatencyMS)
		}
	}
}

// nginxScenario rolls a server from a Debian package, which is told on its command line
// where to listen.
const nginxScenario = `name: nginx
about: A server that nobody here wrote, as a transient unit.
target:
  exec: /bin/sh
  args:
    - -c
    - >-
      printf 'daemon off; pid /run/%s.pid; error_log stderr; events {} http { access_log off;
      server { listen %s; location / { return 200 "hello"; } } }' "$NAME" "$LISTEN" > /run/$NAME.conf
      && exec nginx -c /run/$NAME.conf
  env: {LISTEN: "$${listen.data}", NAME: "$${instance}"}
  request: {path: /, expect: {body: hello}}
replicas: 3
load: {rate: 1000}
phases:
  baseline: {from: 1s, to: 4s}
  window: {from: 4s, to: 24s}
action: {kind: rollout, timeout: 60s}
designs:
  - {name: not-told, about: systemd says that a unit stops when it does., signal: {kind: none}, stop_grace: 5s}
  - {name: told, about: The balancer is told before., signal: {kind: none}, stop_grace: 5s, deregister_first: true}
`

func TestE2ESystemdThirdPartyServer(t *testing.T) {
	needDriver(t, "systemd")
	file := filepath.Join(t.TempDir(), "nginx.yaml")
	if err := os.WriteFile(file, []byte(nginxScenario), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, doc := runLabBinary(t, labBinary(t), "run", file, "--driver", "systemd", "--systemd-package", "nginx-light")
	if len(doc.Cells) != 2 {
		t.Fatalf("%d cells, want 2", len(doc.Cells))
	}
	for _, c := range doc.Cells {
		for _, tr := range validTrials(t, c, 1) {
			t.Logf("%s: %d of %d failed, %v", c.Design, failures(t, tr), tr.Planned, tr.Errors)
			if tr.OK == 0 {
				t.Errorf("%s: nothing was served", c.Design)
			}
		}
	}
}

// refusedIn counts the requests of a trial's raw record that met with a refused connection,
// the load's own or the balancer's.
func refusedIn(t *testing.T, folder string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "samples.csv"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "refused")
}
