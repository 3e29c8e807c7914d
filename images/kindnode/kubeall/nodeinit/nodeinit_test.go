package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestDefaultGateway(t *testing.T) {
	const header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	gw := fmt.Sprintf("%08X", binary.NativeEndian.Uint32([]byte{172, 18, 0, 1}))
	tests := []struct{ name, table, want string }{
		{"empty", header, ""},
		{"no default", header + "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n", ""},
		{"on the link", header + "eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", ""},
		{"default after another", header + "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n" +
			"eth0\t00000000\t" + gw + "\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "172.18.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := defaultGateway(tt.table)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("defaultGateway = %v, %v, want %q", got, ok, tt.want)
			}
		})
	}
}

func TestDestinations(t *testing.T) {
	const rules = `-N DOCKER_OUTPUT
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:44501
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:52873
`
	want := map[string]string{"tcp": "127.0.0.11:44501", "udp": "127.0.0.11:52873"}
	if got := destinations(rules); !maps.Equal(got, want) {
		t.Errorf("destinations = %v, want %v", got, want)
	}
}

func TestKubeletGroupsOfV2(t *testing.T) {
	root := t.TempDir()
	// In a real hierarchy the files appear with the directory.
	for _, dir := range []string{"", "kubelet", "kubelet.slice"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "cgroup.controllers"), []byte("cpu memory pids\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := kubeletGroups(root); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "kubelet", "kubelet.slice"} {
		got, err := os.ReadFile(filepath.Join(root, dir, "cgroup.subtree_control"))
		if err != nil {
			t.Fatal(err)
		}
		if want := "+cpu +memory +pids"; string(got) != want {
			t.Errorf("/%s: subtree_control %q, want %q", dir, got, want)
		}
	}
}

func TestMakeGroupInheritsTheCPUSet(t *testing.T) {
	parent := t.TempDir()
	if err := os.WriteFile(filepath.Join(parent, "cpuset.cpus"), []byte("0-1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "kubelet")
	if err := makeGroup(parent, dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "cpuset.cpus"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "0-1" {
		t.Errorf("cpuset.cpus %q, want 0-1", got)
	}
}
