package lint

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Skipped is something in the files that is not judged.
type Skipped struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // from 1; 0 when it is the whole file
	What string `json:"what"`           // a kind of Kubernetes objects, or what else it is
	Hint string `json:"hint,omitempty"` // how to have it judged all the same
	// Recognised says that it is of a known form and no concern of the linter. What is not,
	// and not beside anything that is, makes Check fail.
	Recognised bool `json:"recognised"`
}

// Position is the file and, where it is a part of it, the line.
func (s Skipped) Position() string {
	if s.Line == 0 {
		return printable(s.File)
	}
	return fmt.Sprintf("%s:%d", printable(s.File), s.Line)
}

func (s *source) skip(line int, what, hint string, recognised bool) {
	s.skipped = append(s.skipped, Skipped{s.name, line, what, hint, recognised})
}

const recogniseHint = "a Kubernetes object has apiVersion and kind, a compose file has services, a unit file begins with a [Section]"

// unrecognised passes over a document that is neither manifest nor compose file. Where it
// looks like one that lacks a part, or is no data at all, that is a problem.
func (s *source) unrecognised(root *node) {
	if isKustomization(s.name) {
		s.skip(root.line, "Kustomization", "render it first: kubectl kustomize FOLDER | rollout-lab lint -", true)
		return
	}
	if root.get("apiVersion") != nil && root.get("name") != nil && root.get("version") != nil {
		s.skip(root.line, "Helm chart", renderHint, true)
		return
	}
	head, body := root.get("apiVersion") != nil || root.get("kind") != nil, root.get("metadata") != nil || root.get("spec") != nil
	half := head && body || root.get("services") != nil && !s.found // pipelines have services too
	if half || root.kind == scalar {
		s.problem(root.line, root.column, recogniseHint, "not recognised as a Kubernetes manifest, a compose file or a systemd unit")
		return
	}
	s.skip(root.line, "not recognised", recogniseHint, false)
}

const renderHint = "render it first, for example: helm template . | rollout-lab lint -"

// inputClaim is how a text says that it is an input of the linter.
var inputClaim = regexp.MustCompile(`(?m)^(?:apiVersion|services):|^\s*"apiVersion"\s*:|^\[Service\]`)

// passOver makes of the problems of a file that nobody named something that is not judged,
// where it is a template or never said that it is an input of the linter.
func (s *source) passOver(data []byte) {
	switch {
	case bytes.Contains(data, []byte("{{")):
		s.problems = nil
		s.skip(0, "template", renderHint, false)
	case !inputClaim.Match(data):
		s.problems = nil
		s.skip(0, "not recognised", "", false)
	}
}

// nothingIn is the error for files in which nothing was recognised.
func nothingIn(files []File, skipped []Skipped) *FileError {
	e := &FileError{err: ErrNothing}
	var names []string
	for i, f := range files {
		if i == 5 {
			names = append(names, fmt.Sprintf("%d more", len(files)-i))
			break
		}
		names = append(names, printable(f.Name))
	}
	if len(names) == 0 {
		names = []string{"no file at all"}
	}
	e.Message = fmt.Sprintf("%v: no workload, unit or compose service in %s", ErrNothing, strings.Join(names, ", "))
	for _, s := range skipped {
		if s.Hint != "" {
			e.Hint = s.Hint
			break
		}
	}
	return e
}

// take reads an object, and keeps account of what is not judged by itself.
func (k *kubeObjects) take(s *source, o *node, last, depth int) {
	kind := o.get("kind").value
	workloads, skipped := len(k.workloads), len(s.skipped)
	known := k.add(s, o, last, depth)
	if len(s.skipped) == skipped {
		k.checkKeys(s, o)
	}
	holdsOthers := strings.HasSuffix(kind, "List") && o.get("items") != nil || kind == "Template" && o.get("objects") != nil
	if len(k.workloads) > workloads && !holdsOthers {
		s.heed(o, last, k.workloads[workloads])
	} else if known {
		s.heed(o, last, nil)
	}
	switch {
	case !known:
		s.skip(o.line, show(kind), "", true)
	case holdsOthers:
	case len(k.workloads) == workloads && len(s.skipped) == skipped:
		s.aside = append(s.aside, Skipped{File: s.name, Line: o.line, What: kind, Hint: "it is judged together with the workload that it belongs to", Recognised: true})
	}
}

func cleanPath(name string) string { return path.Clean(strings.ReplaceAll(name, `\`, "/")) }

func isKustomization(name string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, path.Base(cleanPath(name)))
}

// patchesOf are the files, by their clean names, that Kustomizations among the files apply
// as patches. A patch looks like an object and is only the part of one that it changes.
func patchesOf(files []File) map[string]bool {
	out := map[string]bool{}
	for _, f := range files {
		if !isKustomization(f.Name) {
			continue
		}
		s := &source{name: f.Name, lines: strings.Split(string(f.Data), "\n")}
		for _, d := range s.documents() {
			root := s.parse(d)
			for _, key := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
				list := root.get(key)
				if list == nil {
					continue
				}
				for _, item := range list.items {
					name := item.value
					if file := item.get("path"); file != nil {
						name = file.value
					}
					if name != "" && !strings.Contains(name, "\n") {
						out[path.Join(path.Dir(cleanPath(f.Name)), name)] = true
					}
				}
			}
		}
	}
	return out
}
