package scenarios

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Where knows where in its file each part of a scenario is said.
type Where struct {
	source *source
	at     map[string]*node // by path: load.rate, designs[1].signal
}

// Equal is true: where a scenario says a thing is no part of what it says.
func (*Where) Equal(*Where) bool { return true }

// said says whether the file has that path itself.
func (w *Where) said(path string) bool { return w != nil && w.at[path] != nil }

// nearest is the node of a path, or of the nearest one around it.
func nearest(at map[string]*node, path string) *node {
	for {
		if n := at[path]; n != nil {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return at[""]
		}
		path = path[:i]
	}
}

// ProblemAt is a problem of what a scenario says at a path, such as load.rate or
// designs[1].signal, or around it, with its position in the file.
func (s *Scenario) ProblemAt(path, message, hint string) *Error {
	e := &Error{File: s.File, Message: message, Hint: hint}
	if s.Where == nil {
		return e
	}
	if n := nearest(s.Where.at, path); n != nil {
		e.Line, e.Column, e.Excerpt = n.line, n.column, excerpt(s.Where.source.lines, n.line, n.column)
	}
	return e
}

// For is the scenario as it is on a driver. The error, an *Error, says that its target has
// entries for other drivers only.
func (s *Scenario) For(driver string) (*Scenario, error) {
	target, ok := s.Target.For(driver)
	if !ok {
		have := slices.Sorted(maps.Keys(s.Target.On))
		return nil, s.ProblemAt("target.on", "target.on has no entry for driver "+quote(driver), fmt.Sprintf("it has %s; add %s: with an image or a program, or use one of those", quoteAll(have), quote(driver)))
	}
	is := *s
	is.Target = target
	return &is, nil
}

// workload is a scenario with the target of one driver, or with what is shared by those that
// have no entry of their own.
type workload struct {
	driver string // "" where it is what is shared
	*Scenario
}

// workloads are the targets that a scenario has: what is shared first, if that is one.
func (s *Scenario) workloads() []workload {
	var all []workload
	for _, driver := range append([]string{""}, slices.Sorted(maps.Keys(s.Target.On))...) {
		if is, err := s.For(driver); err == nil {
			all = append(all, workload{driver, is})
		}
	}
	return all
}

// path is where a key of the workload is said: in the entry of its driver, or for all of them.
func (w workload) path(key string) string {
	own := join(join("target.on", w.driver), key)
	if w.driver != "" && (w.Where.said(own) || !w.Where.said(join("target", key))) {
		return own
	}
	return join("target", key)
}

// Path is where a program is that the scenario names: what is relative counts from the folder
// of the scenario's file, and a name without a slash is looked up in PATH by whoever runs it.
func (s *Scenario) Path(name string) string {
	if !strings.ContainsRune(filepath.ToSlash(name), '/') || filepath.IsAbs(name) {
		return name
	}
	path := filepath.Join(filepath.Dir(s.File), filepath.FromSlash(name))
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// PathOf is where a scenario asks for a feature of a driver, which has the name of its key: in
// one of its designs, by its index, or in its target, there under on for the driver or for all,
// or beside them. Where it is said nowhere, it is the default of the place that is returned.
func (s *Scenario) PathOf(design int, driver, key string) string {
	d := fmt.Sprintf("designs[%d]", design)
	top, _, _ := strings.Cut(key, ".")
	var last string
	for _, place := range []struct {
		holds bool
		path  string
	}{
		{hasField[Settings](top), join(join(d, "on"), driver)},
		{hasField[Settings](top), d},
		{hasField[Workload](top), join("target.on", driver)},
		{hasField[Revision](top), "target.revisions.before"},
		{hasField[Revision](top), "target.revisions.after"},
		{hasField[Workload](top) || hasField[Target](top), "target"},
		{hasField[Scenario](top), ""},
	} {
		if !place.holds {
			continue
		}
		if last = join(place.path, key); s.Where.said(last) {
			return last
		}
	}
	return last
}
