package debian

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Epoch is the time of everything that is packed, in seconds: 2026-01-01. What does not
// depend on when it was built can be compared.
const Epoch = 1767225600

// Pack writes a directory as a tar that depends on its files alone: sorted, with one time for
// everything, hard links as files of their own, and without what keep refuses. Devices and
// sockets are left out; whoever runs the tree makes its own.
func Pack(w io.Writer, root string, keep func(name string) bool) error {
	archive := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		if !keep(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return writePath(archive, p, name, d)
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

func writePath(archive *tar.Writer, p, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	var target string
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		if target, err = os.Readlink(p); err != nil {
			return err
		}
	default:
		return nil
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	// The host's names for the numbers, and its times, are not the tree's.
	*h = tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid, ModTime: time.Unix(Epoch, 0)}
	if d.IsDir() {
		h.Name += "/"
	}
	if err := archive.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return errors.Join(err, f.Close())
}
