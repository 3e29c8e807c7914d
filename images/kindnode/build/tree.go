package build

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/images/debian"
)

// tree is a file system: the entries of a tar by their paths, without a leading slash.
// What it is written to depends on the entries alone.
type tree map[string]entry

type entry struct {
	kind     byte // tar.TypeReg, tar.TypeDir or tar.TypeSymlink
	mode     int64
	uid, gid int
	target   string            // of a symbolic link
	content  *io.SectionReader // of a regular file
}

func text(s string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s)))
}

// readTree reads the entries of a tar. Their content stays in the file, which has to stay
// open for as long as the tree is in use. Entries of other kinds than tree has are an
// error.
func readTree(file io.ReadSeeker, at io.ReaderAt) (tree, error) {
	t := tree{}
	for archive := tar.NewReader(file); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		e := entry{kind: h.Typeflag, mode: h.Mode, uid: h.Uid, gid: h.Gid, target: h.Linkname}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeSymlink:
		case tar.TypeReg:
			start, err := file.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			e.content = io.NewSectionReader(at, start, h.Size)
		default:
			return nil, fmt.Errorf("%s: entries of type %q are not supported", h.Name, h.Typeflag)
		}
		t[strings.Trim(path.Clean("/"+h.Name), "/")] = e
	}
}

// write writes the tree as a tar, sorted.
func (t tree) write(w io.Writer) error {
	archive := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		h := tar.Header{Typeflag: e.kind, Name: name, Mode: e.mode, Uid: e.uid, Gid: e.gid, Linkname: e.target, ModTime: time.Unix(debian.Epoch, 0)}
		if e.kind == tar.TypeDir {
			h.Name += "/"
		}
		if e.content != nil {
			h.Size = e.content.Size()
		}
		if err := archive.WriteHeader(&h); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if e.content == nil {
			continue
		}
		if _, err := io.Copy(archive, io.NewSectionReader(e.content, 0, e.content.Size())); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return archive.Close()
}

// file adds a regular file of root's, and link a symbolic link. Both make the directories
// above that are missing, and follow links among those that are not.
func (t tree) file(name string, mode int64, content *io.SectionReader) {
	t[t.place(name)] = entry{kind: tar.TypeReg, mode: mode, content: content}
}

func (t tree) link(name, target string) {
	t[t.place(name)] = entry{kind: tar.TypeSymlink, mode: 0o777, target: target}
}

func (t tree) dir(name string, mode int64) {
	t[t.place(name)] = entry{kind: tar.TypeDir, mode: mode}
}

func (t tree) place(name string) string {
	parent, base := path.Split(name)
	parent = strings.Trim(parent, "/")
	if parent == "" {
		return base
	}
	if real, e, ok := t.resolve(parent); ok && e.kind == tar.TypeDir {
		return path.Join(real, base)
	}
	real := t.place(parent)
	t[real] = entry{kind: tar.TypeDir, mode: 0o755}
	return path.Join(real, base)
}

// remove removes everything that matches one of the patterns of path.Match, and what is
// below it. A pattern that matches nothing is an error: the packages have changed, and
// somebody should look at how.
func (t tree) remove(patterns ...string) error {
	for _, pattern := range patterns {
		var matched []string
		for name := range t {
			ok, err := path.Match(pattern, name)
			if err != nil {
				return fmt.Errorf("%s: %w", pattern, err)
			}
			if ok {
				matched = append(matched, name)
			}
		}
		if len(matched) == 0 {
			return fmt.Errorf("nothing to remove at %s", pattern)
		}
		for name := range t {
			if slices.ContainsFunc(matched, func(m string) bool { return name == m || strings.HasPrefix(name, m+"/") }) {
				delete(t, name)
			}
		}
	}
	return nil
}

// resolve follows symbolic links, in every part of the path, to what the path names.
func (t tree) resolve(name string) (string, entry, bool) {
	const maxLinks = 40 // as the kernel has it
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	at := ""
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		e, ok := t[next]
		if !ok {
			return "", entry{}, false
		}
		rest = rest[1:]
		if e.kind != tar.TypeSymlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", entry{}, false
		}
		target := e.target
		if !path.IsAbs(target) {
			target = path.Join("/", at, target)
		}
		rest = append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest...)
		at = ""
	}
	return at, t[at], true
}

// libraries returns the dynamic loader and the shared libraries that the programs and
// plugins need, and those that these need, in the form of the paths by which they are
// looked for, sorted. It looks in dirs alone: nothing here has a search path of its own.
func (t tree) libraries(programs, dirs []string) ([]string, error) {
	found := map[string]bool{}
	for queue := slices.Clone(programs); len(queue) > 0; {
		name := queue[0]
		queue = queue[1:]
		_, e, ok := t.resolve(name)
		if !ok || e.content == nil {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		loader, needed, err := dynamic(e.content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if loader != "" && !found[loader] {
			found[loader] = true
			queue = append(queue, loader)
		}
		for _, lib := range needed {
			at, ok := t.lookup(lib, dirs)
			if !ok {
				return nil, fmt.Errorf("%s needs %s: %w in %v", name, lib, fs.ErrNotExist, dirs)
			}
			if !found[at] {
				found[at] = true
				queue = append(queue, at)
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (t tree) lookup(lib string, dirs []string) (string, bool) {
	for _, dir := range dirs {
		at := path.Join(dir, lib)
		if _, e, ok := t.resolve(at); ok && e.content != nil {
			return at, true
		}
	}
	return "", false
}

// dynamic reads what an ELF file asks of the dynamic loader.
func dynamic(content *io.SectionReader) (loader string, needed []string, err error) {
	f, err := elf.NewFile(content)
	if err != nil {
		return "", nil, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw, err := io.ReadAll(p.Open())
		if err != nil {
			return "", nil, err
		}
		loader = strings.Trim(string(bytes.TrimRight(raw, "\x00")), "/")
	}
	needed, err = f.ImportedLibraries()
	return loader, needed, err
}
