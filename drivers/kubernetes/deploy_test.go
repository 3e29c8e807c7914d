package kubernetes

import (
	"slices"
	"testing"
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
