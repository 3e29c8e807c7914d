package lint

import (
	"slices"
	"strings"
	"time"
)

// updated is how a controller replaces the pods of its workload.
type updated int

const (
	byHand    updated = iota // not by itself
	rolling                  // as a Deployment
	inPlace                  // as a StatefulSet
	perNode                  // as a DaemonSet
	blueGreen                // all new pods are there before a Service is switched to them
	managed                  // by a platform that drains and probes by itself
)

// knativeService is the kind of a Service of Knative, for messages.
const knativeService = "Knative Service"

var controllers = map[string]updated{
	"Deployment": rolling, "DeploymentConfig": rolling, "Rollout": rolling, "StatefulSet": inPlace, "DaemonSet": perNode, knativeService: managed,
}

// apiGroup is the part of the apiVersion before the slash.
func apiGroup(s *source, o *node) string {
	group, _, _ := strings.Cut(s.text(o, "apiVersion"), "/")
	return group
}

// addController reads an object that makes pods; false when it is not one of the kind that
// is judged.
func (k *kubeObjects) addController(s *source, o *node, w *workload) bool {
	if w.kind == "Rollout" && apiGroup(s, o) != "argoproj.io" {
		return false
	}
	w.updated = controllers[w.kind]
	spec := s.sub(o, "spec")
	if spec.get("workloadRef") != nil && spec.get("template") == nil {
		return true // the Deployment that it refers to is judged
	}
	w.owner = ownerOf(s, o.get("metadata"))
	w.readController(s, spec)
	template := s.sub(spec, "template")
	w.labels = s.labels(s.sub(s.sub(template, "metadata"), "labels"))
	pod := s.sub(template, "spec")
	if pod == nil {
		s.skip(o.line, "patch", w.kind+" "+show(w.name)+" has no spec.template.spec: render it first, for example: kubectl kustomize . | rollout-lab lint -", true)
		return true
	}
	w.readPod(s, pod)
	if len(w.containers) == 1 && w.containers[0].name == "" && w.updated == managed {
		w.containers[0].name = "user-container" // as Knative calls it
	}
	k.workloads = append(k.workloads, w)
	return true
}

// ownerOf is the kind and the name of the controller that makes an object, or "".
func ownerOf(s *source, meta *node) string {
	for _, ref := range s.list(meta, "ownerReferences", true) {
		if s.boolean(ref, "controller") {
			return s.text(ref, "kind") + " " + s.text(ref, "name")
		}
	}
	return ""
}

// leaveOutOwned drops what another workload of the files makes, as an export of a cluster
// has it: the Pods of a ReplicaSet, and that of a Deployment. Its template says the same.
func (k *kubeObjects) leaveOutOwned() {
	type key struct{ namespace, name string }
	made := map[key]bool{}
	for _, w := range k.workloads {
		made[key{w.namespace, w.kind + " " + w.name}] = true
	}
	k.workloads = slices.DeleteFunc(k.workloads, func(w *workload) bool { return w.owner != "" && made[key{w.namespace, w.owner}] })
}

func (w *workload) readController(s *source, spec *node) {
	w.replicas, w.replicasAt = s.number(spec, "replicas", 1), w.at
	if v := spec.get("replicas"); v != nil {
		w.replicasAt = s.place(v)
	} else {
		w.replicasAt.line = 0 // left to a scaler
	}
	if w.kind == "ReplicationController" || w.kind == "DeploymentConfig" {
		if labels := s.sub(spec, "selector"); labels != nil {
			w.selector = &selector{labels: s.labels(labels), at: s.place(labels)}
		}
	} else {
		w.selector = readSelector(s, spec, "selector")
	}
	w.minReady = time.Duration(s.number(spec, "minReadySeconds", 0)) * time.Second
	w.progress, w.progressAt = time.Duration(s.number(spec, "progressDeadlineSeconds", 600))*time.Second, w.at
	if v := spec.get("progressDeadlineSeconds"); v != nil {
		w.progressAt = s.place(v)
	}
	for _, t := range s.list(spec, "volumeClaimTemplates", true) {
		w.volumes = append(w.volumes, volume{claimName: s.text(s.sub(t, "metadata"), "name"), at: s.place(t), template: true})
	}
	w.readStrategy(s, spec)
}

func (w *workload) readStrategy(s *source, spec *node) {
	key := "strategy"
	if w.kind == "StatefulSet" || w.kind == "DaemonSet" {
		key = "updateStrategy"
	}
	strategy := s.sub(spec, key)
	w.strategyAt = w.at
	if strategy == nil {
		return
	}
	w.strategyAt = s.place(strategy)
	w.strategy = s.text(strategy, "type")
	if v := strategy.get("type"); v != nil {
		w.strategyAt = s.place(v)
	}
	params := s.sub(strategy, "rollingUpdate")
	switch w.kind {
	case "DeploymentConfig":
		params = s.sub(strategy, "rollingParams")
	case "Rollout":
		params = s.sub(strategy, "canary")
		if b := s.sub(strategy, "blueGreen"); b != nil {
			w.updated = blueGreen
			if v := b.get("scaleDownDelaySeconds"); v != nil {
				delay := time.Duration(s.number(b, "scaleDownDelaySeconds", 30)) * time.Second
				w.scaleDown, w.scaleDownAt = &delay, s.place(v)
			}
		}
	}
	w.surge, w.unavailable = s.amount(params, "maxSurge"), s.amount(params, "maxUnavailable")
}

// addTemplate reads the objects of an OpenShift Template, with the values that its
// parameters have unless they are given others.
func (k *kubeObjects) addTemplate(s *source, o *node, last, depth int) bool {
	objects := s.list(o, "objects", true)
	if len(objects) == 0 {
		return false
	}
	if depth >= maxListDepth {
		s.problem(o.line, o.column, "", "lists nested deeper than %d", maxListDepth)
		return true
	}
	values := map[string]string{}
	for _, p := range s.list(o, "parameters", true) {
		if v := p.get("value"); v != nil {
			values[s.text(p, "name")] = v.value
		}
	}
	var known []*node
	for _, object := range objects {
		object.fill(values)
		if object.get("kind") != nil {
			known = append(known, object)
		}
	}
	k.addItems(s, known, "", last, depth)
	return true
}

// fill puts in the values of parameters. ${{NAME}} stands for anything; without a value
// what it is is not known.
func (n *node) fill(values map[string]string) {
	if name, ok := strings.CutPrefix(n.value, "${{"); ok && strings.HasSuffix(name, "}}") {
		value, known := values[strings.TrimSuffix(name, "}}")]
		n.value, n.unknown = value, !known
	} else if strings.Contains(n.value, "${") {
		for name, value := range values {
			n.value = strings.ReplaceAll(n.value, "${"+name+"}", value)
		}
	}
	for _, f := range n.fields {
		f.value.fill(values)
	}
	for _, item := range n.items {
		item.fill(values)
	}
}
