package reports

import (
	"cmp"
	"fmt"
	"html/template"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/reports/picture"
)

// words are what the page's templates can say of judge's values.
var words = template.FuncMap{
	// Numbers.
	"count":    format.Count,
	"int":      func(n int) string { return format.Count(uint64(max(n, 0))) },
	"lost":     format.Lost,
	"share":    format.Share,
	"rates":    format.Rates,
	"span":     format.Span,
	"maybe":    maybe,
	"pressure": pressure,
	"minus":    func(all, part uint64) uint64 { return all - min(all, part) },
	"part":     part,
	"p":        probability,
	"mib":      func(bytes int64) string { return format.Tenths(float64(bytes)/(1<<20)) + " MiB" },

	// Values in the unit of their metric.
	"limit":         func(g record.Gate) string { return format.Unbroken(gateLimit(g)) },
	"observed":      func(g judge.GateResult) string { return format.Unbroken(observed(g)) },
	"measured":      measured,
	"measuredRange": measuredRange,

	// Text.
	"line":     format.Clean,
	"shorten":  func(n int, s string) string { return format.Shorten(format.Clean(s), n) },
	"action":   actionName,
	"unbroken": format.Unbroken,
	"prose":    prose,
	"sentence": func(r judge.Reason) string { return format.Unbroken(Sentence(r)) },

	// What became of a trial or a cell.
	"value":       func(c trialColumn, t *judge.Trial) string { return c.text(t) },
	"invalidity":  invalidity,
	"validTrials": validTrials,
	"failures":    failures,
	"streams":     streams,
	"notes":       notes,
	"total":       picture.Total,
	"worst":       func(b timeline.Bin) string { return format.Share(uint64(max(b.OK, 0)), uint64(max(b.Planned, 0))) },

	// Verdicts and places in the page.
	"verdictClass": verdictClass,
	"verdictWord":  verdictWord,
	"gateWord":     gateWord,
	"compared":     comparisonWord,
	"comparedAs":   comparisonClass,
	"definition":   definitionOf,
	"def":          func(id string) string { return "#def-" + id },
	"patterns":     func() template.HTML { return template.HTML(picture.Patterns) },
}

// flagWords is one of the command line's with its value: broken behind a dash it is none.
var flagWords = regexp.MustCompile(`--[a-z]+(-[a-z]+)*( [0-9]+[a-z]*)?`)

// prose is a text with its numbers and flags in one piece.
func prose(s string) template.HTML {
	escaped := template.HTMLEscapeString(format.Unbroken(s))
	return template.HTML(flagWords.ReplaceAllString(escaped, "<code>$0</code>"))
}

// part is the share of a whole that is no success: it is not 0 % unless it is nothing.
func part(n, whole uint64) string {
	if s := format.Share(n, whole); n == 0 || s != "0.00 %" {
		return s
	}
	return "< 0.01 %"
}

// probability prints the p of a test, which is never 0.
func probability(p float64) string {
	if p > 0 && p < 0.0001 {
		return "< 0.0001"
	}
	return format.TrimZeros(strconv.FormatFloat(p, 'f', 4, 64))
}

// maybe is for what need not have happened.
func maybe(d *time.Duration) string {
	if d == nil {
		return "–"
	}
	return format.Span(*d)
}

// stretches says from when to when, from zero on; the longest ones where there are many.
func stretches(spans []timeline.Span, zero time.Duration) string {
	const most = 12
	shown := slices.Clone(spans)
	slices.SortStableFunc(shown, func(a, b timeline.Span) int { return cmp.Compare(b.Len(), a.Len()) })
	shown = shown[:min(len(shown), most)]
	slices.SortFunc(shown, func(a, b timeline.Span) int { return cmp.Compare(a.From, b.From) })
	var parts []string
	for _, s := range shown {
		parts = append(parts, format.Offset(s.From-zero)+" to "+format.Offset(s.To-zero)+" s")
	}
	if n := len(spans) - len(shown); n > 0 {
		parts = append(parts, format.Plural(n, "shorter stretch", "shorter stretches"))
	}
	return enumerated(parts)
}

// pressure is the largest share of a second in which tasks waited for a CPU.
func pressure(t *judge.Trial) string {
	if t.Pressure == nil {
		return "unknown"
	}
	return format.RateUp(*t.Pressure)
}

func actionName(a string) string {
	if a == record.NoAction || a == "" {
		return "no action"
	}
	return a
}

// course says in words through which states an instance went.
func course(spans []timeline.StateSpan, zero time.Duration) string {
	const most = 12
	var parts []string
	for i, s := range spans {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %s", format.Plural(len(spans)-most, "more change", "more changes")))
			break
		}
		parts = append(parts, fmt.Sprintf("%s from %s", format.Clean(string(s.State)), format.Offset(s.From-zero)))
	}
	return strings.Join(parts, ", ")
}

// verdictClass is the verdict as a class name; text from outside never becomes one.
func verdictClass(v judge.Verdict) judge.Verdict {
	if v == judge.Pass || v == judge.Fail {
		return v
	}
	return judge.Inconclusive
}

// verdictWord is the verdict in capitals; what is not a verdict is not a pass.
func verdictWord(v judge.Verdict) string { return strings.ToUpper(string(verdictClass(v))) }

// definitionOf is the ID of a metric's definition, "" when there is none to link to.
func definitionOf(metric string) string {
	if slices.ContainsFunc(definitions, func(d definition) bool { return d.ID == metric }) {
		return metric
	}
	return ""
}
