package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr,omitempty"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Started  string      `xml:"timestamp,attr,omitempty"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitOutcome `xml:"failure"`
	Error   *junitOutcome `xml:"error"`
	Skipped *junitOutcome `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitOutcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes junit.xml: a test case per scenario, driver, design and gate. A gate
// that was missed is a failure; one that could not be decided is an error, because a CI
// must not take it for a pass; a cell that could not be run is skipped. Controls that did
// not hold and runs that were cut short are errors in a suite named evidence. A run that
// is not a pass never comes out all green.
func WriteJUnit(w io.Writer, run *judge.Run) error {
	doc := junitSuites{Name: "rollout-lab " + format.Clean(run.Record.ID)}
	if run.End != nil {
		doc.Time = junitSeconds(run.End.Duration)
	}
	suite := func(name string) *junitSuite {
		name = format.Clean(name)
		at := slices.IndexFunc(doc.Suites, func(s junitSuite) bool { return s.Name == name })
		if at < 0 {
			doc.Suites = append(doc.Suites, junitSuite{Name: name, Started: format.Clean(run.Record.Started)})
			at = len(doc.Suites) - 1
		}
		return &doc.Suites[at]
	}
	for _, g := range run.Gates {
		class, design := format.Clean(g.Cell), format.Clean(g.Gate.Design)
		suiteName := class
		c := cellOf(run, g.Cell)
		if c != nil {
			suiteName, design = c.Scenario+" "+c.Driver, format.Clean(c.Design)
			class = format.Clean(c.Scenario + "." + c.Driver)
		}
		s := suite(suiteName)
		s.Cases = append(s.Cases, gateCase(class, design, g, c))
	}
	for _, sk := range skipped(run) {
		s := suite(sk.Scenario + " " + sk.Driver)
		class := format.Clean(sk.Scenario + "." + sk.Driver)
		names := []string{}
		for _, sc := range run.Record.Scenarios {
			if sc.Name != sk.Scenario {
				continue
			}
			for _, g := range sc.Gates {
				if g.Design == sk.Design {
					names = append(names, format.Clean(sk.Design)+": "+gateLimit(g))
				}
			}
		}
		if len(names) == 0 {
			names = []string{format.Clean(sk.Design)}
		}
		for _, name := range names {
			s.Cases = append(s.Cases, junitCase{Name: name, Class: class, Skipped: &junitOutcome{Message: format.Clean(sk.Why)}})
		}
	}
	doc.Suites = append(doc.Suites, evidenceSuite(run, &doc)...)
	for i := range doc.Suites {
		s := &doc.Suites[i]
		s.count()
		doc.Tests += s.Tests
		doc.Failures += s.Failures
		doc.Errors += s.Errors
		doc.Skipped += s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write junit.xml: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("write junit.xml: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write junit.xml: %w", err)
	}
	return nil
}

func gateCase(class, design string, g judge.GateResult, c *judge.Cell) junitCase {
	out := junitCase{Class: class, Name: design + ": " + gateLimit(g.Gate)}
	text := gateText(g)
	switch g.Verdict {
	case judge.Pass:
		out.Out = text + discardedLines(c)
	case judge.Fail:
		out.Failure = &junitOutcome{Message: text, Type: "gate-missed", Text: trialLines(c)}
	default:
		out.Error = &junitOutcome{Message: text, Type: "inconclusive", Text: trialLines(c)}
	}
	return out
}

// trialLines lists the trials of a cell with what they lost, one a line.
func trialLines(c *judge.Cell) string {
	return listTrials(c, func(*judge.Trial) bool { return true }) + "\n"
}

// discardedLines lists discarded trials: a gate was passed without them.
func discardedLines(c *judge.Cell) string {
	return listTrials(c, func(t *judge.Trial) bool { return !t.Valid })
}

func listTrials(c *judge.Cell, listed func(*judge.Trial) bool) string {
	if c == nil {
		return ""
	}
	var b strings.Builder
	for i := range c.Trials {
		t := &c.Trials[i]
		if !listed(t) {
			continue
		}
		fmt.Fprintf(&b, "\ntrial %d: %s, downtime %s", t.Meta.N, format.Lost(t.Failed, t.Planned), format.Span(t.Downtime))
		if !t.Valid {
			fmt.Fprintf(&b, "; invalid: %s", invalidity(c, t))
		}
	}
	return b.String()
}

// evidenceSuite holds what no gate stands for and still forbids a pass.
func evidenceSuite(run *judge.Run, doc *junitSuites) []junitSuite {
	s := junitSuite{Name: "evidence", Started: format.Clean(run.Record.Started)}
	for _, c := range run.Controls {
		k := junitCase{Name: format.Clean(c.Kind + " control: " + c.Cell), Class: "evidence"}
		if !c.Held {
			k.Error = &junitOutcome{Message: format.Clean(c.Why), Type: "control"}
		}
		s.Cases = append(s.Cases, k)
	}
	if run.Partial {
		s.Cases = append(s.Cases, junitCase{Name: "the run is complete", Class: "evidence",
			Error: &junitOutcome{Message: "the run was cut short, or a planned trial is missing or damaged", Type: "partial"}})
	}
	s.count()
	red := s.Failures + s.Errors
	for i := range doc.Suites {
		doc.Suites[i].count()
		red += doc.Suites[i].Failures + doc.Suites[i].Errors
	}
	if run.Verdict != judge.Pass && red == 0 {
		k := junitCase{Name: "verdict", Class: "evidence"}
		o := &junitOutcome{Message: format.Clean(run.Headline), Type: format.Clean(string(run.Verdict)), Text: format.Clean(strings.Join(run.Reasons, "; "))}
		if run.Verdict == judge.Fail {
			k.Failure = o
		} else {
			k.Error = o
		}
		s.Cases = append(s.Cases, k)
	}
	if len(s.Cases) == 0 {
		return nil
	}
	return []junitSuite{s}
}

func (s *junitSuite) count() {
	s.Tests, s.Failures, s.Errors, s.Skipped = len(s.Cases), 0, 0, 0
	for _, c := range s.Cases {
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
}

func junitSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
