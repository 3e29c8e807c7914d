// Package debian makes Debian systems for the images of containers, from a mirror of
// Debian's packages and without a container registry. It knows no engine, and what it
// makes boots nowhere by itself.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/images/confined"
)

// DefaultMirror is where packages come from when this machine names no mirror.
const DefaultMirror = "http://deb.debian.org/debian"

const mirrorTimeout = 20 * time.Second

// System is a Debian system that consists of the essential packages and some more.
type System struct {
	Suite    string
	Packages []string
	Arch     string // Go's name for it, which is Debian's too
	Mirror   string // a URL, or file:/DIRECTORY
}

// unwanted lists, in the form of path.Match, what an installation leaves behind that
// differs from one to the next or belongs to the machine.
var unwanted = []string{
	"debootstrap",
	"dev/*", "proc/*", "run/*", "sys/*", "tmp/*",
	"etc/.pwd.lock",
	"etc/hostname",
	"etc/resolv.conf",
	"etc/*-", // passwd and the like, as they were before
	"var/cache/apt/*",
	"var/cache/debconf/*-old",
	"var/cache/ldconfig/*",
	"var/lib/apt/lists/*",
	"var/lib/dbus/machine-id",
	"var/lib/dpkg/*-old",
	"var/lib/systemd/catalog/database",
	"var/log/*",
}

// machineID is empty in what is written: each container gets an identity of its own, and
// none takes its first boot for that of a machine to be set up.
const machineID = "etc/machine-id"

func (s System) args() []string {
	return []string{"--variant=minbase", "--merged-usr", "--arch=" + s.Arch, "--include=" + strings.Join(s.Packages, ","), s.Suite}
}

// Recipe is all that decides what the system is, but for the packages that the mirror has
// that day.
func (s System) Recipe() []string { return append(s.args(), unwanted...) }

// Write installs the system in the folder work, which it makes and leaves, and writes it to
// w as a tar, whose bytes depend on the packages alone. It needs root on Linux and
// debootstrap; errors come with a hint. What it has started is gone when it returns.
func (s System) Write(ctx context.Context, work string, w io.Writer) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return hint(errors.New("installing a Debian system needs root on Linux"), "run it as root, for example by sudo -E env PATH=$PATH")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return hint(err, "install the package debootstrap")
	}
	if err := reachMirror(ctx, s.Mirror, s.Suite); err != nil {
		return err
	}
	cmd := confined.Command(ctx, "debootstrap", append(s.args(), work, s.Mirror)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "SOURCE_DATE_EPOCH="+strconv.Itoa(Epoch))
	if err := confined.Run(cmd); err != nil {
		return hint(err, "is "+s.Mirror+" a mirror of Debian with packages "+strings.Join(s.Packages, ", ")+"?")
	}
	if err := os.WriteFile(filepath.Join(work, machineID), nil, 0o444); err != nil {
		return err
	}
	return Pack(w, work, func(name string) bool {
		return !slices.ContainsFunc(unwanted, func(pattern string) bool {
			matched, err := path.Match(pattern, name)
			return err == nil && matched
		})
	})
}

func hint(err error, text string) error { return &drivers.HintError{Err: err, Hint: text} }

// reachMirror asks for a file that every mirror has: debootstrap takes minutes to say what
// this says at once.
func reachMirror(ctx context.Context, mirror, suite string) error {
	if !strings.HasPrefix(mirror, "http://") && !strings.HasPrefix(mirror, "https://") {
		return nil // a directory, which debootstrap reads itself
	}
	ctx, cancel := context.WithTimeout(ctx, mirrorTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimSuffix(mirror, "/")+"/dists/"+suite+"/Release", nil)
	var resp *http.Response
	if err == nil {
		resp, err = http.DefaultClient.Do(req)
	}
	if err == nil {
		_ = resp.Body.Close() // it has none
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", req.URL, resp.Status)
		}
	}
	if err != nil {
		return hint(fmt.Errorf("mirror of Debian: %w", err), "without a network, name a mirror within reach (a URL, or file:/DIRECTORY)")
	}
	return nil
}

// Mirror is where this machine gets its packages from, or DefaultMirror if it does not say.
func Mirror() string {
	for _, source := range []struct {
		file   string
		mirror func(line string) string
	}{{"/etc/apt/sources.list.d/debian.sources", deb822Mirror}, {"/etc/apt/sources.list", listMirror}} {
		text, err := os.ReadFile(source.file)
		if err != nil {
			continue // not every machine has both, or either
		}
		for line := range strings.Lines(string(text)) {
			if mirror := source.mirror(line); mirror != "" {
				return mirror
			}
		}
	}
	return DefaultMirror
}

func deb822Mirror(line string) string {
	if value, ok := strings.CutPrefix(line, "URIs:"); ok {
		if uris := strings.Fields(value); len(uris) > 0 {
			return uris[0]
		}
	}
	return ""
}

func listMirror(line string) string {
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0] != "deb" {
		return ""
	}
	if n := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "http") }); n >= 0 {
		return fields[n]
	}
	return ""
}
