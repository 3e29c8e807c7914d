package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/program"
	"github.com/rollout-lab/rollout-lab/images/systemdhost/build"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// The labels of a host container, beside those of every run.
const (
	labelStack = dockerengine.LabelPrefix + "stack"
	labelDir   = dockerengine.LabelPrefix + "dir" // the folder that lab and container share
)

const (
	// dirPrefix begins the name of that folder.
	dirPrefix = "rollout-lab-systemd-"
	// programInside is where the program is in a container.
	programInside = "/opt/rollout-lab/program"
	// bootLimit is how long a systemd in a container may take until it answers.
	bootLimit = 30 * time.Second
	// bootLook is how often it is tried.
	bootLook = 10 * time.Millisecond
	// createLimit bounds the creation of a container, on a machine that is busy.
	createLimit = time.Minute
	// engineLimit bounds an answer of the engine that has nothing to wait for.
	engineLimit = 5 * time.Second
)

// engine finds a Docker engine on this machine.
func (d *Driver) engine(ctx context.Context) (*choice, error) {
	if os.Geteuid() != 0 {
		// The bus goes by the user of whoever connects, and the container's systemd obeys
		// root alone.
		return nil, errors.New("the systemd in a container obeys root alone")
	}
	engine, err := dockerengine.DialLocal(ctx)
	if err != nil {
		return nil, err
	}
	c, err := d.onEngine(ctx, engine)
	if err != nil {
		engine.Close()
		return nil, fmt.Errorf("no use of the Docker engine at %v: %w", engine.Address, err)
	}
	return c, nil
}

func (d *Driver) onEngine(ctx context.Context, engine *dockerengine.Engine) (*choice, error) {
	if !engine.Address.Socket() {
		return nil, errors.New("it has no socket here, and may not see the folders of this machine")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, engineLimit, fmt.Errorf("no answer within %v", engineLimit))
	defer cancel()
	info, err := engine.Info(ctx)
	if err != nil {
		return nil, err
	}
	image := d.config.Image
	if image == "" {
		image = d.built().Tag()
	}
	return &choice{
		kind: HostContainer, engine: engine, cgroup: info.CgroupVersion,
		apparmor: slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "apparmor") }),
		version:  fmt.Sprintf("of image %s on Docker %s (%s)", image, engine.Version, HostContainer),
	}, nil
}

// built is the image that is built when none is named.
func (d *Driver) built() build.Image { return build.Of(d.config.Packages...) }

// image returns the image for host containers and builds it when it has to.
func (d *Driver) image(ctx context.Context, engine *dockerengine.Engine) (string, error) {
	if name := d.config.Image; name != "" {
		has, err := engine.HasImage(ctx, name)
		if err == nil && !has {
			err = fmt.Errorf("the engine has no image %s", name)
		}
		if err != nil {
			return "", &drivers.HintError{
				Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
				Hint: "load or build that image, or name none to have one built",
			}
		}
		return name, nil
	}
	d.building.Lock()
	defer d.building.Unlock()
	if err := d.built().Ensure(ctx, engine); err != nil {
		return "", &drivers.HintError{
			Err:  fmt.Errorf("%w: %w", drivers.ErrUnavailable, err),
			Hint: "name an image whose default command is systemd, or make a registry or debootstrap available",
		}
	}
	return d.built().Tag(), nil
}

// startContainer starts a container whose PID 1 is systemd and waits until that answers.
func (d *Driver) startContainer(ctx context.Context, c *choice, m mark) (h *host, err error) {
	image, err := d.image(ctx, c.engine)
	if err != nil {
		return nil, err
	}
	dir, err := markedDir(m)
	if err != nil {
		return nil, err
	}
	waiting, stopWaiting := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	id := ""
	closeAll := func(ctx context.Context) error {
		stopWaiting()
		watching.Wait()
		var err error
		if id != "" {
			err = errors.Join(c.engine.RemoveContainer(ctx, id), removeGroups(ctx, m.run, m.stack))
		}
		c.engine.Close()
		return errors.Join(err, os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), bootLimit)
			defer cancel()
			err = errors.Join(err, closeAll(clean))
		}
	}()
	program, err := d.staticProgram(ctx, dir)
	if err != nil {
		return nil, err
	}
	bus := filepath.Join(dir, "bus")
	if err := os.Mkdir(bus, 0o755); err != nil {
		return nil, err
	}
	id, err = create(ctx, c, image, program, bus, map[string]string{
		dockerengine.LabelDriver: driverName, dockerengine.LabelRun: m.run, dockerengine.LabelOwner: m.owner,
		labelStack: m.stack, labelDir: dir,
	})
	if err != nil {
		return nil, err
	}
	if err := c.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return nil, fmt.Errorf("start the systemd container: %w", err)
	}
	ended := make(chan string, 1)
	watching.Go(func() { ended <- awaitEnd(waiting, c.engine, id) })
	address, err := d.through("unix:path=" + filepath.Join(bus, "system_bus_socket"))
	if err != nil {
		return nil, err
	}
	version, err := boot(ctx, c.engine, id, address, ended)
	if err != nil {
		return nil, err
	}
	return &host{
		kind: HostContainer, address: address, version: leadingNumber(version), cgroup: c.cgroup,
		program: append([]string{programInside}, d.config.Args...),
		journal: func(ctx context.Context, selector, unit string, lines int) (string, error) {
			script := `journalctl --sync; exec journalctl "$@"`
			return c.engine.Exec(ctx, id, nil, append([]string{"sh", "-c", script, "sh"}, journalArgs(selector, unit, lines)...)...)
		},
		read: func(ctx context.Context, path string) ([]byte, error) {
			const absent = "absent"
			out, err := c.engine.Exec(ctx, id, nil, "sh", "-c", `[ -e "$1" ] && exec cat "$1" || echo `+absent, "sh", path)
			if err == nil && strings.TrimSpace(out) == absent {
				err = fmt.Errorf("%s: %w", path, fs.ErrNotExist)
			}
			return []byte(out), err
		},
		ended: ended, close: closeAll,
	}, nil
}

const (
	// sliceV1 is where a systemd in a container has its units in the host's own hierarchy of
	// version 1. With version 2 it has one that goes with the container.
	sliceV1 = "/sys/fs/cgroup/systemd/system.slice"
	// groupsLimit is how long the processes of a container that was removed may take to end.
	groupsLimit = 5 * time.Second
)

// removeGroups removes the control groups of a stack's units once their container is gone: a
// systemd that has ended with it has not.
func removeGroups(ctx context.Context, run, stack string) error {
	groups, err := filepath.Glob(filepath.Join(sliceV1, cleanName(prefix+run+"-"+stack)+"-*"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, groupsLimit, fmt.Errorf("in use after %v", groupsLimit))
	defer cancel()
	ticker := time.NewTicker(bootLook)
	defer ticker.Stop()
	var errs []error
	for _, group := range groups {
		err := os.Remove(group) // which is empty for the kernel, whatever files are in it
		for errors.Is(err, syscall.EBUSY) && ctx.Err() == nil {
			select {
			case <-ticker.C:
				err = os.Remove(group)
			case <-ctx.Done():
				err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// markFile is in a folder that lab and container share and says whose it is: the folder
// is there before the container is.
const markFile = "mark"

func markedDir(m mark) (string, error) {
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, markFile), []byte(m.String()), 0o600); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// create makes the container. It needs the right to mount, and on hosts with one
// hierarchy of control groups a writable one of its own; it gets no right to configure
// the network that it shares.
func create(ctx context.Context, c *choice, image, program, bus string, labels map[string]string) (string, error) {
	inspected, err := c.engine.ImageInspect(ctx, image)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", image, err)
	}
	var argv []string
	if inspected.Config != nil {
		argv = slices.Clone(inspected.Config.Cmd)
	}
	config := &container.Config{
		// No more than what units need: what the image would start by itself, now or later, must
		// not get at the network of the host.
		Cmd:   append(argv, "--unit=basic.target", "systemd.mask=timers.target"),
		Image: image, Labels: labels, Env: []string{"container=docker"}, StopSignal: "SIGRTMIN+3",
	}
	options := &container.HostConfig{
		NetworkMode:  "host",
		CapAdd:       []string{"SYS_ADMIN"},
		SecurityOpt:  []string{"seccomp=unconfined"},
		CgroupnsMode: container.CgroupnsModePrivate,
		Tmpfs:        map[string]string{"/run": "", "/tmp": ""},
		Binds:        []string{bus + ":/run/dbus", program + ":" + programInside + ":ro"},
	}
	if c.apparmor {
		options.SecurityOpt = append(options.SecurityOpt, "apparmor=unconfined") // the default profile forbids mounts
	}
	if c.cgroup == "1" {
		options.Binds = append(options.Binds, "/sys/fs/cgroup/systemd:/sys/fs/cgroup/systemd:rw")
	} else {
		// Of its own hierarchy, which the engine mounts read-only.
		config.Entrypoint = []string{"/bin/sh", "-c", `mount -o remount,rw /sys/fs/cgroup && exec "$@"`, "sh"}
		if inspected.Config != nil {
			config.Entrypoint = append(config.Entrypoint, inspected.Config.Entrypoint...)
		}
	}
	// Whoever gives up in the middle of this does not know whether there is a container.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), createLimit, fmt.Errorf("not made within %v", createLimit))
	defer cancel()
	made, err := c.engine.ContainerCreate(ctx, config, options, nil, nil, "")
	if err != nil {
		return "", fmt.Errorf("create a container of image %s: %w", image, err)
	}
	return made.ID, nil
}

// awaitEnd waits until a container has ended and says how, or that it cannot tell.
func awaitEnd(ctx context.Context, engine *dockerengine.Engine, id string) string {
	results, errs := engine.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case r := <-results:
		return fmt.Sprintf("the systemd container ended with status %d", r.StatusCode)
	case err := <-errs:
		return fmt.Sprintf("the systemd container is out of sight: %v", err)
	}
}

// boot waits until the container's systemd answers, and returns its version.
func boot(ctx context.Context, engine *dockerengine.Engine, id, address string, ended chan string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("no answer within %v", bootLimit))
	defer cancel()
	ticker := time.NewTicker(bootLook)
	defer ticker.Stop()
	for {
		version, err := versionAt(ctx, address)
		if err == nil {
			return version, nil
		}
		select {
		case <-ticker.C:
		case why := <-ended:
			ended <- why
			return "", fmt.Errorf("%s: %s", why, lastOutput(context.WithoutCancel(ctx), engine, id))
		case <-ctx.Done():
			return "", fmt.Errorf("systemd in its container: %w: last try: %w; %s",
				context.Cause(ctx), err, lastOutput(context.WithoutCancel(ctx), engine, id))
		}
	}
}

// lastOutput is what a container wrote last, for an error.
func lastOutput(ctx context.Context, engine *dockerengine.Engine, id string) string {
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	out, err := engine.LastLines(ctx, id, 10)
	if err != nil {
		return "its output cannot be read: " + err.Error()
	}
	if out == "" {
		return "it wrote nothing"
	}
	return "it wrote: " + strings.Join(strings.Fields(out), " ")
}

// staticProgram is a binary of the program that runs in any image: the program itself
// when it needs no loader, else one that is built into dir. The engine shares this
// machine, and so its processor.
func (d *Driver) staticProgram(ctx context.Context, dir string) (string, error) {
	path, err := d.program()
	if err != nil {
		return "", err
	}
	d.building.Lock()
	defer d.building.Unlock()
	return program.Source{Path: path, Package: d.config.Package, Dir: d.config.Dir}.File(ctx, runtime.GOARCH, dir)
}
