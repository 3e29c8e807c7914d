package scenarios

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const addressScenario = `name: shop
about: Two ways to restart what answers at an address.
target:
  url: http://127.0.0.1:8080
  request: {path: /cart, header: {Host: shop.example}, expect: {status: 2xx}}
load: {rate: 100}
phases: {baseline: {from: 1s, to: 11s}}
action:
  kind: command
  run: [systemctl, restart, shop]
  reset: [sh, -c, 'echo "reset"']
  timeout: 2m
  max: 90s
trials: 2
designs:
  - {name: in-place}
  - {name: by-hand, run: [./restart.sh, --gently]}
gates:
  - {design: by-hand, metric: failed, op: <=, limit: 0}
`

func TestATargetAtAnAddress(t *testing.T) {
	s, err := Parse("shop.yaml", []byte(addressScenario), offered)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Phases.Window, (Phase{From: 11 * time.Second, To: 231 * time.Second}); got != want {
		t.Errorf("window %v, want %v: from the command to the latest end of the load", got, want)
	}
	if s.Action.Settle != 30*time.Second || s.Replicas != 0 || s.Load.Deny != 0 {
		t.Errorf("settle %v, %d replicas, deny %v; want 30s, none, none", s.Action.Settle, s.Replicas, s.Load.Deny)
	}
	for i, want := range [][]string{{"systemctl", "restart", "shop"}, {"./restart.sh", "--gently"}} {
		if diff := cmp.Diff(want, s.CommandOf(s.Designs[i])); diff != "" {
			t.Errorf("command of %s (-want +got):\n%s", s.Designs[i].Name, diff)
		}
		if diff := cmp.Diff([]string{"sh", "-c", `echo "reset"`}, s.ResetOf(s.Designs[i])); diff != "" {
			t.Errorf("reset of %s (-want +got):\n%s", s.Designs[i].Name, diff)
		}
	}
	again, err := Parse("again.yaml", []byte(s.Source), offered)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Source)
	}
	if again.Source != s.Source {
		t.Errorf("rendered twice (-once +twice):\n%s", cmp.Diff(s.Source, again.Source))
	}
	if diff := cmp.Diff(s, again, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "File" }, cmp.Ignore())); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
	if err := s.Override(Overrides{Window: new(time.Second)}); err == nil {
		t.Error("a window of another length was accepted, and it ends by calm")
	}
}

func TestBadTargetsAtAnAddress(t *testing.T) {
	for _, tt := range []struct{ name, old, new, message string }{
		{"scheme", "http://127.0.0.1:8080", "127.0.0.1:8080", "target.url must begin with http:// or https://"},
		{"no host", "http://127.0.0.1:8080", "http://:8080", "target.url names no host"},
		{"path", "http://127.0.0.1:8080", "http://127.0.0.1/cart", "target.url is scheme and host alone"},
		{"password", "http://127.0.0.1:8080", "http://me:secret@host", "target.url must hold no password"},
		{"another action", "kind: command\n  run: [systemctl, restart, shop]\n  reset: [sh, -c, 'echo \"reset\"']\n  timeout: 2m\n  max: 90s", "kind: restart", "action.kind must be command for a target that is an address, not restart"},
		{"no command", "  run: [systemctl, restart, shop]\n", "", "design in-place has no command"},
		{"settles too long", "max: 90s", "max: 20s", "action.settle 30s is longer than action.max 20s"},
		{"no time for calm", "max: 90s", "max: 3s\n  settle: 2s", "action.max 3s is shorter than the 5s of calm"},
		{"rate", "rate: 100", "rate: 20000", "load.rate must be at most 10000 against an address"},
		{"replicas", "load: {rate", "replicas: 3\nload: {rate", "replicas means nothing for a target that is an address"},
		{"window", "to: 11s}", "to: 11s}, window: {from: 11s, to: 20s}", "phases.window means nothing for a target that is an address"},
		{"program", "  request:", "  args: [serve]\n  request:", "target.args means nothing for a target that is an address"},
		{"two services", "  request:", "  image: shop\n  request:", "target names two services"},
		{"service", "  request:", "  service: web\n  request:", "target.service is for a target that is a deployment, not for url"},
		{"builtin design", "{name: in-place}", "naive", "builtin design naive says how refproxy behaves, and the target is an address"},
		{"setting", "{name: in-place}", "{name: in-place, stop_grace: 5s}", "designs[0].stop_grace means nothing for a target that is an address"},
		{"deployed", "  url: http://127.0.0.1:8080", "  image: shop", "action.kind command is for a target that is an address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(addressScenario, tt.old) {
				t.Fatalf("no %q", tt.old)
			}
			_, err := Parse("bad.yaml", []byte(strings.Replace(addressScenario, tt.old, tt.new, 1)), offered)
			var problems Errors
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want problems", err)
			}
			found := false
			for _, p := range problems {
				found = found || strings.Contains(p.Message, tt.message)
			}
			if !found || len(problems) > 1 && tt.name != "deployed" {
				t.Errorf("got %v\nwant %q and no other problem", err, tt.message)
			}
		})
	}
}

func TestADesignWithACommandOfItsOwnNeedsAnAddress(t *testing.T) {
	bad := strings.Replace(good, "    lame_duck: 2s\n", "    lame_duck: 2s\n    run: [restart]\n", 1)
	if _, err := Parse("bad.yaml", []byte(bad), offered); err == nil || !strings.Contains(err.Error(), "run and reset are for a target that is an address") {
		t.Errorf("got %v", err)
	}
}
