package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	applied "k8s.io/client-go/kubernetes/typed/apps/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

type deploymentAPI = applied.DeploymentInterface

// annotationBefore holds, on a Deployment that is borrowed, how it was before and what was
// made of it, so that it can be put back by whoever comes next. It is there from before the
// first change until everything is as it was.
const annotationBefore = "rollout-lab/before"

// borrowing is the value of annotationBefore.
type borrowing struct {
	Run        string                `json:"run"`
	Owner      string                `json:"owner"`      // the lab's process, see package owner
	Deployment string                `json:"deployment"` // as labelDeployment
	Spec       appsv1.DeploymentSpec `json:"spec"`       // as it was
	Set        []touched             `json:"set"`        // what the lab has made of it, or was about to
}

// touched are the fields that the lab changes, and no other.
type touched struct {
	Replicas  int32   `json:"replicas"`
	Paused    bool    `json:"paused"`
	Restarted *string `json:"restarted,omitempty"` // annotationRestart of the template
	Revision  *string `json:"revision,omitempty"`  // annotationRevision of the template
}

func touchedOf(s *appsv1.DeploymentSpec) touched {
	out := touched{Replicas: 1, Paused: s.Paused}
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
func (t touched) in(s *appsv1.DeploymentSpec) *appsv1.DeploymentSpec {
	s = s.DeepCopy()
	s.Replicas, s.Paused = &t.Replicas, t.Paused
	for key, v := range map[string]*string{annotationRestart: t.Restarted, annotationRevision: t.Revision} {
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

// ours says whether the lab has found or made a Deployment so.
func (b *borrowing) ours(so func(touched) bool) bool {
	return so(touchedOf(&b.Spec)) || slices.ContainsFunc(b.Set, so)
}

// theirs says what somebody else has changed about a Deployment since it was borrowed, and
// what the fields are to be that the lab may put back: those that are as it left them.
func (b *borrowing) theirs(now *appsv1.DeploymentSpec) (changes []string, back touched) {
	is, was := touchedOf(now), touchedOf(&b.Spec)
	back = was
	text := func(s *string) string {
		if s == nil {
			return "not there"
		}
		return *s
	}
	foreign := func(what string, is, was any) {
		changes = append(changes, fmt.Sprintf("%s is %v, and was %v when the lab found it", what, is, was))
	}
	if !b.ours(func(t touched) bool { return t.Replicas == is.Replicas }) {
		foreign("spec.replicas", is.Replicas, was.Replicas)
		back.Replicas = is.Replicas
	}
	if !b.ours(func(t touched) bool { return t.Paused == is.Paused }) {
		foreign("spec.paused", is.Paused, was.Paused)
		back.Paused = is.Paused
	}
	if !b.ours(func(t touched) bool { return text(t.Restarted) == text(is.Restarted) }) {
		foreign("annotation "+annotationRestart+" of the template", text(is.Restarted), text(was.Restarted))
		back.Restarted = is.Restarted
	}
	if !b.ours(func(t touched) bool { return text(t.Revision) == text(is.Revision) }) {
		foreign("annotation "+annotationRevision+" of the template", text(is.Revision), text(was.Revision))
		back.Revision = is.Revision
	}
	// Everything else, with the lab's own fields made equal.
	mine := was.in(now)
	if !equality.Semantic.DeepEqual(&mine.Template, &was.in(&b.Spec).Template) {
		changes = append(changes, "spec.template is another")
	}
	mine.Template = was.in(&b.Spec).Template
	if !equality.Semantic.DeepEqual(mine, was.in(&b.Spec)) {
		changes = append(changes, "spec is another: strategy, selector, limits of time or history")
	}
	return changes, back
}

// patch is what makes the fields of a Deployment what they are to be. A change by somebody
// else in between makes the server refuse it.
func (t touched) patch(d *appsv1.Deployment, annotation *string) ([]byte, error) {
	is := touchedOf(&d.Spec)
	spec, template := map[string]any{}, map[string]any{}
	if t.Replicas != is.Replicas {
		spec["replicas"] = t.Replicas
	}
	if t.Paused != is.Paused {
		spec["paused"] = t.Paused
	}
	for key, v := range map[string][2]*string{annotationRestart: {t.Restarted, is.Restarted}, annotationRevision: {t.Revision, is.Revision}} {
		if to, from := v[0], v[1]; to == nil && from != nil || to != nil && (from == nil || *from != *to) {
			template[key] = to
		}
	}
	if len(template) > 0 {
		spec["template"] = map[string]any{"metadata": map[string]any{"annotations": template}}
	}
	about := map[string]any{"resourceVersion": d.ResourceVersion}
	if is, ok := d.Annotations[annotationBefore]; annotation == nil && ok || annotation != nil && is != *annotation {
		about["annotations"] = map[string]any{annotationBefore: annotation}
	}
	change := map[string]any{"metadata": about}
	if len(spec) > 0 {
		change["spec"] = spec
	}
	return json.Marshal(change)
}

// attempt does what needs the newest state of a Deployment again while somebody else, such
// as the deployment controller with its status, has just changed it.
func attempt(ctx context.Context, api deploymentAPI, name string, do func(*appsv1.Deployment) error) error {
	for {
		d, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err = do(d); !apierrors.IsConflict(err) || ctx.Err() != nil {
			return err
		}
	}
}

// borrow finds the Deployment and the Service, refuses what cannot be measured, and marks
// the Deployment as borrowed.
func (e *environment) borrow(ctx context.Context) (generation int64, err error) {
	f := e.foreign
	s, err := e.cluster.client.CoreV1().Services(e.layout.namespace).Get(ctx, f.objects.Service, metav1.GetOptions{})
	if err != nil {
		return 0, existing(err, "service", f.objects.Service, e.layout.namespace)
	}
	err = attempt(ctx, e.deployments(), f.objects.Deployment, func(d *appsv1.Deployment) error {
		if text, ok := d.Annotations[annotationBefore]; ok {
			return inUse(d, text)
		}
		if err := e.resolve(d, s); err != nil {
			return err
		}
		b := &borrowing{
			Run: e.stack.RunID, Owner: e.layout.labels[labelOwner], Deployment: e.layout.labels[labelDeployment],
			Spec: d.Spec,
		}
		f.before = b // the request may arrive though its answer does not
		marked, err := e.set(ctx, d, touchedOf(&d.Spec))
		if err != nil {
			return err
		}
		generation = marked.Generation
		return nil
	})
	return generation, existing(err, "deployment", f.objects.Deployment, e.layout.namespace)
}

func existing(err error, kind, name, namespace string) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	return &drivers.HintError{
		Err:  fmt.Errorf("no %s %s in namespace %s: %w", kind, name, namespace, err),
		Hint: "create it first, or give the target its manifests",
	}
}

// inUse says who has borrowed a Deployment.
func inUse(d *appsv1.Deployment, text string) error {
	var b borrowing
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return fmt.Errorf("deployment %s: annotation %s cannot be read: %w", d.Name, annotationBefore, err)
	}
	return &drivers.HintError{
		Err:  fmt.Errorf("deployment %s is in use by run %s", d.Name, b.Run),
		Hint: "wait until that is over; if its lab was killed, rollout-lab clean puts the deployment back",
	}
}

// set makes the fields of a Deployment what they are to be, and keeps in the cluster, if it
// is borrowed, what the lab has made of it.
func (e *environment) set(ctx context.Context, d *appsv1.Deployment, to touched) (*appsv1.Deployment, error) {
	var note *string
	if e.foreign.borrowed() {
		text, err := json.Marshal(e.foreign.before)
		if err != nil {
			return nil, err
		}
		s := string(text)
		note = &s
	}
	change, err := to.patch(d, note)
	if err != nil {
		return nil, err
	}
	return e.deployments().Patch(ctx, d.Name, types.MergePatchType, change, metav1.PatchOptions{FieldManager: fieldManager})
}

// asWanted is what the lab's fields are in a wanted state.
func (f *foreign) asWanted(w wanted, initial string) touched {
	to := touchedOf(&f.before.Spec)
	to.Replicas, to.Paused = int32(w.replicas), w.paused
	if w.restarted != "" {
		to.Restarted = &w.restarted
	}
	if w.revision != initial {
		to.Revision = &w.revision
	}
	return to
}

// untouched refuses to go on with a Deployment that somebody else has changed.
func (f *foreign) untouched(d *appsv1.Deployment) error {
	if changes, _ := f.before.theirs(&d.Spec); len(changes) > 0 {
		return fmt.Errorf("deployment %s was changed by somebody else: %s", d.Name, strings.Join(changes, "; "))
	}
	return nil
}

// changeForeign makes the Deployment what is wanted, by no more than that, and returns its
// generation.
func (e *environment) changeForeign(ctx context.Context, w wanted) (generation int64, err error) {
	f := e.foreign
	to := f.asWanted(w, e.stack.Revision)
	f.before.Set = append(f.before.Set, to) // the request may arrive though its answer does not
	err = attempt(ctx, e.deployments(), f.objects.Deployment, func(d *appsv1.Deployment) error {
		if err := f.untouched(d); err != nil {
			return err
		}
		changed, err := e.set(ctx, d, to)
		if err != nil {
			return err
		}
		generation = changed.Generation
		return nil
	})
	if err != nil {
		return 0, err
	}
	e.mu.Lock()
	e.want = w
	e.mu.Unlock()
	return generation, nil
}

// scaleForeign scales by the scale subresource, once the cluster keeps that it is going to.
func (e *environment) scaleForeign(ctx context.Context, replicas int) (generation int64, err error) {
	f := e.foreign
	to := f.asWanted(e.wants(), e.stack.Revision)
	to.Replicas = int32(replicas)
	f.before.Set = append(f.before.Set, to)
	err = attempt(ctx, e.deployments(), f.objects.Deployment, func(d *appsv1.Deployment) error {
		err := f.untouched(d)
		if err == nil && f.borrowed() {
			d, err = e.set(ctx, d, touchedOf(&d.Spec))
		}
		if err != nil {
			return err
		}
		scale := &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Name: d.Name, Namespace: d.Namespace, ResourceVersion: d.ResourceVersion},
			Spec:       autoscalingv1.ScaleSpec{Replicas: to.Replicas},
		}
		_, err = e.deployments().UpdateScale(ctx, d.Name, scale, metav1.UpdateOptions{FieldManager: fieldManager})
		return err
	})
	if err != nil {
		return 0, err
	}
	e.mu.Lock()
	e.want.replicas = replicas
	e.mu.Unlock()
	d, err := e.deployments().Get(ctx, f.objects.Deployment, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	return d.Generation, nil
}

// giveBack puts a borrowed Deployment back and waits until it is as it was, or until nobody
// gets any more grace: Kubernetes goes on by itself.
func (e *environment) giveBack(ctx context.Context) error {
	f := e.foreign
	back, err := restore(ctx, e.deployments(), f.objects.Deployment, f.before.Deployment)
	if err != nil || back == nil {
		return err
	}
	n := int(touchedOf(&back.Spec).Replicas)
	for {
		// The endpoints were those of the lab's own Service, which is gone.
		e.mu.Lock()
		changed, d := e.changed, e.deployment
		missing := d == nil || !settled(d, back.Generation, n) || len(e.tracker.pods) != n
		e.mu.Unlock()
		if !missing {
			return nil
		}
		select {
		case <-changed:
		case <-e.hurry:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("deployment %s has its old specification again, but not its %d instances: %w; %s",
				f.objects.Deployment, n, context.Cause(ctx), e.explain(ctx))
		}
	}
}

// restore puts a Deployment back that was borrowed under an ID, and returns it as it is
// then; nil when it is not borrowed under that ID any more. What somebody else has changed
// meanwhile is left as it is, and the error says what.
func restore(ctx context.Context, api deploymentAPI, name, id string) (back *appsv1.Deployment, err error) {
	err = attempt(ctx, api, name, func(d *appsv1.Deployment) error {
		text, ok := d.Annotations[annotationBefore]
		if !ok {
			return nil
		}
		var b borrowing
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			return fmt.Errorf("deployment %s cannot be put back: annotation %s: %w", name, annotationBefore, err)
		}
		if b.Deployment != id {
			return nil // another lab's
		}
		changes, to := b.theirs(&d.Spec)
		change, err := to.patch(d, nil)
		if err != nil {
			return err
		}
		now, err := api.Patch(ctx, name, types.MergePatchType, change, metav1.PatchOptions{FieldManager: fieldManager})
		if err != nil {
			return err
		}
		if len(changes) > 0 {
			return &drivers.HintError{
				Err:  fmt.Errorf("deployment %s was changed by somebody else, which was left as it is: %s", name, strings.Join(changes, "; ")),
				Hint: "the lab's own changes are taken back; see whether the rest is what you want",
			}
		}
		if !equality.Semantic.DeepEqual(now.Spec, b.Spec) {
			return fmt.Errorf("deployment %s was put back, and yet it is not as it was", name)
		}
		back = now
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("deployment %s cannot be put back, somebody has deleted it: %w", name, err)
	}
	return back, err
}

// restoreBorrowed puts back what the named run has borrowed and not given back, or every
// run whose lab has certainly ended, and returns what that was.
func (d *Driver) restoreBorrowed(ctx context.Context, c *cluster, runID string) ([]string, error) {
	list, err := c.client.AppsV1().Deployments(d.config.Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) && d.config.Namespace == "" {
		return nil, nil // only a driver that is given a namespace borrows
	}
	if err != nil {
		return nil, fmt.Errorf("look for deployments that are borrowed: %w", err)
	}
	var done []string
	var errs []error
	for _, o := range list.Items {
		text, borrowed := o.Annotations[annotationBefore]
		if !borrowed {
			continue
		}
		var b borrowing
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			errs = append(errs, fmt.Errorf("deployment %s in namespace %s: annotation %s: %w", o.Name, o.Namespace, annotationBefore, err))
			continue
		}
		if runID != "" && b.Run != runID {
			continue
		}
		if by, err := owner.Parse(b.Owner); runID == "" && (err != nil || !by.Dead()) {
			continue
		}
		r := removal{c, o.Namespace, labels.Set{labelDeployment: b.Deployment}.String(), nil}
		if err := r.services(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		back, err := restore(ctx, c.client.AppsV1().Deployments(o.Namespace), o.Name, b.Deployment)
		if back != nil {
			done = append(done, fmt.Sprintf("changes to deployment %s in namespace %s (run %s)", o.Name, o.Namespace, b.Run))
		}
		errs = append(errs, err)
	}
	slices.Sort(done)
	return done, errors.Join(errs...)
}
