package lint

import (
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// A comment speaks to the linter:
//
//	# rollout-lab:ignore RULE reason    takes a finding back
//	# rollout-lab:drain 5s              says how long the program drains
//
// It speaks of its own line, or, when it is alone on its line, of the next line that is
// no comment.
var (
	yamlComment = regexp.MustCompile(`(?:^|\s)#\s*rollout-lab:(\S*)\s*(.*)$`)
	unitComment = regexp.MustCompile(`^\s*[#;]\s*rollout-lab:(\S*)\s*(.*)$`)
)

// renamedRules are what rules were called before.
var renamedRules = map[string]string{"k8s-lead-too-short": "k8s-drain-too-short"}

type ignoreComment struct {
	rule, reason string
	first, last  int // the lines that it speaks of
}

type drainComment struct {
	drain time.Duration
	line  int // that it stands on
}

// badSaid is a comment or an annotation that does nothing because it is written wrongly.
type badSaid struct {
	subject      string
	line, column int
	effect, fix  string
	example      string // the fix, but for how the two are written
}

type comments struct {
	ignore []ignoreComment
	drain  []drainComment
	wrong  []badSaid
}

func (s *source) scanComments() *comments {
	c := &comments{}
	pattern := yamlComment
	if looksLikeUnit(s.lines) {
		pattern = unitComment
	}
	for i, line := range s.lines {
		if !strings.Contains(line, "rollout-lab:") {
			continue
		}
		m := pattern.FindStringSubmatchIndex(line)
		if m == nil {
			continue
		}
		verb, rest := line[m[2]:m[3]], line[m[4]:m[5]]
		said, wrong := parseSaid(verb, rest)
		switch {
		case wrong != nil:
			if wrong.example != "" {
				wrong.fix = "# rollout-lab:" + verb + " " + wrong.example
			}
			wrong.subject, wrong.line, wrong.column = "comment", i+1, utf8.RuneCountInString(line[:m[2]])+1
			c.wrong = append(c.wrong, *wrong)
		case verb == "drain":
			c.drain = append(c.drain, drainComment{said.drain, i + 1})
		default:
			on := s.spokenOf(i, line[:m[0]])
			c.ignore = append(c.ignore, ignoreComment{said.rule, said.reason, on, on})
		}
	}
	return c
}

// said is what a comment or an annotation says to the linter.
type said struct {
	rule, reason string
	drain        time.Duration
}

// parseSaid reads what follows a verb.
func parseSaid(verb, rest string) (s said, wrong *badSaid) {
	rest = strings.TrimSpace(rest)
	switch verb {
	case "ignore":
		s.rule, s.reason, _ = strings.Cut(rest, " ")
		s.reason = strings.TrimSpace(s.reason)
		if _, known := RuleByID(s.rule); !known {
			fix := "rollout-lab lint --rules lists the rules"
			if now, was := renamedRules[s.rule]; was {
				fix = "it is called " + now + " now"
			}
			return s, &badSaid{effect: "no rule is called " + show(s.rule) + ", so nothing is ignored", fix: fix}
		}
		if s.reason == "" {
			return s, &badSaid{effect: "an ignore without a reason is not followed", example: s.rule + " why it is right here"}
		}
	case "drain":
		word, _, _ := strings.Cut(rest, " ")
		d, err := time.ParseDuration(word)
		if err != nil || d < 0 || d > maxDrain {
			return s, &badSaid{effect: "no drain is known from it", example: "5s"}
		}
		s.drain = d
	default:
		return s, &badSaid{effect: "the linter knows no " + show(verb), fix: "ignore RULE reason, or drain DURATION"}
	}
	return s, nil
}

// spokenOf is the number of the line that a comment in line i speaks of.
func (s *source) spokenOf(i int, before string) int {
	if strings.TrimSpace(before) != "" {
		return i + 1
	}
	for j := i + 1; j < len(s.lines); j++ {
		line := strings.TrimSpace(s.lines[j])
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			return j + 1
		}
	}
	return i + 1
}

// ignores is the reason why a finding is to be ignored, or "".
func (c *comments) ignores(rule string, line int) string {
	if c == nil {
		return ""
	}
	for _, i := range c.ignore {
		if i.rule == rule && i.first <= line && line <= i.last {
			return i.reason
		}
	}
	return ""
}

// drainBetween is the drain that a comment between two lines declares.
func (c *comments) drainBetween(first, last int) (time.Duration, bool) {
	if c == nil {
		return 0, false
	}
	for _, d := range c.drain {
		if d.line >= first && d.line <= last {
			return d.drain, true
		}
	}
	return 0, false
}

// bad reports the comments that do nothing.
func (c *comments) bad(file string) []Finding {
	rule, _ := RuleByID(commentRule)
	var out []Finding
	for _, w := range c.wrong {
		out = append(out, Finding{
			Rule: rule.ID, Severity: Error, File: file, Line: w.line, Column: w.column, Subject: w.subject,
			Effect: w.effect, Why: rule.Why, Fix: w.fix,
		})
	}
	return out
}
