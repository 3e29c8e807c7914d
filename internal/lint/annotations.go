package lint

import (
	"slices"
	"strings"
	"time"
)

// An annotation of a Kubernetes object, or of its pod template, speaks to the linter as a
// comment does. It survives what comments do not: kustomize, and the cluster.
//
//	rollout-lab.dev/ignore: RULE reason    takes findings of the object back; one in each line
//	rollout-lab.dev/drain: 5s              says how long the program drains
const annotationPrefix = "rollout-lab.dev/"

// notes are what annotations of an object say.
type notes struct {
	ignore []said
	drain  *time.Duration
}

// ignores is the reason why a finding of the object is to be ignored, or "".
func (n *notes) ignores(rule string) string {
	for _, s := range n.ignore {
		if s.rule == rule {
			return s.reason
		}
	}
	return ""
}

// notes reads the annotations; what is wrong with them is reported as it is of comments.
func (s *source) notes(o *node) notes {
	var out notes
	for _, meta := range []*node{o.get("metadata", "annotations"), o.get("spec", "template", "metadata", "annotations")} {
		if meta == nil {
			continue
		}
		for _, f := range meta.fields {
			verb, ours := strings.CutPrefix(f.key, annotationPrefix)
			if !ours {
				continue
			}
			for _, line := range strings.Split(strings.TrimSpace(f.value.value), "\n") {
				said, wrong := parseSaid(verb, line)
				switch {
				case wrong != nil:
					if wrong.example != "" {
						wrong.fix = f.key + ": " + wrong.example
					}
					wrong.subject, wrong.line, wrong.column = "annotation", f.value.line, f.value.column
					if !slices.Contains(s.comments.wrong, *wrong) {
						s.comments.wrong = append(s.comments.wrong, *wrong)
					}
				case verb == "drain":
					out.drain = &said.drain
				default:
					out.ignore = append(out.ignore, said)
				}
			}
		}
	}
	return out
}

// heed makes the annotations of an object hold. A workload keeps them, so that they hold for
// what is said of it wherever it stands; those of other objects hold for their own lines,
// unless they share these with others.
func (s *source) heed(o *node, last int, w *workload) {
	n := s.notes(o)
	if w != nil {
		w.notes = n
	}
	if last <= o.line {
		return
	}
	for _, said := range n.ignore {
		s.comments.ignore = append(s.comments.ignore, ignoreComment{said.rule, said.reason, o.line, last})
	}
}
