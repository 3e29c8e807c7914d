package healthkit

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// cached renders a text of a snapshot once. Two probes may both render the
// first time; the texts are the same.
func cached(slot *atomic.Pointer[[]byte], render func() []byte) []byte {
	if b := slot.Load(); b != nil {
		return *b
	}
	b := render()
	slot.Store(&b)
	return b
}

func (s *Snapshot) verboseReady() []byte { return s.appendVerbose(nil, s.ready, nil) }

// appendVerbose writes the verdict in the first line and then one line for
// each thing judged: [+] is fine, [~] is not but does not block, [-] blocks,
// [ ] was excluded, [?] is a name that meets nothing.
func (s *Snapshot) appendVerbose(b []byte, ready bool, exclude []string) []byte {
	excluded := setOf(exclude)
	b = append(b, s.headline(ready, exclude)...)
	b = append(b, '\n')
	b = append(b, "phase "+s.Phase.String()+" since "+stamp(s.PhaseSince)+"\n"...)
	for _, c := range s.Components {
		b = c.appendLine(b, excluded[c.Name])
	}
	for i, name := range s.Missing {
		mark := "[-]"
		if excluded[name] {
			mark = "[ ]"
		}
		b = append(b, mark+name+" "+missingText(name)+s.hint(i, name)+"\n"...)
	}
	for i, u := range s.Unknown {
		b = append(b, "[?]"+u.Name+" meets nothing: "+oneLine(strings.Join(u.UsedBy, ", "))+s.hint(i, u.Name)+"\n"...)
	}
	if !s.Generations.Met {
		mark := "[-]"
		if s.Generations.Tolerated {
			mark = "[~]"
		}
		b = append(b, mark+oneLine(s.generationText())+" since "+stamp(s.Generations.Since)+"\n"...)
	}
	return b
}

// appendOne writes a component and then, for a group, its members.
func (s *Snapshot) appendOne(b []byte, c ComponentStatus) []byte {
	b = c.appendLine(b, false)
	for _, name := range c.Members {
		if m, ok := s.Component(name); ok {
			b = m.appendLine(b, false)
		}
	}
	return b
}

func (s *Snapshot) headline(ready bool, exclude []string) string {
	if len(exclude) == 0 {
		return s.Reason()
	}
	verdict := "ready"
	if !ready {
		verdict = "not ready"
	}
	return verdict + ", not counting " + oneLine(strings.Join(exclude, ", "))
}

func (c ComponentStatus) appendLine(b []byte, excluded bool) []byte {
	mark := "[+]"
	switch {
	case excluded:
		mark = "[ ]"
	case c.Blocking():
		mark = "[-]"
	case c.State != Ready:
		mark = "[~]"
	}
	line := mark + c.Name + " " + c.State.String()
	if c.Reason != "" {
		line += ": " + c.Reason
	}
	if c.HasGeneration {
		line += " (generation " + strconv.FormatUint(c.Generation, 10) + ")"
	}
	line += " since " + stamp(c.Since)
	if c.Optional {
		line += ", optional"
	}
	if c.OnFailure != FailClosed {
		line += ", " + c.OnFailure.String()
	}
	if c.Group != "" {
		line += ", of " + c.Group
	}
	if c.ExcusedBy != "" {
		line += ", excused by " + c.ExcusedBy
	}
	if c.Pending != "" {
		line += ", pending " + c.Pending
	}
	line += c.attributeText()
	b = append(b, oneLine(line)...)
	return append(b, '\n')
}

func (s *Snapshot) verboseLive() []byte {
	b := append([]byte(s.LiveReason()), '\n')
	for _, t := range s.Loops {
		mark, word := "[+]", " ticks within "
		if t.Stuck {
			mark, word = "[-]", " has not ticked within "
		}
		b = append(b, mark+t.Name+word+t.Limit.String()+" since "+stamp(t.Since)+"\n"...)
	}
	for _, c := range s.Components {
		if c.FailsLiveness {
			b = append(b, "[-]"+oneLine(c.Name+" "+c.State.String()+": "+c.Reason)+"\n"...)
		}
	}
	return b
}

func (s *Snapshot) verboseStartup() []byte {
	if s.Started {
		return []byte("started, first ready " + stamp(s.FirstReady) + "\n")
	}
	return append([]byte("not started, "), s.verboseReady()...)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
