package drivers

import (
	"errors"
	"fmt"
)

// Objects is a subject that somebody else has described in Kubernetes' words: a Deployment
// and the Service in front of it. How it is run, probed, replaced and stopped is what they
// say; a driver changes only what a change of the subject is.
//
// In a Stack with Objects the Subject holds no more than a name, the one port that stands
// for the Service's, and what it Serves; there are no dependencies of the lab's, and
// Rolling is empty. Replicas is how many instances there are, which the Deployment must
// agree with. Revision names what the Deployment describes. Without Revisions another one is
// the same with a mark on the template, because nobody knows how somebody's program is told
// of one; with them it is what its own manifests describe.
type Objects struct {
	// Manifests are applied to the cluster and removed again. None means that both objects
	// exist already and are adopted: what is changed about them is restored.
	Manifests  []Manifest
	Deployment string // name of the subject's Deployment
	Service    string // name of the Service in front of it
	Port       string // name or number of the Service's port; "" means its first
}

// Manifest is a text in YAML that describes one object or several. The tags are for scenarios.
type Manifest struct {
	File string `yaml:"file,required" doc:"where it came from, for messages"`
	Text string `yaml:"text,required" doc:"what is in it"`
}

// NoObjects is the answer to the features deployment and deployment=adopted of a driver whose
// runtime has no such objects.
var NoObjects = Answer{
	How:  Refused,
	Why:  "there are no Deployments and Services here",
	Hint: "use --driver kind or --driver kubernetes",
}

// RefuseObjects is what a driver says to a stack with Objects when its runtime has none:
// an error that wraps ErrUnsupported, or nil when the stack has none either.
func (s Stack) RefuseObjects(driver string) error {
	if s.Objects == nil {
		return nil
	}
	return &HintError{
		Err:  fmt.Errorf("%s: a target that is a Deployment and a Service: %w", driver, ErrUnsupported),
		Hint: "use --driver kind or --driver kubernetes",
	}
}

// validateObjects reports what of a stack goes together with no Objects.
func (s Stack) validateObjects() error {
	o := s.Objects
	if o.Deployment == "" || o.Service == "" {
		return fmt.Errorf("objects: deployment %q and service %q: both need a name", o.Deployment, o.Service)
	}
	for _, m := range o.Manifests {
		if m.File == "" || m.Text == "" {
			return fmt.Errorf("objects: manifest %q without a name or a text", m.File)
		}
	}
	if len(s.Dependencies) > 0 || s.Rolling != (Rolling{}) {
		return errors.New("objects: dependencies and rolling belong into the manifests")
	}
	p := s.Subject
	if len(p.Ports) != 1 {
		return fmt.Errorf("objects: service %s has ports %q, want the one that stands for the Service's", p.Name, p.Ports)
	}
	switch {
	case p.Image != "" || p.Exec != "" || len(p.Args) > 0 || len(p.Env) > 0 || len(p.Fixed) > 0:
		return errors.New("objects: what is run belongs into the manifests")
	case p.Signal.Kind != "" || p.Startup.Kind != "" || p.Liveness.Kind != "" || p.Notify || p.Watchdog != 0 || p.Socket:
		return errors.New("objects: probes belong into the manifests")
	case p.PreStop != 0 || p.StopGrace != 0 || p.Limits != (Limits{}):
		return errors.New("objects: hooks, graces and limits belong into the manifests")
	}
	return nil
}
