package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cache is a directory of finished parts. A part appears under its name at once, by a
// rename; what is unfinished has a temporary name, and is removed by the next build.
type cache struct{ dir string }

const (
	temporary = "tmp-"
	lockName  = "lock"
	// lockRetry is how often a lock is asked for that another build has; the kernel tells
	// nobody that a file lock has become free.
	lockRetry = 250 * time.Millisecond
	// cacheWants is the room for a Debian system as a directory and as a tar, the programs
	// and the archive. What Go needs to compile them may be on another disk.
	cacheWants = 3 << 30
)

func (c cache) path(name string) string { return filepath.Join(c.dir, name) }

func (c cache) has(name string) bool {
	_, err := os.Stat(c.path(name))
	return err == nil
}

// id tells caches of one engine apart.
func (c cache) id() string {
	host, _ := os.Hostname() // it only makes the directory's name less ambiguous
	sum := sha256.Sum256([]byte(host + "\x00" + c.dir))
	return hex.EncodeToString(sum[:6])
}

// lock waits until no other build uses the cache.
func (c cache) lock(ctx context.Context, p *progress) (unlock func() error, err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, hint(fmt.Errorf("cache directory: %w", err), "name another one with --cache")
	}
	f, err := os.OpenFile(c.path(lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, hint(fmt.Errorf("lock the cache: %w", err), "name another one with --cache")
	}
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for said := false; ; {
		ok, err := tryLock(f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		if ok {
			return f.Close, nil // which gives the lock back
		}
		if !said {
			p.say("another build uses %s: waiting for it", c.dir)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(errors.New("waited for another build"), f.Close())
		case <-retry.C:
		}
	}
}

func (c cache) temp() (string, error) {
	dir, err := os.MkdirTemp(c.dir, temporary)
	if err != nil {
		return "", fmt.Errorf("temporary directory: %w", err)
	}
	return dir, nil
}

// add has a part made at a temporary path and gives it its name.
func (c cache) add(ctx context.Context, name string, make func(ctx context.Context, to string) error) (err error) {
	if free, ok := freeSpace(c.dir); ok && free < cacheWants {
		return hint(fmt.Errorf("%s has %d MB left, and a build needs %d", c.dir, free>>20, cacheWants>>20), "make room, or name another disk with --cache and GOCACHE")
	}
	temp, err := c.temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	to := filepath.Join(temp, name)
	if err := make(ctx, to); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.Rename(to, c.path(name))
}

func (c cache) remove(names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, os.RemoveAll(c.path(name)))
	}
	return errors.Join(errs...)
}

// sweepTemporary removes what a killed build has left. The caller has the lock.
func (c cache) sweepTemporary() error {
	return c.sweep(func(name string) bool { return strings.HasPrefix(name, temporary) })
}

// sweepOthers removes the parts that have been replaced. The caller has the lock.
func (c cache) sweepOthers(keep ...string) error {
	return c.sweep(func(name string) bool {
		part := strings.HasPrefix(name, "debian-") || strings.HasPrefix(name, "programs-")
		return part && !slices.Contains(keep, name)
	})
}

func (c cache) sweep(goes func(name string) bool) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if goes(e.Name()) {
			if err := c.remove(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
