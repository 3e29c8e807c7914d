package build

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
	"slices"
	"strconv"
	"strings"
	"time"
)

// unwanted lists, in the form of path.Match, what an installation leaves behind that
// differs from one to the next or belongs to the machine.
var unwanted = []string{
	"debootstrap",
	"dev/*", "proc/*", "run/*", "sys/*", "tmp/*",
	"etc/.pwd.lock",
	"etc/hostname",
	"etc/machine-id",
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

const mirrorTimeout = 20 * time.Second

func debootstrapArgs(goarch string) []string {
	return []string{"--variant=minbase", "--merged-usr", "--arch=" + goarch, "--include=" + strings.Join(debianPackages, ","), debianSuite}
}

// makeDebian installs a Debian system and writes it to the file to, as a tar.
func (b *builder) makeDebian(ctx context.Context, to string) error {
	if os.Geteuid() != 0 {
		return hint(errors.New("installing a Debian system needs root"), "run it as root, for example by sudo -E env PATH=$PATH; "+carry)
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return hint(err, "install the package debootstrap; "+carry)
	}
	if err := reachMirror(ctx, b.mirror); err != nil {
		return err
	}
	root := filepath.Join(filepath.Dir(to), "root")
	args := append(debootstrapArgs(b.goarch), root, b.mirror)
	cmd := exec.CommandContext(ctx, "debootstrap", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "SOURCE_DATE_EPOCH="+strconv.Itoa(epoch))
	confine(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return hint(fmt.Errorf("debootstrap: %w\n%s", err, tail(out)), "is "+b.mirror+" a mirror of Debian? name another one with --mirror")
	}
	return writeFile(to, func(w io.Writer) error {
		return writeDir(w, root, func(name string) bool {
			return !slices.ContainsFunc(unwanted, func(pattern string) bool {
				matched, err := path.Match(pattern, name)
				return err == nil && matched
			})
		})
	})
}

// reachMirror asks for a file that every mirror has: debootstrap takes minutes to say what
// this says at once.
func reachMirror(ctx context.Context, mirror string) error {
	if !strings.HasPrefix(mirror, "http://") && !strings.HasPrefix(mirror, "https://") {
		return nil // a directory, which debootstrap reads itself
	}
	const advice = "without a network, name a mirror within reach with --mirror (a URL, or file:/DIRECTORY); " + carry
	ctx, cancel := context.WithTimeout(ctx, mirrorTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimSuffix(mirror, "/")+"/dists/"+debianSuite+"/Release", nil)
	if err != nil {
		return hint(fmt.Errorf("mirror of Debian: %w", err), advice)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return hint(fmt.Errorf("mirror of Debian: %w", err), advice)
	}
	defer func() { _ = resp.Body.Close() }() // it has none
	if resp.StatusCode != http.StatusOK {
		return hint(fmt.Errorf("mirror of Debian: %s: %s", req.URL, resp.Status), advice)
	}
	return nil
}

// tail is the end of what a failed command has said.
func tail(out []byte) string {
	const most = 20
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
