package docker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/docker/docker/api/types/filters"
)

// The labels of everything that the driver creates.
const (
	labelRun        = "dev.rollout-lab.run"
	labelOwner      = "dev.rollout-lab.owner" // the lab's process, see owner
	labelDeployment = "dev.rollout-lab.deployment"
	labelService    = "dev.rollout-lab.service"
	labelRole       = "dev.rollout-lab.role"
	labelInstance   = "dev.rollout-lab.instance"
	labelRevision   = "dev.rollout-lab.revision"
)

// Roles of a container.
const (
	roleSubject    = "subject"
	roleDependency = "dependency"
)

// withLabels is a copy of labels with others added.
func withLabels(labels map[string]string, more ...string) map[string]string {
	out := maps.Clone(labels)
	for n := 0; n < len(more); n += 2 {
		out[more[n]] = more[n+1]
	}
	return out
}

// labelled is the filter for what carries a label; a value of "" means any.
func labelled(name, value string) filters.Args {
	if value != "" {
		name += "=" + value
	}
	return filters.NewArgs(filters.Arg("label", name))
}

// owner names a process for good. An ID alone is used again, and stands for other
// processes in another namespace, after a restart of the machine, or on another machine.
// What this system cannot tell is "-".
type owner struct {
	pid       int
	start     string // in clock ticks since the machine started
	namespace string // of process IDs
	boot      string // a number for this run of the machine
	machine   string
	host      string
}

const unknown = "-"

func (o owner) String() string {
	return strings.Join([]string{strconv.Itoa(o.pid), o.start, o.namespace, o.boot, o.machine, o.host}, " ")
}

func parseOwner(s string) (owner, error) {
	f := strings.Split(s, " ")
	if len(f) != 6 {
		return owner{}, fmt.Errorf("owner %q: want 6 fields", s)
	}
	pid, err := strconv.Atoi(f[0])
	if err != nil {
		return owner{}, fmt.Errorf("owner %q: %w", s, err)
	}
	return owner{pid, f[1], f[2], f[3], f[4], f[5]}, nil
}

// self is this process as an owner.
func self() (owner, error) {
	host, err := os.Hostname()
	if err != nil {
		return owner{}, fmt.Errorf("name of this machine: %w", err)
	}
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if s := strings.TrimSpace(string(b)); err == nil && s != "" {
			return s
		}
		return unknown
	}
	o := owner{
		pid: os.Getpid(), start: unknown, namespace: unknown,
		boot: read("/proc/sys/kernel/random/boot_id"), machine: read("/etc/machine-id"), host: host,
	}
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		o.namespace = ns
	}
	if start, _, err := readStat(o.pid); err == nil {
		o.start = start
	}
	return o, nil
}

// dead says whether the owner has certainly ended, as seen from here. Of one on another
// machine, or in another namespace of process IDs, nothing is certain.
func (o owner) dead(here owner) bool {
	if o.host != here.host {
		return false
	}
	if o.boot != here.boot {
		return o.machine == here.machine && o.machine != unknown // the machine was started again
	}
	if o.namespace != here.namespace {
		return false
	}
	if o.start == unknown {
		return !processExists(o.pid)
	}
	start, state, err := readStat(o.pid)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	return start != o.start || state == 'Z' || state == 'X'
}

// processExists is for systems without a proc file system.
func processExists(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	return !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// readStat reads when a process was started, and its state, on Linux.
func readStat(pid int) (start string, state byte, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0, err
	}
	// The second field is the command's name in parentheses and may hold anything.
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 || len(fields[0]) != 1 {
		return "", 0, fmt.Errorf("process %d: cannot read its state from %q", pid, b)
	}
	return fields[19], fields[0][0], nil
}
