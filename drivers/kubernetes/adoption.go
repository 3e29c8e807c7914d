package kubernetes

import (
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// annotationBefore holds, on a Deployment that is adopted, how it was before and what was
// made of it, so that it can be restored by whoever comes next. It is there from before the
// first change until everything is as it was.
const annotationBefore = "rollout-lab/before"

// adoption is how a Deployment was before the lab changed it, and what the lab has made of
// it: the value of annotationBefore.
type adoption struct {
	Run        string                `json:"run"`
	Owner      string                `json:"owner"`      // the lab's process, see package owner
	Deployment string                `json:"deployment"` // as labelDeployment
	Spec       appsv1.DeploymentSpec `json:"spec"`       // as it was
	Set        []managed             `json:"set"`        // what the lab has made of it, or was about to
}

// parseAdoption reads the annotation of a Deployment; adopted says whether it has one.
func parseAdoption(d *appsv1.Deployment) (a *adoption, adopted bool, err error) {
	text, adopted := d.Annotations[annotationBefore]
	if !adopted {
		return nil, false, nil
	}
	a = &adoption{}
	if err := json.Unmarshal([]byte(text), a); err != nil {
		return nil, true, fmt.Errorf("annotation %s: %w", annotationBefore, err)
	}
	return a, true, nil
}

// managed are the fields of a Deployment that the lab changes, and no other.
type managed struct {
	Replicas  int32   `json:"replicas"`
	Paused    bool    `json:"paused"`
	Restarted *string `json:"restarted,omitempty"` // annotationRestart of the template
	Revision  *string `json:"revision,omitempty"`  // annotationRevision of the template
}

func managedOf(s *appsv1.DeploymentSpec) managed {
	out := managed{Replicas: 1, Paused: s.Paused}
	if s.Replicas != nil {
		out.Replicas = *s.Replicas
	}
	for key, to := range map[string]**string{annotationRestart: &out.Restarted, annotationRevision: &out.Revision} {
		if v, ok := s.Template.Annotations[key]; ok {
			*to = &v
		}
	}
	return out
}

// in is a specification with these fields in it.
func (m managed) in(s *appsv1.DeploymentSpec) *appsv1.DeploymentSpec {
	s = s.DeepCopy()
	s.Replicas, s.Paused = &m.Replicas, m.Paused
	for key, v := range map[string]*string{annotationRestart: m.Restarted, annotationRevision: m.Revision} {
		switch {
		case v == nil:
			delete(s.Template.Annotations, key)
		case s.Template.Annotations == nil:
			s.Template.Annotations = map[string]string{key: *v}
		default:
			s.Template.Annotations[key] = *v
		}
	}
	return s
}

// patch is what makes the fields of a Deployment what they are to be, and annotationBefore
// what record says; nil removes it. A change by somebody else in between makes the server
// refuse it.
func (m managed) patch(d *appsv1.Deployment, record *string) ([]byte, error) {
	is := managedOf(&d.Spec)
	spec, template := map[string]any{}, map[string]any{}
	if m.Replicas != is.Replicas {
		spec["replicas"] = m.Replicas
	}
	if m.Paused != is.Paused {
		spec["paused"] = m.Paused
	}
	for key, v := range map[string][2]*string{annotationRestart: {m.Restarted, is.Restarted}, annotationRevision: {m.Revision, is.Revision}} {
		if !equal(v[0], v[1]) {
			template[key] = v[0]
		}
	}
	if len(template) > 0 {
		spec["template"] = map[string]any{"metadata": map[string]any{"annotations": template}}
	}
	about := map[string]any{"resourceVersion": d.ResourceVersion}
	if is, ok := d.Annotations[annotationBefore]; record == nil && ok || record != nil && is != *record {
		about["annotations"] = map[string]any{annotationBefore: record}
	}
	change := map[string]any{"metadata": about}
	if len(spec) > 0 {
		change["spec"] = spec
	}
	return json.Marshal(change)
}

// equal compares the values of two annotations; nil is one that is not there.
func equal(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func orAbsent(s *string) string {
	if s == nil {
		return "not there"
	}
	return *s
}

// known says whether the lab has found or made a Deployment so.
func (a *adoption) known(so func(managed) bool) bool {
	return so(managedOf(&a.Spec)) || slices.ContainsFunc(a.Set, so)
}

// conflicts says what somebody else has changed about a Deployment since it was adopted, and
// what the fields are once the lab's own changes are taken back and those are left.
func (a *adoption) conflicts(now *appsv1.DeploymentSpec) (changes []string, restored managed) {
	is, was := managedOf(now), managedOf(&a.Spec)
	restored = was
	report := func(what string, is, was any) {
		changes = append(changes, fmt.Sprintf("%s is %v, and was %v when the lab found it", what, is, was))
	}
	if !a.known(func(m managed) bool { return m.Replicas == is.Replicas }) {
		report("spec.replicas", is.Replicas, was.Replicas)
		restored.Replicas = is.Replicas
	}
	if !a.known(func(m managed) bool { return m.Paused == is.Paused }) {
		report("spec.paused", is.Paused, was.Paused)
		restored.Paused = is.Paused
	}
	if !a.known(func(m managed) bool { return equal(m.Restarted, is.Restarted) }) {
		report("annotation "+annotationRestart+" of the template", orAbsent(is.Restarted), orAbsent(was.Restarted))
		restored.Restarted = is.Restarted
	}
	if !a.known(func(m managed) bool { return equal(m.Revision, is.Revision) }) {
		report("annotation "+annotationRevision+" of the template", orAbsent(is.Revision), orAbsent(was.Revision))
		restored.Revision = is.Revision
	}
	// Everything else, with the managed fields made equal.
	rest, before := was.in(now), was.in(&a.Spec)
	if !equality.Semantic.DeepEqual(&rest.Template, &before.Template) {
		changes = append(changes, "spec.template is another")
	}
	rest.Template = before.Template
	if !equality.Semantic.DeepEqual(rest, before) {
		changes = append(changes, "spec is another: strategy, selector, limits of time or history")
	}
	return changes, restored
}
