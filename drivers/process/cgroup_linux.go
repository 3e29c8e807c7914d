package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const (
	// cpuPeriod is the time in which a group gets its share once, in microseconds: the
	// kernel's own choice, and that of every runtime.
	cpuPeriod = 100_000
	// unlimited is what the kernel says of a group without a share, by version.
	unlimitedV1, unlimitedV2 = "-1", "max"
	// removeLimit is how long a group may be in use after its processes were taken out.
	removeLimit = 5 * time.Second
	removeLook  = 10 * time.Millisecond
)

// hierarchy is where the kernel's control groups bound processor time.
type hierarchy struct {
	mount string // its folder
	root  string // the group that is mounted there
	v2    bool
}

// findHierarchy reads the mounts of this process. On a machine with both versions the one
// that has the controller counts.
func findHierarchy() (hierarchy, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return hierarchy{}, err
	}
	return parseHierarchy(string(mounts))
}

func parseHierarchy(mounts string) (hierarchy, error) {
	found := hierarchy{}
	for line := range strings.Lines(mounts) {
		mount, kind, _ := strings.Cut(line, " - ")
		m, k := strings.Fields(mount), strings.Fields(kind)
		if len(m) < 5 || len(k) < 3 {
			continue
		}
		switch h := (hierarchy{mount: m[4], root: m[3], v2: k[0] == "cgroup2"}); {
		case k[0] == "cgroup" && slices.Contains(strings.Split(k[2], ","), "cpu"):
			return h, nil
		case h.v2:
			found = h
		}
	}
	if found.mount == "" {
		return hierarchy{}, errors.New("no control groups are mounted")
	}
	return found, nil
}

// of is the folder of the group that a process is in.
func (h hierarchy) of(pid int) (string, error) {
	groups, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", err
	}
	return h.folder(string(groups))
}

// folder is that of the group of this hierarchy in what the kernel says of a process's groups.
func (h hierarchy) folder(groups string) (string, error) {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 || h.v2 && parts[0] != "0" || !h.v2 && !slices.Contains(strings.Split(parts[1], ","), "cpu") {
			continue
		}
		below := strings.TrimPrefix(parts[2], strings.TrimSuffix(h.root, "/"))
		return filepath.Join(h.mount, below), nil
	}
	return "", errors.New("it is in no control group that bounds processor time")
}

// parent is the folder in which groups for the lab's processes can be made: at the root, or where
// the lab's own is. With version 2 a group that holds processes has none with controllers below
// it, so that there it is the one above the lab's.
func (h hierarchy) parent() (string, error) {
	own, err := h.of(os.Getpid())
	if err != nil {
		return "", err
	}
	if h.v2 {
		own = filepath.Dir(own)
	}
	var errs []error
	for _, dir := range []string{h.mount, own} {
		if !strings.HasPrefix(dir, h.mount) {
			continue
		}
		err := writable(dir)
		if h.v2 {
			err = h.delegated(dir)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// delegated says why no group with a share can be made in a folder of version 2.
func (h hierarchy) delegated(dir string) error {
	below, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(below)), "cpu") {
		return fmt.Errorf("the cpu controller is not enabled below %s", dir)
	}
	return writable(dir, "cgroup.procs")
}

func writable(dir string, files ...string) error {
	for _, path := range append([]string{dir}, joined(dir, files)...) {
		if err := unix.Access(path, unix.W_OK); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func joined(dir string, files []string) []string {
	var out []string
	for _, f := range files {
		out = append(out, filepath.Join(dir, f))
	}
	return out
}

// noShares says why no process can be bounded here.
func noShares(err error) error {
	return &drivers.HintError{
		Err:  fmt.Errorf("%w: no control group that bounds processor time can be made: %w", drivers.ErrUnavailable, err),
		Hint: "run the lab as root where control groups can be written, or use the docker driver",
	}
}

// group is a control group that bounds processor time.
type group struct {
	hierarchy
	dir, home string // its folder, and that of the group that its processes came from
}

// newGroup makes a group that has a share of one processor.
func newGroup(m marks, cpus float64) (*group, error) {
	h, err := findHierarchy()
	if err != nil {
		return nil, noShares(err)
	}
	parent, err := h.parent()
	if err != nil {
		return nil, noShares(err)
	}
	home, err := h.of(os.Getpid())
	if err != nil {
		return nil, noShares(err)
	}
	g := &group{h, filepath.Join(parent, m.name()), home}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, noShares(err)
	}
	if err := g.bound(quota(cpus)); err != nil {
		return nil, errors.Join(noShares(err), os.Remove(g.dir))
	}
	return g, nil
}

// quota is a share of one processor in microseconds of each period.
func quota(cpus float64) string { return strconv.Itoa(int(math.Round(cpus * cpuPeriod))) }

// bound sets what the group gets of each period.
func (g *group) bound(quota string) error {
	period := strconv.Itoa(cpuPeriod)
	if g.v2 {
		return g.write("cpu.max", quota+" "+period)
	}
	return errors.Join(g.write("cpu.cfs_period_us", period), g.write("cpu.cfs_quota_us", quota))
}

func (g *group) write(file, text string) error {
	return os.WriteFile(filepath.Join(g.dir, file), []byte(text), 0)
}

// add puts a process into the group, with all its threads.
func (g *group) add(pid int) error { return join(g.dir, pid) }

func join(dir string, pid int) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	if errors.Is(err, syscall.ESRCH) {
		return nil // it has ended
	}
	return err
}

// addGroup puts a group of processes into the control group. What they start meanwhile is found
// when they are looked at again.
func (g *group) addGroup(leader int) error {
	for added := map[int]bool{}; ; {
		members, err := processGroup(leader)
		if err != nil {
			return err
		}
		more := false
		for _, p := range members {
			if added[p.pid] {
				continue
			}
			if err := g.add(p.pid); err != nil {
				return fmt.Errorf("bound process %d: %w", p.pid, err)
			}
			added[p.pid], more = true, true
		}
		if !more {
			return nil
		}
	}
}

// remove takes away the bound, the processes and then the group. One that is gone already is no error.
func (g *group) remove(ctx context.Context) error {
	free := unlimitedV1
	if g.v2 {
		free = unlimitedV2
	}
	if err := g.bound(free); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return removeGroup(ctx, g.dir, g.home)
}

// removeGroup removes the folder of a group once its processes are out of it, or have ended.
func removeGroup(ctx context.Context, dir, home string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removeLimit, fmt.Errorf("in use after %v", removeLimit))
	defer cancel()
	ticker := time.NewTicker(removeLook)
	defer ticker.Stop()
	for {
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, p := range strings.Fields(string(procs)) {
			pid, err := strconv.Atoi(p)
			if err == nil {
				err = join(home, pid)
			}
			if err != nil {
				return fmt.Errorf("take process %s out of %s: %w", p, dir, err)
			}
		}
		err = syscall.Rmdir(dir) // which is empty for the kernel, whatever files are in it
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("remove %s: %w", dir, context.Cause(ctx))
		}
	}
}

// share is what the kernel says of the group that a process is in.
type share struct {
	quota     string // of each period
	throttled int    // periods in which it had to wait, so far
}

func (h hierarchy) share(pid int) (share, error) {
	dir, err := h.of(pid)
	if err != nil {
		return share{}, err
	}
	file := "cpu.cfs_quota_us"
	if h.v2 {
		file = "cpu.max"
	}
	bound, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return share{quota: "none"}, nil // the root of a hierarchy has no bounds
	}
	if err != nil {
		return share{}, err
	}
	stat, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return share{}, err
	}
	out := share{quota: strings.Fields(string(bound))[0]}
	for line := range strings.Lines(string(stat)) {
		if n, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			out.throttled, err = strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return out, err
}

// leftGroup is a group that carries marks.
type leftGroup struct {
	marks
	dir, home string
}

func (g leftGroup) String() string {
	return fmt.Sprintf("control group %s (instance %s of run %s)", g.dir, g.instance, g.run)
}

// findGroups lists the groups whose marks match, wherever they are. There are none where there is
// no hierarchy.
func findGroups(match func(marks) bool) ([]leftGroup, error) {
	h, err := findHierarchy()
	if err != nil {
		return nil, nil
	}
	home, err := h.of(os.Getpid())
	if err != nil {
		return nil, nil
	}
	var out []leftGroup
	err = filepath.WalkDir(h.mount, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && path != h.mount:
			return fs.SkipDir // it is gone, or somebody else's
		case err != nil:
			return err
		case !entry.IsDir():
			return nil
		}
		m, ok := parseMarks(entry.Name())
		if ok && match(m) {
			out = append(out, leftGroup{m, path, home})
		}
		if ok {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	return out, nil
}
