package drivers

import (
	"fmt"
	"maps"
	"slices"
)

// Variation is what one revision of the subject runs, all of it: each field stands in the
// place of the one of that name in Stack.Subject, and Manifests in Stack.Objects. Whatever
// else the subject is, its ports, its probes, its graces, is the same at every revision.
type Variation struct {
	Image string
	Exec  string
	Args  []string
	Env   map[string]string
	// Manifests are those of a stack with Objects, which has nothing else that could vary.
	Manifests []Manifest
}

// At is the stack as it is at a revision: its subject runs what that revision is. The
// error wraps ErrNoRevision when there is none of that name. Without Revisions there is one
// of every name, and all of them are the same program.
func (s Stack) At(revision string) (Stack, error) {
	if s.Revisions != nil {
		v, ok := s.Revisions[revision]
		if !ok {
			return Stack{}, fmt.Errorf("%w %q: there are %q", ErrNoRevision, revision, slices.Sorted(maps.Keys(s.Revisions)))
		}
		s.Subject.Image, s.Subject.Exec, s.Subject.Args, s.Subject.Env = v.Image, v.Exec, v.Args, v.Env
		if s.Objects != nil {
			o := *s.Objects
			o.Manifests = v.Manifests
			s.Objects = &o
		}
	}
	s.Revision = revision
	return s, nil
}

// Services are all that the stack may ever run: the dependencies, in the order in which they
// are started, and then the subject as it is at each revision, the first one first. What a
// driver checks and prepares of each of them before it starts anything is there when a
// rollout needs it.
func (s Stack) Services() []Service {
	all := slices.Clone(s.Dependencies)
	for _, revision := range s.revisions() {
		if at, err := s.At(revision); err == nil { // else Validate says so
			all = append(all, at.Subject)
		}
	}
	return all
}

// revisions are the names of the revisions that are known, the first one first.
func (s Stack) revisions() []string {
	names := []string{s.Revision}
	for _, name := range slices.Sorted(maps.Keys(s.Revisions)) {
		if name != s.Revision {
			names = append(names, name)
		}
	}
	return names
}
