package lint

import (
	"fmt"
	"slices"
)

// shareFix is for an outage that an update has because two pods cannot hold the same.
const shareFix = "no surge, which would wait for it: share the data (ReadWriteMany) or let several instances replicate it, or bear the outage and take this back with a comment"

// claim is a PersistentVolumeClaim.
type claim struct {
	name, namespace string
	modes           []string
}

// oneNode reports whether only the pods of one node can mount it.
func (c *claim) oneNode() bool {
	return len(c.modes) > 0 && !slices.ContainsFunc(c.modes, func(m string) bool { return m == "ReadWriteMany" || m == "ReadOnlyMany" })
}

// onePod reports whether only one pod can mount it.
func (c *claim) onePod() bool {
	return len(c.modes) == 1 && c.modes[0] == "ReadWriteOncePod"
}

// volume is one of a pod that a claim stands for.
type volume struct {
	claimName string
	at        place
	template  bool   // each pod has its own
	claim     *claim // nil when it is not in the files
}

func readClaim(s *source, spec *node, name, namespace string) *claim {
	c := &claim{name: name, namespace: namespace}
	for _, m := range s.list(spec, "accessModes", false) {
		c.modes = append(c.modes, m.value)
	}
	return c
}

func readVolumes(s *source, pod *node) []volume {
	var out []volume
	for _, v := range s.list(pod, "volumes", true) {
		if c := s.sub(v, "persistentVolumeClaim"); c != nil {
			out = append(out, volume{claimName: s.text(c, "claimName"), at: s.place(c)})
		}
	}
	return out
}

func (w *workload) linkClaims(claims []*claim) {
	for i, v := range w.volumes {
		for _, c := range claims {
			if c.name == v.claimName && c.namespace == w.namespace {
				w.volumes[i].claim = c
			}
		}
	}
}

// holds is what a pod of the workload holds so that no second one can have it, or "".
// The access mode of a claim that is not in the files is guessed to be the commonest.
func (w *workload) holds() string {
	for _, v := range w.volumes {
		switch {
		case v.template:
			return "a volume of its own"
		case v.claim == nil:
			return fmt.Sprintf("volume %s, if one node alone can mount it (its claim is not in these files)", show(v.claimName))
		case v.claim.onePod():
			return fmt.Sprintf("volume %s, which one pod alone can mount", show(v.claimName))
		case v.claim.oneNode():
			return fmt.Sprintf("volume %s, which one node alone can mount", show(v.claimName))
		}
	}
	if port := w.hostPort(); port != 0 {
		return fmt.Sprintf("port %d of the node", port)
	}
	return ""
}

// hostPort is a port of the node that the pods take, or 0.
func (w *workload) hostPort() int {
	for _, c := range w.containers {
		for _, p := range c.ports {
			switch {
			case p.host != 0:
				return p.host
			case w.hostNetwork && p.number != 0:
				return p.number
			}
		}
	}
	return 0
}
