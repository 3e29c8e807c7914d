// Command nodeinit turns a container into a machine that systemd, containerd and the
// kubelet can run in.
//
//	nodeinit run INIT [ARG...]   the container's entry point: prepare it, then become INIT
//	nodeinit cgroups             before each start of the kubelet: the groups that it looks for
//
// It supports cgroup v1 with a private cgroup namespace, and cgroup v2.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "nodeinit: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 2 && args[0] == "run":
		if err := prepare(); err != nil {
			return err
		}
		if err := unix.Exec(args[1], args[1:], os.Environ()); err != nil {
			return fmt.Errorf("become %s: %w", args[1], err)
		}
		return nil
	case len(args) == 1 && args[0] == "cgroups":
		return kubeletGroups(cgroupRoot)
	}
	return fmt.Errorf("usage: nodeinit run INIT [ARG...] | nodeinit cgroups")
}

func prepare() error {
	// systemd takes a writable /sys for the sign that it is not in a container.
	const sysFlags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", "/sys", "", sysFlags, ""); err != nil {
		return fmt.Errorf("make /sys read-only: %w", err)
	}
	// Volumes that are mounted after a pod has started must appear in it.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share the mounts of /: %w", err)
	}
	if isV2(cgroupRoot) {
		say("cgroup v2")
	} else {
		// kind waits for these words in the container's log.
		say("detected cgroup v1")
		if err := prepareV1(cgroupRoot); err != nil {
			return err
		}
	}
	if err := identify(); err != nil {
		return err
	}
	return forwardDNS()
}

func say(text string) { fmt.Fprintf(os.Stderr, "nodeinit: %s\n", text) }
