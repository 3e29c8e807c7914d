package kubernetes

import (
	"net"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestNodePortsTakeTurns: no deployment begins with the port of the one before it, and every
// port is tried by each.
func TestNodePortsTakeTurns(t *testing.T) {
	d := New(Config{NodePorts: map[int32]string{30080: "a", 30081: "b", 30082: "c"}})
	var firsts []int32
	for range 6 {
		ports := d.nodePorts()
		firsts = append(firsts, ports[0])
		if slices.Sort(ports); !slices.Equal(ports, []int32{30080, 30081, 30082}) {
			t.Errorf("tries %v, want all three", ports)
		}
	}
	for n := 1; n < len(firsts); n++ {
		if firsts[n] == firsts[n-1] || n >= 3 && firsts[n] != firsts[n-3] {
			t.Errorf("first ports %v, want them to take turns", firsts)
		}
	}
	if got := New(Config{}).nodePorts(); got != nil {
		t.Errorf("without a choice: %v, want none", got)
	}
}

func TestExistingEntry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening := l.Addr().String()
	e, err := objectsOf(t, someManifest, "")
	if err != nil {
		t.Fatal(err)
	}
	e.driver.config.NodePorts = map[int32]string{30080: listening}
	for _, tt := range []struct {
		name     string
		nodePort int32
		want     string
	}{
		{"inside the cluster", 0, ""},
		{"a node port that leads here", 30080, listening},
		{"a node port that leads nowhere", 30081, ""},
	} {
		port := &corev1.ServicePort{Port: 80, NodePort: tt.nodePort}
		e.entry.addr = ""
		if found, err := e.entry.existing(t.Context(), &corev1.Service{}, port); err != nil || found != (tt.want != "") || e.entry.addr != tt.want {
			t.Errorf("%s: got %t, %q, %v; want %q", tt.name, found, e.entry.addr, err, tt.want)
		}
	}
}

func TestEntryService(t *testing.T) {
	s := &corev1.Service{}
	s.Spec.Selector, s.Spec.PublishNotReadyAddresses, s.Spec.SessionAffinity = map[string]string{"app": "web"}, true, corev1.ServiceAffinityClientIP
	port := &corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromString("main"), NodePort: 31000}
	got := entryService(s, port, "lab-entry-id", 30080).Spec
	if *got.Type != corev1.ServiceTypeNodePort || got.Selector["app"] != "web" || !*got.PublishNotReadyAddresses || *got.SessionAffinity != corev1.ServiceAffinityClientIP {
		t.Errorf("spec %+v", got)
	}
	if p := got.Ports[0]; *p.Port != 80 || p.TargetPort.StrVal != "main" || *p.NodePort != 30080 {
		t.Errorf("port %+v", p)
	}
	if p := entryService(s, &corev1.ServicePort{Port: 80}, "x", 0).Spec.Ports[0]; p.TargetPort.IntVal != 80 || p.NodePort != nil {
		t.Errorf("port %+v without a target", p)
	}
}
