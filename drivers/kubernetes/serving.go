package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/portforward"
	"github.com/rollout-lab/rollout-lab/drivers/lifecycle"
)

const (
	// entryInterval is how often Deploy asks whether requests reach the subject.
	entryInterval = 50 * time.Millisecond
	// acceptSilence is how long a port must not refuse a connection to count as accepting it.
	acceptSilence = 250 * time.Millisecond
)

// awaitSubject waits until as many instances of the subject as wanted serve, each asked
// directly.
func (s *site) awaitSubject(ctx context.Context) error {
	n := s.stack.Replicas
	still, err := s.view.wait(ctx, func() string {
		if pods := len(s.view.tracker.pods); pods != n {
			return fmt.Sprintf("%d pods of %s, there are %d", n, s.stack.Subject.Name, pods)
		}
		return ""
	})
	if errors.Is(err, drivers.ErrClosed) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: waited for %s: %w; %s", drivers.ErrNotServing, still, err, s.explain.subject(ctx))
	}
	for k := range n {
		// A pod may be replaced meanwhile, as one that was evicted.
		target := func() (*corev1.Pod, *portforward.Forward) {
			if k >= len(s.view.tracker.pods) {
				return nil, nil
			}
			p := s.view.tracker.pods[k].pod
			return p, s.view.paths.pods[string(p.UID)]
		}
		if err := s.awaitServing(ctx, s.stack.Subject, target); err != nil {
			return err
		}
	}
	return nil
}

// awaitDependency waits until the newest pod of a dependency serves.
func (s *site) awaitDependency(ctx context.Context, service drivers.Service) error {
	return s.awaitServing(ctx, service, func() (*corev1.Pod, *portforward.Forward) {
		d := s.view.paths.dependency(service.Name)
		return d.pod, d.forward
	})
}

// awaitServing waits until the pod that target names serves, asked over its forward. target
// is called with view.mu held and returns nil while there is no pod.
func (s *site) awaitServing(ctx context.Context, service drivers.Service, target func() (*corev1.Pod, *portforward.Forward)) error {
	var p *corev1.Pod // that was asked last
	err := lifecycle.AwaitServing(ctx, service, func(ctx context.Context, probe drivers.Probe) error {
		s.view.mu.Lock()
		var f *portforward.Forward
		p, f = target()
		container := s.view.tracker.container
		s.view.mu.Unlock()
		return askPod(ctx, p, container, f, probe, portNumbers(service)[probe.Port])
	}, func() error { return unrecoverable(p) })
	switch {
	case err == nil || errors.Is(err, drivers.ErrClosed):
		return err
	case p == nil:
		return fmt.Errorf("a pod that does not exist yet: %w; %s", err, s.explain.subject(ctx))
	}
	return fmt.Errorf("%s: %w; %s", p.Name, err, s.explain.pod(ctx, p, service))
}

// askPod sends a probe to a port of a pod through a forward.
func askPod(ctx context.Context, p *corev1.Pod, container string, f *portforward.Forward, probe drivers.Probe, number int32) error {
	if p == nil {
		return errors.New("no container of it runs")
	}
	if _, runs := running(p, container); !runs {
		return errors.New("no container of it runs")
	}
	if f == nil {
		return errors.New("this machine cannot listen for it")
	}
	if probe.Kind == drivers.ProbeTCP {
		ctx, cancel := context.WithTimeout(ctx, probe.WithDefaults().Timeout)
		defer cancel()
		return f.Accepts(ctx, number, acceptSilence)
	}
	_, err := probe.Ask(ctx, f.Addrs()[probe.Port])
	return err
}

// unrecoverable says why a pod will never serve, nil if it may.
func unrecoverable(pod *corev1.Pod) error {
	if pod == nil {
		return nil
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.RestartCount >= crashesAtDeploy {
			return fmt.Errorf("it ended %d times", s.RestartCount)
		}
		if w := s.State.Waiting; w != nil {
			switch w.Reason {
			case "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError":
				return fmt.Errorf("its container cannot be started: %s: %s", w.Reason, oneLine(w.Message))
			case "CrashLoopBackOff":
				return fmt.Errorf("it ended %d times", s.RestartCount+1)
			}
		}
	}
	return nil
}

// awaitEntry waits until requests reach the subject the way that the load will take:
// kube-proxy acts on the endpoints a little after they are ready.
func (s *site) awaitEntry(ctx context.Context) error {
	if s.stack.Replicas == 0 {
		return nil
	}
	probe := s.stack.Subject.Serves
	if probe.Kind != drivers.ProbeHTTP || probe.Port != s.stack.Subject.Ports[0] {
		probe = drivers.Probe{Kind: drivers.ProbeTCP}
	}
	ticker := time.NewTicker(entryInterval)
	defer ticker.Stop()
	for {
		answer, err := probe.Ask(ctx, s.entry.addr)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: every instance does when it is asked directly, but not at %s: %w; last answer: %s",
				drivers.ErrNotServing, s.entry.addr, context.Cause(ctx), answer)
		}
	}
}
