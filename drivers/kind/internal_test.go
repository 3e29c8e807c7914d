package kind

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

func TestLoopbackPorts(t *testing.T) {
	var nodes []container.Summary
	if err := json.Unmarshal([]byte(`[{"Ports":[
		{"PrivatePort":30080,"Type":"tcp","IP":"127.0.0.1","PublicPort":40001},
		{"PrivatePort":30081,"Type":"tcp","IP":"0.0.0.0","PublicPort":40002},
		{"PrivatePort":30082,"Type":"udp","IP":"127.0.0.1","PublicPort":40003},
		{"PrivatePort":30083,"Type":"tcp"},
		{"PrivatePort":6443,"Type":"tcp","IP":"127.0.0.1","PublicPort":40004}]},
		{"Ports":[{"PrivatePort":30084,"Type":"tcp","IP":"127.0.0.1","PublicPort":40005}]}]`), &nodes); err != nil {
		t.Fatal(err)
	}
	got := loopbackPorts(nodes)
	want := map[int32]string{30080: "127.0.0.1:40001", 30084: "127.0.0.1:40005"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOwnershipOf(t *testing.T) {
	self, err := owner.Self()
	if err != nil {
		t.Fatal(err)
	}
	d := New(Config{Cluster: "mine"})
	d.cluster = &cluster{name: "open"}
	for name, want := range map[string]ownership{
		"open": own, "mine": shared, "rollout-lab": shared, "kind": unrelated, "rollout-lab-other": unrelated,
		"rollout-lab-" + self.String(): shared, // of this lab, which lives
	} {
		if got := d.ownershipOf(name); got != want {
			t.Errorf("cluster %s: got %d, want %d", name, got, want)
		}
	}
}

func TestClusterName(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{{Config{Cluster: "mine", Keep: true}, "mine"}, {Config{Keep: true}, defaultName}} {
		if got, err := New(c.config).clusterName(); err != nil || got != c.want {
			t.Errorf("%+v: got %q, %v, want %q", c.config, got, err, c.want)
		}
	}
	got, err := New(Config{}).clusterName()
	// The longest suffix that kind gives to the name of a node, which is a host's.
	if most := 63 - len("-control-plane"); err != nil || len(got) > most {
		t.Errorf("got %q (%d letters), %v, want at most %d", got, len(got), err, most)
	}
}

// TestClusterOfAnotherLab: a cluster that ends with the lab that made it is no place to
// deploy to, as whoever finds that lab dead removes it.
func TestClusterOfAnotherLab(t *testing.T) {
	self, err := owner.Self()
	if err != nil {
		t.Fatal(err)
	}
	if name, err := New(Config{Cluster: ownedPrefix + self.String()}).clusterName(); !errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("got %q, %v, want it refused", name, err)
	}
	if _, err := New(Config{Cluster: ownedPrefix + "mine"}).clusterName(); err != nil {
		t.Errorf("a name that is nobody's: %v", err)
	}
}

// TestSweepByNobody: who does not know itself cannot tell the living from the dead, and
// says so before it looks for anything.
func TestSweepByNobody(t *testing.T) {
	d, nobody := New(Config{}), errors.New("no proc file system")
	d.self = func() (owner.Owner, error) { return owner.Owner{}, nobody }
	if removed, err := d.Sweep(t.Context(), ""); !errors.Is(err, nobody) || len(removed) != 0 {
		t.Errorf("removed %v, %v, want %v", removed, err, nobody)
	}
}

func TestDescribe(t *testing.T) {
	c := describe(1, []int{40001, 40002})
	var roles []v1alpha4.NodeRole
	for _, n := range c.Nodes {
		roles = append(roles, n.Role)
	}
	if diff := cmp.Diff([]v1alpha4.NodeRole{v1alpha4.ControlPlaneRole, v1alpha4.WorkerRole}, roles); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	for i, m := range c.Nodes[0].ExtraPortMappings {
		if m.ListenAddress != "127.0.0.1" || m.HostPort != int32(40001+i) || m.ContainerPort != int32(firstNodePort+i) {
			t.Errorf("mapping %d is %+v", i, m)
		}
	}
	if got := c.Networking.APIServerAddress; got != "127.0.0.1" {
		t.Errorf("the API server listens on %s", got)
	}
	for _, p := range tuning {
		var parsed map[string]any
		if err := yaml.UnmarshalStrict([]byte(p), &parsed); err != nil || parsed["kind"] == nil {
			t.Errorf("patch %q: %v", p, err)
		}
	}
}

func TestNotReady(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: ready},
		}}}
	}
	got := notReady([]string{"a", "b", "c", "absent"}, []corev1.Node{
		node("a", corev1.ConditionTrue), node("b", corev1.ConditionFalse), node("c", corev1.ConditionUnknown),
	})
	if diff := cmp.Diff([]string{"b", "c", "absent"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLastErrors(t *testing.T) {
	log := "I1122 all is well\nE1122 one\nE1122 two\nW1122 careful\nE1122 three\nI1122 on it goes"
	if got, want := lastErrors(log, 2), "E1122 two | E1122 three"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := lastErrors("I1122 all is well", 2); strings.Contains(got, "well") {
		t.Errorf("of a log without errors: %q", got)
	}
}

func TestImageOf(t *testing.T) {
	program := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(program, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	tag, image, err := imageOf(program, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	again, same, err := imageOf(program, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := must(image.Digest()), must(same.Digest()); a != b || tag != again {
		t.Errorf("the same program makes %s of %s, then %s of %s", tag, a, again, b)
	}
	config := must(image.ConfigFile())
	if config.Architecture != "arm64" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != inImage {
		t.Errorf("configuration %+v", config)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestNoNodeImageToName(t *testing.T) {
	err := New(Config{NodeImage: "localhost/rollout-lab/nothing:none"}).Check(t.Context())
	var hint *drivers.HintError
	if !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || hint.Hint == "" {
		t.Errorf("got %v, want ErrUnavailable with a hint", err)
	}
}

func TestDescribeInotify(t *testing.T) {
	for text, want := range map[string]int{"128\n": 1, "255": 1, "256\n": 0, "8192": 0, "many": 0, "": 0} {
		if got := describeInotify(text); len(got) != want {
			t.Errorf("%q: %q, want %d lines", text, got, want)
		}
	}
}
