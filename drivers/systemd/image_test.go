package systemd_test

import (
	"context"
	"fmt"
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
	// A unit without a signal is active as soon as its program runs, and that it listens
	// comes a little later.
	answers := func(url, want string) {
		t.Helper()
		b.Eventually(want+" from "+url, func(context.Context) error {
			answer, err := drivertest.Get(url)
			if err == nil && !strings.HasSuffix(answer, want) {
				err = fmt.Errorf("it answers %q", answer)
			}
			return err
		})
	}
	for _, i := range b.Instances() {
		answers("http://"+i.Addr+"/", i.ID+" v2")
	}
	answers(env.URL()+"/", " v2")
	if err := env.Restart(ctx); err != nil {
		t.Error(err)
	}
}
