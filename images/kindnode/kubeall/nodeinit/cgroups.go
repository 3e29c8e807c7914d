package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// kind sets the kubelet's cgroupRoot to /kubelet; the systemd driver calls it
// kubelet.slice. The kubelet does not start unless the group exists in every hierarchy,
// or, with v2, has every controller.
var groups = []string{"kubelet", "kubelet.slice"}

func isV2(root string) bool {
	_, err := os.Stat(filepath.Join(root, "cgroup.controllers"))
	return err == nil
}

// prepareV1 makes the kubelet's groups in every v1 hierarchy, and mounts each over
// itself: systemd removes groups that are empty, but not mount points.
func prepareV1(root string) error {
	if err := unix.Mount("", root, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep the cgroup mounts private: %w", err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	for _, e := range entries {
		hierarchy := filepath.Join(root, e.Name())
		var st unix.Statfs_t
		// A link, such as cpu to cpu,cpuacct, names a hierarchy that is listed itself.
		if !e.IsDir() || unix.Statfs(hierarchy, &st) != nil || st.Type != unix.CGROUP_SUPER_MAGIC {
			continue
		}
		for _, g := range groups {
			dir := filepath.Join(hierarchy, g)
			if err := makeGroup(hierarchy, dir); err != nil {
				return err
			}
			if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("hold %s: %w", dir, err)
			}
		}
	}
	return nil
}

// makeGroup makes a v1 group. A new cpuset has no processors and no memory, so nothing
// can run in it before it is given its parent's.
func makeGroup(parent, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), bytes.TrimSpace(have), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// kubeletGroups makes sure of what the kubelet checks when it starts, which is not there
// yet when the container starts: systemd has to have moved out of the root group first.
func kubeletGroups(root string) error {
	if !isV2(root) {
		return os.MkdirAll(filepath.Join(root, "systemd", groups[0]), 0o755)
	}
	if err := delegate(root); err != nil {
		return err
	}
	for _, g := range groups {
		dir := filepath.Join(root, g)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := delegate(dir); err != nil {
			return err
		}
	}
	return nil
}

// delegate gives every controller that a v2 group has to its children.
func delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var enable []string
	for _, c := range strings.Fields(string(have)) {
		enable = append(enable, "+"+c)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(strings.Join(enable, " ")), 0o644); err != nil {
		return fmt.Errorf("delegate controllers: %w", err)
	}
	return nil
}
