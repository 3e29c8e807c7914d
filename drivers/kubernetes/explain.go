package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
)

const (
	explainedPods   = 3 // of those that are not ready
	explainedEvents = 3 // the last ones of each
	explainedLines  = 5 // the last ones of its log
	explainedAnswer = 8 << 10
)

// explainer says, for people, why something in the cluster is not as wanted. It asks on
// although the context may have ended, for a short time.
type explainer struct{ site *site }

// subject says why the subject is not as wanted.
func (e explainer) subject(ctx context.Context) string {
	v := e.site.view
	v.mu.Lock()
	out := deploymentTrouble(v.deployment)
	var pods []*corev1.Pod
	for _, r := range v.tracker.pods {
		if !r.routed && len(pods) < explainedPods {
			pods = append(pods, r.pod)
		}
	}
	v.mu.Unlock()
	for _, p := range pods {
		out = append(out, e.pod(ctx, p, e.site.stack.Subject))
	}
	if len(out) == 0 {
		return "nothing is known to be wrong with it"
	}
	return strings.Join(out, "; ")
}

// deploymentTrouble are the conditions of a Deployment that are not as they should be:
// ReplicaFailure is good when it is false, all others when they are true.
func deploymentTrouble(d *appsv1.Deployment) []string {
	if d == nil {
		return nil
	}
	var out []string
	for _, c := range d.Status.Conditions {
		good := corev1.ConditionTrue
		if c.Type == appsv1.DeploymentReplicaFailure {
			good = corev1.ConditionFalse
		}
		if c.Status != good {
			out = append(out, fmt.Sprintf("deployment: %s is %s: %s", c.Type, c.Status, oneLine(c.Message)))
		}
	}
	return out
}

// pod says what is known about a pod that is in trouble.
func (e explainer) pod(ctx context.Context, p *corev1.Pod, s drivers.Service) string {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), explainLimit, fmt.Errorf("no answer within %v", explainLimit))
	defer cancel()
	parts := []string{}
	if p.DeletionTimestamp != nil {
		parts = append(parts, "is terminating")
	}
	for _, c := range p.Status.Conditions {
		if c.Status == corev1.ConditionFalse && (c.Type == corev1.PodScheduled || c.Type == corev1.ContainersReady) {
			parts = append(parts, fmt.Sprintf("%s is false: %s", c.Type, oneLine(c.Message)))
		}
	}
	previous := false
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil:
			parts = append(parts, strings.TrimRight(fmt.Sprintf("container waits, %s: %s", c.State.Waiting.Reason, oneLine(c.State.Waiting.Message)), ": "))
			previous = c.RestartCount > 0 && c.State.Waiting.Reason != "CrashLoopBackOff"
		case c.State.Running != nil:
			if answer := e.askReadiness(ctx, p, s); answer != "" {
				parts = append(parts, answer)
			}
		}
		if c.State.Terminated != nil || c.LastTerminationState.Terminated != nil {
			parts = append(parts, "ended: "+lastEnd(p))
		}
	}
	parts = append(parts, e.lastEvents(ctx, p)...)
	if log, err := e.site.logs(ctx, p.Name, explainedLines, previous); err == nil {
		if log = strings.TrimSpace(log); log != "" {
			parts = append(parts, "last output: "+strings.ReplaceAll(log, "\n", " | "))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "is in phase "+string(p.Status.Phase))
	}
	return "pod " + p.Name + ": " + strings.Join(parts, "; ")
}

func (e explainer) lastEvents(ctx context.Context, p *corev1.Pod) []string {
	list, err := e.site.cluster.client.CoreV1().Events(e.site.layout.namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.name": p.Name}.String(),
	})
	if err != nil {
		return []string{"its events cannot be read: " + oneLine(err.Error())}
	}
	events := slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.Type != corev1.EventTypeWarning })
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var out []string
	for _, e := range events[max(0, len(events)-explainedEvents):] {
		out = append(out, fmt.Sprintf("event %s (%d times): %s", e.Reason, max(e.Count, 1), oneLine(e.Message)))
	}
	return out
}

// askReadiness asks the pod itself, through the API server: /statusz beside its signal,
// which names the components that are not ready, else the signal.
func (e explainer) askReadiness(ctx context.Context, p *corev1.Pod, s drivers.Service) string {
	if s.Signal.Kind != drivers.ProbeHTTP {
		return ""
	}
	number := portNumbers(s)[s.Signal.Port]
	if status, body, err := e.proxied(ctx, p.Name, number, "/statusz"); err == nil && status == http.StatusOK {
		if blocking := blockingComponents(body); blocking != "" {
			return "/statusz: " + blocking
		}
	}
	path := s.Signal.WithDefaults().Path
	status, body, err := e.proxied(ctx, p.Name, number, path)
	if err != nil {
		return fmt.Sprintf("%s: %s", path, oneLine(err.Error()))
	}
	return fmt.Sprintf("%s answers %d %s", path, status, oneLine(string(body)))
}

// proxied sends a GET to a port of a pod over a forward of its own: the pod's proxy of the
// API server would answer for a pod that does not.
func (e explainer) proxied(ctx context.Context, pod string, number int32, path string) (status int, body []byte, err error) {
	f, err := portforward.Listen(e.site.cluster.dial, e.site.layout.namespace, pod, map[string]int32{"asked": number})
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.Addrs()["asked"]+path, nil)
	if err != nil {
		return 0, nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, explainedAnswer))
	return resp.StatusCode, body, err
}

// blockingComponents reads from an answer of healthkit's /statusz what keeps the instance
// from being ready, "" when the answer is another one or nothing does.
func blockingComponents(body []byte) string {
	var status struct {
		Ready  bool   `json:"ready"`
		Reason string `json:"reason"` // names the components
	}
	if err := json.Unmarshal(body, &status); err != nil || status.Ready {
		return ""
	}
	return oneLine(status.Reason)
}
