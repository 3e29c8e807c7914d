//go:build linux

package process

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestHierarchyOfProcessorTime(t *testing.T) {
	const (
		tmpfs   = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
		cpu     = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
		cpuset  = "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
		unified = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		second  = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
		inside  = "32 31 0:29 /docker/1f /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
	)
	for _, tt := range []struct {
		name, mounts, groups string
		want                 hierarchy
		folder               string
	}{
		{"version 2", second, "0::/user.slice/session-2.scope\n", hierarchy{"/sys/fs/cgroup", "/", true}, "/sys/fs/cgroup/user.slice/session-2.scope"},
		{"version 1", tmpfs + cpuset + cpu, "3:cpuset:/a\n1:cpu,cpuacct:/b\n0::/c\n", hierarchy{"/sys/fs/cgroup/cpu,cpuacct", "/", false}, "/sys/fs/cgroup/cpu,cpuacct/b"},
		{"both", tmpfs + unified + cpuset + cpu, "1:cpu,cpuacct:/\n0::/c\n", hierarchy{"/sys/fs/cgroup/cpu,cpuacct", "/", false}, "/sys/fs/cgroup/cpu,cpuacct"},
		{"in a container", inside, "1:cpu:/docker/1f/x\n", hierarchy{"/sys/fs/cgroup/cpu", "/docker/1f", false}, "/sys/fs/cgroup/cpu/x"},
		{"none", cpuset, "3:cpuset:/\n", hierarchy{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseHierarchy(tt.mounts)
			if got != tt.want || (err != nil) != (tt.want == hierarchy{}) {
				t.Fatalf("got %+v, %v, want %+v", got, err, tt.want)
			}
			if folder, err := got.folder(tt.groups); folder != tt.folder || (err != nil) != (tt.folder == "") {
				t.Errorf("a process is in %q (%v), want %q", folder, err, tt.folder)
			}
		})
	}
}

// Of version 2 a group can be made where its parent hands the controller on.
func TestSharesNeedTheController(t *testing.T) {
	root := t.TempDir()
	h := hierarchy{mount: root, root: "/", v2: true}
	put := func(controllers string) {
		t.Helper()
		for file, text := range map[string]string{"cgroup.subtree_control": controllers, "cgroup.procs": ""} {
			if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("cpuset memory pids\n")
	err := noShares(h.delegated(root))
	if hint := new(drivers.HintError); !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || hint.Hint == "" {
		t.Errorf("without the controller: got %v, want ErrUnavailable with a hint", err)
	}
	put("cpuset cpu memory\n")
	if err := h.delegated(root); err != nil {
		t.Errorf("with the controller: %v", err)
	}
}
