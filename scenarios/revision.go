package scenarios

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// What the revisions are called that have no name.
const (
	RevisionBefore = "v1"
	RevisionAfter  = "v2"
)

var revisionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`)

// all are the revisions, the one before first; none of a target that has none.
func (r *Revisions) all() []*Revision {
	if r == nil {
		return nil
	}
	return []*Revision{&r.Before, &r.After}
}

// nameThem gives a name to those that have none.
func (r *Revisions) nameThem() {
	for i, of := range r.all() {
		if of.Name == "" {
			of.Name = []string{RevisionBefore, RevisionAfter}[i]
		}
	}
}

// program is the key that names a program, if each of the revisions has one, else "".
func (r *Revisions) program() string {
	for _, of := range r.all() {
		if of.Image == "" && of.Exec == "" {
			return ""
		}
	}
	switch {
	case r == nil:
		return ""
	case r.Before.Image != "":
		return "image"
	}
	return "exec"
}

// RevisionNames are what the revisions before and after a rollout are called.
func (w *Workload) RevisionNames() (before, after string) {
	if w.Revisions == nil {
		return RevisionBefore, RevisionAfter
	}
	return w.Revisions.Before.Name, w.Revisions.After.Name
}

// RevisionsDiffer says whether a rollout leads to anything else than what runs already.
func (w *Workload) RevisionsDiffer() bool {
	if w.Revisions == nil {
		return false
	}
	was, is := w.at(w.Revisions.Before), w.at(w.Revisions.After)
	was.Name, is.Name = "", ""
	return !reflect.DeepEqual(was, is)
}

// At is what a custom target runs at one of its revisions, all of it.
func (w *Workload) At(r Revision) drivers.Variation {
	is := w.at(r)
	return drivers.Variation{Image: is.Image, Exec: is.Exec, Args: is.Args, Env: is.Env, Manifests: is.Manifests}
}

// at is a revision with everything that it takes from the target.
func (w *Workload) at(r Revision) Revision {
	out := Revision{Name: r.Name, Image: r.Image, Exec: r.Exec, Manifests: r.Manifests}
	if r.Image == "" && r.Exec == "" {
		out.Image, out.Exec = w.Image, w.Exec
	}
	if len(r.Manifests) == 0 {
		out.Manifests = w.Manifests
	}
	out.Args = slices.Concat(w.Args, r.Args)
	out.Env = map[string]string{}
	maps.Copy(out.Env, w.Env)
	maps.Copy(out.Env, r.Env)
	return out
}

// ManifestsAt are what a design's target is made of at a revision.
func (s *Scenario) ManifestsAt(d Design, r Revision) []drivers.Manifest {
	if len(r.Manifests) > 0 {
		return r.Manifests
	}
	return s.ManifestsOf(d)
}

// manifestSets are what the target may be made of, for each design and revision.
func (w workload) manifestSets() (sets [][]drivers.Manifest) {
	for _, d := range w.Designs {
		if w.Target.Revisions == nil {
			sets = append(sets, w.ManifestsOf(d))
		}
		for _, r := range w.Target.Revisions.all() {
			sets = append(sets, w.ManifestsAt(d, *r))
		}
	}
	return sets
}

// everyImage says whether the target is an image at every revision.
func (w *Workload) everyImage() bool {
	for _, r := range w.Revisions.all() {
		if w.at(*r).Image == "" {
			return false
		}
	}
	return w.Image != "" || w.Revisions != nil
}

// checkRevisions checks what of the revisions does not go together.
func (w workload) checkRevisions(report report) {
	t := &w.Target
	if t.Revisions == nil {
		return
	}
	at := w.path("revisions")
	if w.Action.Kind != Rollout {
		report(at, fmt.Sprintf("%s is for a rollout, and the action is %s", at, w.Action.Kind), "say action: {kind: rollout}, or remove it")
	}
	if before, after := t.RevisionNames(); before == after {
		report(join(at, "after"), "both revisions are called "+quote(after), "give one of them another name")
	}
	for i, r := range t.Revisions.all() {
		path := join(at, []string{"before", "after"}[i])
		if !revisionName.MatchString(r.Name) {
			report(join(path, "name"), "bad name of a revision: "+quote(r.Name), "1 to 40 letters, digits, dots, dashes and underscores")
		}
		if t.Deployed() {
			w.checkRevisionManifests(path, r, report)
			continue
		}
		if r.Image != "" && r.Exec != "" {
			report(path, path+" names two programs: image and exec", "remove one of them")
		}
		if len(r.Manifests) > 0 {
			report(join(path, "manifests"), join(path, "manifests")+" is for a target that is a deployment", "remove it")
		}
		w.checkPlaces(func(key string) string { return join(path, key) }, r.Args, r.Env, report)
	}
}

// checkRevisionManifests checks the manifests of a revision of a Deployment.
func (w workload) checkRevisionManifests(path string, r *Revision, report report) {
	for i, d := range w.Designs {
		switch {
		case len(d.Manifests) > 0 && len(r.Manifests) > 0:
			at := fmt.Sprintf("designs[%d].manifests", i)
			report(at, at+" and "+join(path, "manifests")+" are both to be applied", "compare designs, or revisions: give the manifests to one of them")
		case len(w.ManifestsAt(d, *r)) == 0:
			report(path, path+" has no manifests: of a Deployment that exists already there is one revision", "give each revision its manifests, or remove revisions")
			return
		}
	}
}
