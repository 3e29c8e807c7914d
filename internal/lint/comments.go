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
	line         int // that it speaks of
}

type drainComment struct {
	drain time.Duration
	line  int // that it stands on
}

// badComment is a comment that does nothing because it is written wrongly.
type badComment struct {
	line, column int
	effect, fix  string
}

type comments struct {
	ignore []ignoreComment
	drain  []drainComment
	wrong  []badComment
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
		verb, rest := line[m[2]:m[3]], strings.TrimSpace(line[m[4]:m[5]])
		wrong := func(effect, fix string) {
			c.wrong = append(c.wrong, badComment{i + 1, utf8.RuneCountInString(line[:m[2]]) + 1, effect, fix})
		}
		switch verb {
		case "ignore":
			rule, reason, _ := strings.Cut(rest, " ")
			reason = strings.TrimSpace(reason)
			if _, known := RuleByID(rule); !known {
				fix := "rollout-lab lint --rules lists the rules"
				if now, was := renamedRules[rule]; was {
					fix = "it is called " + now + " now"
				}
				wrong("no rule is called "+show(rule)+", so nothing is ignored", fix)
				continue
			}
			if reason == "" {
				wrong("an ignore without a reason is not followed", "# rollout-lab:ignore "+rule+" why it is right here")
				continue
			}
			c.ignore = append(c.ignore, ignoreComment{rule, reason, s.spokenOf(i, line[:m[0]])})
		case "drain":
			word, _, _ := strings.Cut(rest, " ")
			d, err := time.ParseDuration(word)
			if err != nil || d < 0 || d > maxDrain {
				wrong("no drain is known from this comment", "# rollout-lab:drain 5s")
				continue
			}
			c.drain = append(c.drain, drainComment{d, i + 1})
		default:
			wrong("the linter knows no comment "+show(verb), "ignore RULE reason, or drain DURATION")
		}
	}
	return c
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
	for _, i := range c.ignore {
		if i.rule == rule && i.line == line {
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
			Rule: rule.ID, Severity: Error, File: file, Line: w.line, Column: w.column, Subject: "comment",
			Effect: w.effect, Why: rule.Why, Fix: w.fix,
		})
	}
	return out
}
