package healthkit

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Cause is one reason why the process is not ready.
type Cause struct {
	// Component is the component in trouble; empty when the trouble is not one
	// component's (the phase, an empty set, generations).
	Component string `json:"component,omitempty"`
	// Text says what is wrong, in one line when the reports are.
	Text string `json:"text"`
	// Since is when it began; zero when that is not known.
	Since time.Time `json:"since,omitzero"`
	// Affects are the blocking components that this one explains, sorted.
	Affects []string `json:"affects,omitempty"`
}

// Causes returns why the process is not ready: root causes only, sorted by
// name, after those that are no component's. A component in trouble that
// depends on others in trouble is named under theirs, not by itself. It is
// empty exactly when Ready is true.
func (s *Snapshot) Causes() []Cause {
	if s.ready {
		return nil
	}
	var causes []Cause
	if s.Phase > PhaseServing {
		text := s.Phase.String()
		if s.PhaseReason != "" {
			text += ": " + s.PhaseReason
		}
		causes = append(causes, Cause{Text: text, Since: s.PhaseSince})
	}
	for _, n := range s.Missing {
		causes = append(causes, Cause{Component: n, Text: missingText(n), Since: s.Created})
	}
	if !s.allowEmpty && !slices.ContainsFunc(s.Components, func(c ComponentStatus) bool { return !c.Optional && c.Group == "" }) {
		causes = append(causes, Cause{Text: "no required component is registered", Since: s.Created})
	}
	if !s.Generations.Met && !s.Generations.Tolerated {
		causes = append(causes, Cause{Text: s.generationText(), Since: s.Generations.Since})
	}
	return append(causes, s.roots()...)
}

// roots finds, for every blocking component, the components at the end of its
// dependencies in trouble.
func (s *Snapshot) roots() []Cause {
	affects := make(map[string][]string)
	for _, c := range s.Components {
		if !c.Blocking() {
			continue
		}
		found := make(map[string]bool)
		s.descend(c, make(map[string]bool), found)
		if len(found) == 0 {
			// Everything below it is a circle: nobody is the root, so each one
			// speaks for itself.
			found[c.Name] = true
		}
		for root := range found {
			if root == c.Name {
				if affects[root] == nil {
					affects[root] = []string{}
				}
				continue
			}
			affects[root] = append(affects[root], c.Name)
		}
	}
	var causes []Cause
	for _, c := range s.Components {
		names, ok := affects[c.Name]
		if !ok {
			continue
		}
		slices.Sort(names)
		text := c.State.String()
		if c.Reason != "" {
			text += ": " + c.Reason
		}
		causes = append(causes, Cause{Component: c.Name, Text: text, Since: c.Since, Affects: names})
	}
	return causes
}

// descend collects the components without a dependency in trouble that are
// reachable from c over dependencies in trouble.
func (s *Snapshot) descend(c ComponentStatus, seen, found map[string]bool) {
	seen[c.Name] = true
	leaf := true
	for _, name := range slices.Concat(c.DependsOn, c.Members) {
		d, ok := s.Component(name)
		if !ok || d.State.serves() {
			continue
		}
		leaf = false
		if !seen[name] {
			s.descend(d, seen, found)
		}
	}
	// A group without enough members is a cause whatever its members are.
	if leaf || c.AtLeast > len(c.Members) {
		found[c.Name] = true
	}
}

func (s *Snapshot) generationText() string {
	var b strings.Builder
	b.WriteString("generations: want ")
	switch g := s.Generations; {
	case g.Agree && g.AtLeast > 0:
		b.WriteString("one and the same, at least " + strconv.FormatUint(g.AtLeast, 10))
	case g.Agree:
		b.WriteString("one and the same")
	case g.AtLeast > 0:
		b.WriteString("at least " + strconv.FormatUint(g.AtLeast, 10))
	default:
		b.WriteString("one from each")
	}
	b.WriteString("; have ")
	sep := ""
	for _, c := range s.Components {
		if !c.Generational || c.Optional {
			continue
		}
		b.WriteString(sep + c.Name + "=")
		if c.HasGeneration {
			b.WriteString(strconv.FormatUint(c.Generation, 10))
		} else {
			b.WriteString("none")
		}
		if c.GenerationTooOld {
			b.WriteString(" (older than " + s.Generations.MaxAge.String() + ")")
		}
		sep = " "
	}
	return b.String()
}

// Reason explains the verdict of Ready in one line of text: "ready",
// "ready, degraded: ..." or "not ready: ...". Control characters of reports
// are replaced by spaces.
func (s *Snapshot) Reason() string {
	if s.ready {
		if text := s.degradedText(); text != "" {
			return "ready, degraded: " + text
		}
		return "ready"
	}
	var parts []string
	for _, c := range s.Causes() {
		text := c.Text
		if c.Component != "" {
			text = c.Component + " " + text
		}
		if len(c.Affects) > 0 {
			text += " (blocks " + strings.Join(c.Affects, ", ") + ")"
		}
		parts = append(parts, oneLine(text))
	}
	return "not ready: " + strings.Join(parts, "; ")
}

func (s *Snapshot) degradedText() string {
	var parts []string
	if !s.Generations.Met {
		parts = append(parts, oneLine(s.generationText()))
	}
	for _, c := range s.Components {
		if c.State == Ready {
			continue
		}
		text := c.Name + " " + c.State.String()
		if c.Reason != "" {
			text += ": " + c.Reason
		}
		if c.ExcusedBy != "" {
			text += " (excused by " + c.ExcusedBy + ")"
		}
		parts = append(parts, oneLine(text))
	}
	return strings.Join(parts, "; ")
}

// LiveReason explains the verdict of Live in one line of text.
func (s *Snapshot) LiveReason() string {
	if s.live {
		return "live"
	}
	var parts []string
	for _, t := range s.Loops {
		if t.Stuck {
			parts = append(parts, t.Name+" has not ticked within "+t.Limit.String())
		}
	}
	for _, c := range s.Components {
		if c.FailsLiveness {
			parts = append(parts, oneLine(c.Name+" "+c.State.String()+": "+c.Reason))
		}
	}
	return "not live: " + strings.Join(parts, "; ")
}

// oneLine keeps a report from forging lines of a text answer, from commanding the
// terminal that shows it and from showing it in another order.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= ' ' && r < 0x7f {
			return r
		}
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
}
