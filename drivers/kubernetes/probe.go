package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// patientFailures is how often a startup probe that has no limit may fail: a day's worth.
const patientFailures = 24 * 60 * 60

// translation turns the parts of a service into Kubernetes' words and keeps, for people,
// what those words could not say.
type translation struct {
	service drivers.Service
	numbers map[string]int32
	places  drivers.Places
	notes   []string
}

func (t *translation) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(t.service.Name+": "+format, args...))
}

// seconds rounds up to whole seconds, to at least one, and notes it.
func (t *translation) seconds(what string, d time.Duration) int32 {
	n := max(int32((d+time.Second-1)/time.Second), 1)
	if got := time.Duration(n) * time.Second; got != d {
		t.note("%s is %v, not %v: Kubernetes counts in whole seconds", what, got, d)
	}
	return n
}

// probe translates a probe; nil means that there is none.
func (t *translation) probe(what string, p drivers.Probe) (*corev1.ProbeApplyConfiguration, error) {
	out := corev1.Probe()
	switch p.Kind {
	case "", drivers.ProbeNone:
		return nil, nil
	case drivers.ProbeTCP:
		out.WithTCPSocket(corev1.TCPSocketAction().WithPort(intstr.FromInt32(t.numbers[p.Port])))
	case drivers.ProbeHTTP:
		action, err := t.httpGet(what, p)
		if err != nil {
			return nil, err
		}
		out.WithHTTPGet(action)
	case drivers.ProbeCommand:
		action := corev1.ExecAction()
		for _, arg := range p.Command {
			if strings.Contains(arg, "${instance}") {
				return nil, fmt.Errorf("%s of %s: %q: %w: kubelet fills in no name in the command of a probe", what, t.service.Name, arg, drivers.ErrUnsupported)
			}
			arg, err := t.places.Expand(arg)
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", what, t.service.Name, err)
			}
			action.WithCommand(inNotation(arg))
		}
		out.WithExec(action)
	default:
		return nil, fmt.Errorf("%s of %s: probe of kind %q: %w", what, t.service.Name, p.Kind, drivers.ErrUnsupported)
	}
	p = p.WithDefaults()
	out.WithPeriodSeconds(t.seconds("interval of "+what, p.Interval)).
		WithTimeoutSeconds(t.seconds("timeout of "+what, p.Timeout)).
		WithSuccessThreshold(int32(p.Rise)).WithFailureThreshold(int32(p.Fall))
	return out, nil
}

func (t *translation) httpGet(what string, p drivers.Probe) (*corev1.HTTPGetActionApplyConfiguration, error) {
	if p.Body != "" || p.Status != 0 && p.Status != http.StatusOK {
		return nil, fmt.Errorf("%s of %s: an answer with status %d and body %q: %w: kubelet takes any status from 200 to 399 and looks at no body",
			what, t.service.Name, p.Status, p.Body, drivers.ErrUnsupported)
	}
	p = p.WithDefaults()
	action := corev1.HTTPGetAction().WithPath(p.Path).WithPort(intstr.FromInt32(t.numbers[p.Port]))
	switch {
	case p.Wire.Protocol == drivers.H2C:
		return nil, fmt.Errorf("%s of %s: asked in HTTP/2 without TLS: %w: kubelet speaks HTTP/2 within TLS only",
			what, t.service.Name, drivers.ErrUnsupported)
	case p.Wire.TLS != nil:
		action.WithScheme(v1.URISchemeHTTPS)
		if !p.Wire.TLS.Insecure || p.Wire.TLS.ServerName != "" || p.Wire.TLS.Certificate != nil {
			t.note("%s is asked over TLS without a name, a certificate or any verification: kubelet knows no other way", what)
		}
	}
	for _, k := range sortedKeys(p.Header) {
		action.WithHTTPHeaders(corev1.HTTPHeader().WithName(k).WithValue(p.Header[k]))
	}
	return action, nil
}

// probes gives a container the probes of its service.
func (t *translation) probes(c *corev1.ContainerApplyConfiguration) error {
	readiness, err := t.probe("signal", t.service.Signal)
	if err != nil {
		return err
	}
	startup, err := t.probe("startup", t.service.Startup)
	if err != nil {
		return err
	}
	liveness, err := t.probe("liveness", t.service.Liveness)
	if err != nil {
		return err
	}
	c.ReadinessProbe, c.StartupProbe, c.LivenessProbe = readiness, startup, liveness
	if startup != nil {
		t.onceIsEnough("startup", startup)
		if *startup.FailureThreshold == 1 {
			startup.WithFailureThreshold(patientFailures)
		}
	}
	if liveness != nil {
		t.onceIsEnough("liveness", liveness)
	}
	return nil
}

// onceIsEnough sets the only number of successes that Kubernetes allows for probes other
// than readiness.
func (t *translation) onceIsEnough(what string, p *corev1.ProbeApplyConfiguration) {
	if n := *p.SuccessThreshold; n != 1 {
		t.note("one success of %s is enough, not %d: Kubernetes allows no other number", what, n)
		p.WithSuccessThreshold(1)
	}
}
