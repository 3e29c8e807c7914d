package systemd_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/systemd"
)

// buildLimit bounds the first build of an image: a whole Debian is fetched and unpacked.
const buildLimit = 10 * time.Minute

// nginx is the configuration of a server that is told on its command line where to listen.
const nginx = `printf 'daemon off; pid /run/%s.pid; error_log stderr; events {} http { access_log off; server { listen %s; location / { return 200 "%s %s"; } } }' ` +
	`"$INSTANCE" "$LISTEN" "$INSTANCE" "$REVISION" > /run/$INSTANCE.conf && exec nginx -c /run/$INSTANCE.conf`

// TestThirdPartyServer: a server that knows nothing of the lab, from a package, in an
// image of the driver's own, is rolled like any other.
func TestThirdPartyServer(t *testing.T) {
	if testing.Short() {
		t.Skip("may build an image")
	}
	d := newDriver(t, func(c *systemd.Config) { c.Image, c.Packages = "", []string{"nginx-light"} })
	if !strings.Contains(d.Version(t.Context()), systemd.HostContainer) {
		t.Skip("nothing is installed on a native host")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil && !required() {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildLimit)
	defer cancel()
	began := time.Now()
	if err := d.Prepare(ctx); err != nil {
		absent(t, err)
	}
	t.Logf("image there after %v", time.Since(began).Round(time.Millisecond))
	b := deploy(t, d, func(s *drivers.Stack) {
		s.Dependencies = nil
		s.Subject = drivers.Service{
			Name: "web", Ports: []string{"http"}, Exec: "/bin/sh", Args: []string{"-c", nginx}, StopGrace: 5 * time.Second,
			Env:    map[string]string{"LISTEN": "${listen.http}", "INSTANCE": "${instance}", "REVISION": "${revision}"},
			Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "http"},
		}
	})
	env := b.Env
	if err := env.Rollout(ctx, "v2"); err != nil {
		t.Fatal(err)
	}
	for _, i := range b.Instances() {
		if answer, err := drivertest.Get("http://" + i.Addr + "/"); err != nil || answer != i.ID+" v2" {
			t.Errorf("%s answers %q, %v", i.ID, answer, err)
		}
	}
	if answer, err := drivertest.Get(env.URL() + "/"); err != nil || !strings.HasSuffix(answer, " v2") {
		t.Errorf("through the balancer: %q, %v", answer, err)
	}
	if err := env.Restart(ctx); err != nil {
		t.Error(err)
	}
}
