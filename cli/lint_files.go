package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

// lintFiles reads the files, and of folders those below them that the linter may know.
func lintFiles(args []string, stdin io.Reader) ([]lint.File, []*lint.FileError) {
	r := &fileReader{stdin: stdin, seen: map[string]bool{}}
	for _, name := range args {
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			r.readFolder(name)
		} else {
			r.read(name, false)
		}
	}
	return r.files, r.problems
}

type fileReader struct {
	stdin    io.Reader
	seen     map[string]bool
	files    []lint.File
	problems []*lint.FileError
}

func (r *fileReader) problem(name string, err error, hint string) {
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = fmt.Errorf("%s: %w", inner.Op, inner.Err) // the name stands before it already
	}
	r.problems = append(r.problems, &lint.FileError{File: name, Message: err.Error(), Hint: hint})
}

// read reads a file, no more of it than shows that it is too large, and each file once.
func (r *fileReader) read(name string, found bool) {
	if r.seen[filepath.Clean(name)] {
		return
	}
	r.seen[filepath.Clean(name)] = true
	data, err := readBounded(name, r.stdin)
	if err != nil {
		r.problem(name, err, "")
		return
	}
	r.files = append(r.files, lint.File{Name: name, Data: data, Found: found})
}

func readBounded(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(stdin, lint.MaxFile+1))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, lint.MaxFile+1))
	return data, errors.Join(err, f.Close())
}

// lintNames are the names of files in a folder that may be the linter's concern.
var lintNames = regexp.MustCompile(`(?i)\.(ya?ml|json|service|socket|container)$|\.(service|socket|container)\.d[/\\][^/\\]+\.conf$`)

// readFolder reads the files below a folder in the order of their names. Folders whose
// names begin with a dot are a program's own and left out.
func (r *fileReader) readFolder(root string) {
	ignored, err := ignoredBelow(root)
	if err != nil {
		r.problem(filepath.Join(root, ignoreFile), err, "one pattern in each line, as in .dockerignore: drafts/, **/test-*.yaml, !this.yaml")
		return
	}
	before := len(r.files)
	err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			r.problem(name, err, "")
			return nil
		}
		below, relErr := filepath.Rel(root, name)
		if relErr != nil || below == "." {
			return relErr
		}
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") {
			return fs.SkipDir
		}
		if !e.IsDir() && !lintNames.MatchString(name) {
			return nil
		}
		out, err := ignored.MatchesOrParentMatches(filepath.ToSlash(below))
		switch {
		case err != nil:
			return err
		case e.IsDir() && out && !ignored.Exclusions():
			return fs.SkipDir
		case e.IsDir() || out:
			return nil
		}
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			r.read(name, true)
		}
		return nil
	})
	if err != nil {
		r.problem(root, err, "")
	}
	if len(r.files) == before && len(r.problems) == 0 {
		r.problem(root, errors.New("no manifest, unit file or compose file in this folder"), "looked for are files that end in .yaml, .yml, .json, .service, .socket or .container")
	}
}

// ignoreFile, in a folder that is looked through, says what to leave out of it.
const ignoreFile = ".rolloutlabignore"

func ignoredBelow(root string) (*patternmatcher.PatternMatcher, error) {
	f, err := os.Open(filepath.Join(root, ignoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return patternmatcher.New(nil)
	}
	if err != nil {
		return nil, err
	}
	patterns, err := ignorefile.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return patternmatcher.New(patterns)
}

// mostNamed is how many places of one kind a line names.
const mostNamed = 3

// skippedLine counts what was passed over by what it is, and says where that is which was not
// recognised.
func skippedLine(all []lint.Skipped) string {
	byWhat := map[string][]lint.Skipped{}
	for _, s := range all {
		byWhat[s.What] = append(byWhat[s.What], s)
	}
	var parts []string
	for what, these := range byWhat {
		part := fmt.Sprintf("%s %d", what, len(these))
		if !these[0].Recognised {
			var where []string
			for i, s := range these {
				if i == mostNamed {
					where = append(where, "...")
					break
				}
				where = append(where, s.Position())
			}
			part += " (" + strings.Join(where, ", ") + ")"
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a), strings.ToLower(b)), cmp.Compare(a, b))
	})
	return strings.Join(parts, ", ")
}
