package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// host is one systemd that runs units for one environment.
type host struct {
	kind    string
	address string // of its bus
	version int
	cgroup  string   // version of control groups
	program []string // what Args of a service stand behind
	// journal reads the last lines about a unit, oldest first. selector is --unit for all
	// of them, systemd's own included, or the field that holds the name for those that
	// the unit itself wrote.
	journal func(ctx context.Context, selector, unit string, lines int) (string, error)
	// read reads a file of the kernel's as whoever is beside the units sees it. The error of
	// one that does not exist is fs.ErrNotExist.
	read  func(ctx context.Context, path string) ([]byte, error)
	ended <-chan string // says why it ended by itself; nil when it cannot
	close func(ctx context.Context) error
}

// Selectors of a journal for what a unit itself wrote.
const (
	writtenBy     = "_SYSTEMD_UNIT"
	writtenByUser = "_SYSTEMD_USER_UNIT"
)

// choice is a systemd that could be used, or the engine for one.
type choice struct {
	kind     string
	address  string               // of its bus; not of a container, which has none yet
	engine   *dockerengine.Engine // of a container
	cgroup   string               // version of control groups, as far as it is known
	apparmor bool                 // whether the engine's containers are under its rules
	version  string               // for people
	number   int                  // of systemd; 0 when it is not known yet
}

func (c *choice) close() {
	if c.engine != nil {
		c.engine.Close()
	}
}

// choose finds the systemd that Config asks for. It is quick and changes nothing.
func (d *Driver) choose(ctx context.Context) (*choice, error) {
	if runtime.GOOS != "linux" {
		return nil, &drivers.HintError{
			Err:  fmt.Errorf("%w: systemd runs on Linux, and the socket of its bus does not reach %s out of a virtual machine", drivers.ErrUnavailable, runtime.GOOS),
			Hint: "run rollout-lab inside the Linux machine",
		}
	}
	kinds := []string{HostUser, HostSystem, HostContainer}
	if d.config.Host != "" {
		kinds = []string{d.config.Host}
	}
	var missing []string
	for _, kind := range kinds {
		c, err := d.tryHost(ctx, kind)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		missing = append(missing, fmt.Sprintf("%s: %v", kind, err))
	}
	if errors.Is(ctx.Err(), context.Canceled) { // nothing is missing: somebody did not wait for the answer
		return nil, fmt.Errorf("look for a systemd: %w", context.Cause(ctx))
	}
	return nil, &drivers.HintError{
		Err:  fmt.Errorf("%w: no systemd to drive: %s", drivers.ErrUnavailable, strings.Join(missing, "; ")),
		Hint: "run it where a systemd user session is, as root where PID 1 is systemd, or with a Docker engine on this machine",
	}
}

func (d *Driver) tryHost(ctx context.Context, kind string) (*choice, error) {
	switch kind {
	case HostUser:
		return d.native(ctx, kind, userBus())
	case HostSystem:
		name, err := os.ReadFile("/proc/1/comm")
		if err != nil {
			return nil, err
		}
		if pid1 := strings.TrimSpace(string(name)); pid1 != "systemd" {
			return nil, fmt.Errorf("PID 1 is %s", pid1)
		}
		if os.Geteuid() != 0 {
			return nil, errors.New("units of the system need root")
		}
		return d.native(ctx, kind, systemBus())
	case HostContainer:
		return d.engine(ctx)
	}
	return nil, fmt.Errorf("unknown host %q: want %s, %s or %s", kind, HostUser, HostSystem, HostContainer)
}

// userBus is the address of the user's bus, "" when there is none. The library's own way
// of finding it would start one.
func userBus() string {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		if socket := filepath.Join(dir, "bus"); exists(socket) {
			return "unix:path=" + socket
		}
	}
	return ""
}

func systemBus() string {
	if address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		return address
	}
	return "unix:path=/run/dbus/system_bus_socket"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// native is a systemd that runs on this machine.
func (d *Driver) native(ctx context.Context, kind, address string) (*choice, error) {
	if address == "" {
		return nil, errors.New("no bus")
	}
	address, err := d.through(address)
	if err != nil {
		return nil, err
	}
	version, err := versionAt(ctx, address)
	if err != nil {
		return nil, err
	}
	return &choice{kind: kind, address: address, version: version + " (" + kind + ")", number: leadingNumber(version), cgroup: cgroupVersion()}, nil
}

// versionAt asks the systemd behind a bus for its version.
func versionAt(ctx context.Context, address string) (string, error) {
	l, err := connect(ctx, address)
	if err != nil {
		return "", err
	}
	defer l.close()
	quoted, err := l.calls.GetManagerProperty("Version")
	if err != nil {
		return "", fmt.Errorf("ask systemd for its version: %w", err)
	}
	version, err := strconv.Unquote(quoted)
	if err != nil {
		return "", fmt.Errorf("version %s: %w", quoted, err)
	}
	return version, nil
}

// leadingNumber is the number that a version begins with, 0 if none.
func leadingNumber(version string) int {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	n, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return n
}

// cgroupVersion is that of this machine.
func cgroupVersion() string {
	if exists("/sys/fs/cgroup/cgroup.controllers") {
		return "2"
	}
	return "1"
}

// open makes the chosen systemd ready for an environment's units.
func (d *Driver) open(ctx context.Context, c *choice, m mark) (*host, error) {
	if c.kind == HostContainer {
		return d.startContainer(ctx, c, m)
	}
	program, err := d.program()
	if err != nil {
		return nil, err
	}
	selector := "--unit"
	if c.kind == HostUser {
		selector = "--user-unit"
	}
	return &host{
		kind: c.kind, address: c.address, version: c.number, cgroup: c.cgroup,
		program: append([]string{program}, d.config.Args...),
		journal: func(ctx context.Context, by, unit string, lines int) (string, error) {
			if by == "--unit" {
				by = selector
			} else if c.kind == HostUser {
				by = writtenByUser
			}
			out, err := exec.CommandContext(ctx, "journalctl", journalArgs(by, unit, lines)...).Output()
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				return "", fmt.Errorf("journalctl: %w: %s", err, strings.TrimSpace(string(e.Stderr)))
			}
			return string(out), err
		},
		read:  func(_ context.Context, path string) ([]byte, error) { return os.ReadFile(path) },
		close: func(context.Context) error { return nil },
	}, nil
}

// journalArgs are the arguments of journalctl.
func journalArgs(selector, unit string, lines int) []string {
	return []string{"--quiet", "--no-pager", "--output=cat", "--lines=" + strconv.Itoa(lines), selector + "=" + unit}
}

// program is the binary that runs services without an Exec of their own.
func (d *Driver) program() (string, error) {
	path := d.config.Program
	if path == "" {
		return os.Executable()
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return "", &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "give the driver a program that exists and may be executed",
		}
	}
	return filepath.Abs(path)
}
