//go:build e2e

package kind_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
)

// TestManifestsWithANodePort: the load enters by the Service's own port where that leads to
// this machine, and by another one else.
func TestManifestsWithANodePort(t *testing.T) {
	for name, port := range map[string]string{"that leads here": "30083", "that leads nowhere": "31999"} {
		t.Run(name, func(t *testing.T) {
			const plain = "spec:\n  selector: {app: web}\n  ports:\n    - {name: http, "
			exposed := "spec:\n  type: NodePort\n  selector: {app: web}\n  ports:\n    - {nodePort: " + port + ", name: http, "
			closeManifests(t, deployManifests(t, strings.Replace(manifestText(t), plain, exposed, 1)))
		})
	}
}

// TestManifestsThatCannotBeApplied leave nothing.
func TestManifestsThatCannotBeApplied(t *testing.T) {
	d := newDriver(t)
	for _, spoil := range [][2]string{
		{"kind: ConfigMap", "kind: Nonsense"},
		{"periodSeconds: 1", "periodSecond: 1"},
		{"kind: ConfigMap\nmetadata: {name: web, namespace: elsewhere}\ndata: {greeting: hello}", "kind: PersistentVolume\nmetadata: {name: web}"},
	} {
		s := objectsStack(strings.Replace(manifestText(t), spoil[0], spoil[1], 1))
		if env, err := d.Deploy(t.Context(), s); err == nil {
			t.Errorf("%s: deployed", spoil[1])
			env.Close(t.Context()) //nolint:errcheck // reported above
		} else {
			t.Logf("%s: %v", spoil[1], err)
		}
		if rest, err := left(t.Context(), s.RunID); err != nil || len(rest) > 0 {
			t.Errorf("left: %v, %v", rest, err)
		}
	}
	noNamespace(t)
}

// TestAnyClusterWithNamespacesOfItsOwn: without a namespace each deployment has one that
// ends with it.
func TestAnyClusterWithNamespacesOfItsOwn(t *testing.T) {
	mayMakeCluster(t)
	d := kubernetes.New(genericConfig(t))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := d.Check(ctx); err != nil {
		t.Fatal(err)
	}
	stack := drivertest.NewStack()
	env, err := d.Deploy(ctx, stack)
	if err != nil {
		t.Fatal(err)
	}
	defer env.Close(ctx) //nolint:errcheck // the one below is looked at
	c, err := client(ctx, one.driver)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			addresses = append(addresses, a.Address)
		}
	}
	if at := host(t, env.URL()); !slices.Contains(addresses, at) {
		t.Errorf("the load goes to %s, want an address of a node: %v", at, addresses)
	}
	const revision = "another"
	if err := env.Rollout(ctx, revision); err != nil {
		t.Errorf("rollout: %v", err)
	}
	// kube-proxy acts on it a little later than the endpoints say so.
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		answer, err := get(ctx, env.URL()+"/")
		if err == nil && strings.Contains(answer, revision) {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		t.Fatalf("after the rollout the answer is %q, %v", answer, err)
	}
	if was, err := left(ctx, stack.RunID); err != nil || len(was) != 1 {
		t.Errorf("while it lives there are %v, %v, want one namespace", was, err)
	}
	if err := env.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if still, err := left(ctx, stack.RunID); err != nil || len(still) != 0 {
		t.Errorf("after Close there are %v, %v", still, err)
	}
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// host is that of a URL without a path.
func host(t *testing.T, url string) string {
	t.Helper()
	h, _, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestPreStopIsBeforeTheGrace: an instance that ignores the request to stop has all of its
// grace from that request on, however long the hook before it took.
func TestPreStopIsBeforeTheGrace(t *testing.T) {
	const wait, grace = 2 * time.Second, 2 * time.Second
	d := deploy(t, newDriver(t), func(s *drivers.Stack) {
		s.Replicas = 1
		s.Subject.Args = append(s.Subject.Args, "-bad", "stubborn@")
		s.Subject.PreStop, s.Subject.StopGrace = wait, grace
	})
	ctx, cancel := d.within()
	defer cancel()
	if err := d.env.Scale(ctx, 0); err != nil {
		t.Fatal(err)
	}
	at := map[drivers.EventKind]time.Time{}
	for events := d.env.Watch(); len(at) < 2; {
		if e := <-events; e.Kind == drivers.Terminating || e.Kind == drivers.Gone {
			at[e.Kind] = e.At
		}
	}
	took := at[drivers.Gone].Sub(at[drivers.Terminating])
	t.Logf("gone after %v", took)
	if took < wait+grace {
		t.Errorf("gone %v after it was to stop, want at least the hook's %v and the grace of %v", took, wait, grace)
	}
}
