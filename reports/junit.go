package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
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
	started  string
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
	Time    string        `xml:"time,attr,omitempty"`
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
// must not take it for a pass. So is a cell that could not be run, but for one that the
// target failed, which is a failure; where its driver cannot run, it is skipped. Controls
// that did not hold and runs that were cut short are errors in a suite named evidence. A run
// that is not a pass never comes out all green.
func WriteJUnit(w io.Writer, run *judge.Run) error {
	raw, err := xml.MarshalIndent(newJUnit(run), "", "  ")
	if err != nil {
		return fmt.Errorf("write junit.xml: %w", err)
	}
	if _, err := io.WriteString(w, xml.Header+string(raw)+"\n"); err != nil {
		return fmt.Errorf("write junit.xml: %w", err)
	}
	return nil
}

func newJUnit(run *judge.Run) *junitSuites {
	doc := &junitSuites{Name: "rollout-lab " + format.Clean(run.Record.ID), started: format.Clean(run.Record.Started)}
	if run.End != nil {
		doc.Time = fmt.Sprintf("%.3f", run.End.Duration.Seconds())
	}
	for _, g := range run.Gates {
		if neverRun(run, g) {
			continue // it has a case of its own, below
		}
		class, design := format.Clean(g.Cell), format.Clean(g.Gate.Design)
		suite := class
		c := cellOf(run, g.Cell)
		if c != nil {
			suite, design = c.Scenario+" "+c.Driver, format.Clean(c.Design)
			class = format.Clean(c.Scenario + "." + c.Driver)
		}
		of := gateCase(run, class, design, g, c)
		of.Time = caseTime(run, c)
		doc.add(suite, of)
	}
	for _, sk := range skipped(run) {
		for _, name := range skippedCases(run, sk) {
			c := junitCase{Name: name, Class: format.Clean(sk.Scenario + "." + sk.Driver)}
			switch outcome := (&junitOutcome{Message: format.Clean(sk.Why)}); {
			case judgedFailed(run, sk):
				outcome.Message = format.Clean(sk.Why + ". " + doAtDeploy(sk))
				outcome.Type, c.Failure = "target-failed", outcome
			case sk.Unavailable:
				c.Skipped = outcome
			default:
				why := adviseOnNotRun(run, judge.Reason{Kind: judge.CellNotRun, Cell: sk.Scenario + "/" + sk.Driver + "/" + sk.Design, Text: sk.Why})
				outcome.Message = format.Clean(sk.Why + ". " + why.Do)
				outcome.Type, c.Error = "not-run", outcome
			}
			doc.add(sk.Scenario+" "+sk.Driver, c)
		}
	}
	doc.evidence(run)
	doc.distinguish()
	doc.lead(run)
	doc.count()
	return doc
}

// caseTime is a gate's share of the time under load of its cell's trials: the cases of a cell
// add up to it.
func caseTime(run *judge.Run, c *judge.Cell) string {
	if c == nil {
		return ""
	}
	var load time.Duration
	for i := range c.Trials {
		load += c.Trials[i].Meta.LoadTo - c.Trials[i].Meta.LoadFrom
	}
	gates := 0
	for _, g := range run.Gates {
		if g.Cell == c.Key() {
			gates++
		}
	}
	return fmt.Sprintf("%.3f", load.Seconds()/float64(gates))
}

// lead has the first case that is red for what the run is red for say why it came out so, and
// what to do, where that case alone does not.
func (doc *junitSuites) lead(run *judge.Run) {
	for i := range doc.Suites {
		for _, c := range doc.Suites[i].Cases {
			red := c.Error
			if verdictClass(run.Verdict) == judge.Fail {
				red = c.Failure
			}
			if red == nil {
				continue
			}
			if text := format.Clean(messageOf(run)); !strings.Contains(red.Message, text) {
				red.Text = strings.TrimSpace(text + "\n" + red.Text)
			}
			return
		}
	}
}

// add appends a test case to the suite of that name.
func (doc *junitSuites) add(suite string, c junitCase) {
	suite = format.Clean(suite)
	at := slices.IndexFunc(doc.Suites, func(s junitSuite) bool { return s.Name == suite })
	if at < 0 {
		at = len(doc.Suites)
		doc.Suites = append(doc.Suites, junitSuite{Name: suite, Started: doc.started})
	}
	doc.Suites[at].Cases = append(doc.Suites[at].Cases, c)
}

// judgedFailed reports whether that a cell did not serve is a fail: it is the target's doing, and
// its design is not known to fail.
func judgedFailed(run *judge.Run, sk record.Skipped) bool {
	cell := judge.Cell{Scenario: sk.Scenario, Driver: sk.Driver, Design: sk.Design}
	return sk.ByTarget && slices.ContainsFunc(run.Reasons, func(r judge.Reason) bool {
		return r.Kind == judge.DeployFailed && r.Cell == cell.Key()
	})
}

// neverRun reports whether a gate has no value because its design could not be run anywhere.
func neverRun(run *judge.Run, g judge.GateResult) bool {
	scenario, design, _ := strings.Cut(g.Cell, "/")
	return g.Why.Kind == judge.NoSuchDesign && slices.ContainsFunc(skipped(run), func(sk record.Skipped) bool {
		return sk.Scenario == scenario && sk.Design == design
	})
}

// distinguish numbers the cases that would have the name of one before them: of two cases of
// one name a CI shows one, and that may be the green one.
func (doc *junitSuites) distinguish() {
	seen := make(map[[2]string]bool)
	for i := range doc.Suites {
		for j := range doc.Suites[i].Cases {
			c := &doc.Suites[i].Cases[j]
			name := c.Name
			for n := 2; seen[[2]string{c.Class, c.Name}]; n++ {
				c.Name = fmt.Sprintf("%s (%d)", name, n)
			}
			seen[[2]string{c.Class, c.Name}] = true
		}
	}
}

// skippedCases names the test cases that there would have been; where there are some, because
// only a later trial could not be run, it is one of its own.
func skippedCases(run *judge.Run, sk record.Skipped) []string {
	if cell := (judge.Cell{Scenario: sk.Scenario, Driver: sk.Driver, Design: sk.Design}); cellOf(run, cell.Key()) != nil {
		return []string{format.Clean(sk.Design) + ": every trial is deployed"}
	}
	var names []string
	for _, s := range run.Record.Scenarios {
		for _, g := range s.Gates {
			if s.Name == sk.Scenario && g.Design == sk.Design {
				names = append(names, format.Clean(sk.Design)+": "+gateLimit(g))
			}
		}
	}
	if len(names) == 0 {
		names = []string{format.Clean(sk.Design)}
	}
	return names
}

// gateCase is the test case of a gate. Its message says first what to act on: why the
// requests were lost, or what stood in the way.
func gateCase(run *judge.Run, class, design string, g judge.GateResult, c *judge.Cell) junitCase {
	out := junitCase{Class: class, Name: design + ": " + gateLimit(g.Gate)}
	text := gateText(g)
	undecided := verdictClass(g.Verdict) == judge.Inconclusive && g.Verdict != judge.Warned
	if undecided && (g.Gate.Warn || g.Implicit) { // the verdict does not hang on it
		out.Skipped = &junitOutcome{Message: "undecided: " + format.Clean(gateText(g))}
		return out
	}
	switch g.Verdict {
	case judge.Warned:
		out.Out = "warning: " + text + "\n" + columnLines(run, c) + discardedLines(c)
	case judge.Pass:
		out.Out = text + "\n" + columnLines(run, c) + discardedLines(c)
	case judge.Fail:
		message := text
		if g.Implicit {
			out.Failure = &junitOutcome{Message: notCompleted(run, g), Type: "target-failed", Text: columnLines(run, c) + trialLines(c)}
			return out
		}
		if a, causes := adviseOnGate(run, g); causes {
			message = format.Clean(a.text()) + " (" + text + ")"
		}
		out.Failure = &junitOutcome{Message: message, Type: "gate-missed", Text: columnLines(run, c) + trialLines(c)}
	default:
		out.Error = &junitOutcome{Message: format.Clean(undecidedText(run, g)), Type: "inconclusive", Text: columnLines(run, c) + trialLines(c)}
	}
	return out
}

// notCompleted says what the target did wrong where it did not complete the action, and what to
// do about it.
func notCompleted(run *judge.Run, g judge.GateResult) string {
	for _, r := range run.Reasons {
		if r.Kind == judge.TargetFailed && r.Cell == g.Cell && r.Trial == g.Why.Trial {
			gist, _ := failureGist(r)
			return format.Clean(gist + ". " + adviseOnFailure(run, r).text())
		}
	}
	return gateText(g)
}

// saidByGate reports whether the case of the implicit gate says that the target failed.
func saidByGate(run *judge.Run, r judge.Reason) bool {
	return slices.ContainsFunc(run.Gates, func(g judge.GateResult) bool {
		return g.Implicit && g.Verdict == judge.Fail && g.Cell == r.Cell && g.Why.Trial == r.Trial
	})
}

// columnLines is the column of a cell in the matrix, a row a line.
func columnLines(run *judge.Run, c *judge.Cell) string {
	var b strings.Builder
	for _, g := range groups(run) {
		if c == nil || !slices.Contains(g.Cells, c) {
			continue
		}
		for _, row := range g.rows() {
			fmt.Fprintf(&b, "\n%s: %s", row.name(), row.of(c, c.Totals()).text())
		}
	}
	return b.String()
}

// trialLines lists the trials of a cell with what they lost, one a line.
func trialLines(c *judge.Cell) string {
	if lines := listTrials(c, func(*judge.Trial) bool { return true }); lines != "" {
		return lines + "\n"
	}
	return ""
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
		fmt.Fprintf(&b, "\ntrial %d: %s", t.Meta.N, lossOf(t))
		if !t.Valid {
			fmt.Fprintf(&b, "; invalid: %s", invalidity(c, t))
		}
	}
	return b.String()
}

// evidence adds what no gate stands for and still forbids a pass.
func (doc *junitSuites) evidence(run *judge.Run) {
	add := func(name string, fault *junitOutcome) {
		doc.add("evidence", junitCase{Name: format.Clean(name), Class: "evidence", Error: fault})
	}
	for _, c := range run.Controls {
		name, why := format.Clean(c.Kind+" control: "+c.Cell), format.Clean(Sentence(c.Why))
		if c.Held {
			doc.add("evidence", junitCase{Name: name, Class: "evidence", Out: why})
			continue
		}
		add(name, &junitOutcome{Message: why, Type: "control"})
	}
	for _, r := range run.Reasons {
		if r.Kind == judge.TargetFailed && !saidByGate(run, r) {
			gist, _ := failureGist(r)
			doc.add("evidence", junitCase{Name: format.Clean(fmt.Sprintf("%s trial %d: the action", r.Cell, r.Trial)), Class: "evidence",
				Failure: &junitOutcome{Message: format.Clean(gist + ". " + adviseOnFailure(run, r).text()), Type: "target-failed"}})
		}
	}
	if incomplete(run) {
		add("the run is complete", &junitOutcome{Message: "the run was cut short, or a planned trial is missing or damaged", Type: "partial"})
	}
	doc.count()
	switch text := format.Clean(messageOf(run)); {
	case run.Verdict == judge.Pass:
		for _, r := range run.Warnings {
			text += "\nwarning: " + format.Clean(Sentence(r))
		}
		doc.add("evidence", junitCase{Name: "verdict", Class: "evidence", Out: text})
	case doc.Failures+doc.Errors > 0: // the others say it
	default:
		fault := &junitOutcome{Message: text, Type: format.Clean(string(run.Verdict)), Text: format.Clean(strings.Join(Sentences(run.Reasons), "; "))}
		if run.Verdict == judge.Fail {
			doc.add("evidence", junitCase{Name: "verdict", Class: "evidence", Failure: fault})
			return
		}
		add("verdict", fault)
	}
}

// count sets the numbers of cases.
func (doc *junitSuites) count() {
	doc.Tests, doc.Failures, doc.Errors, doc.Skipped = 0, 0, 0, 0
	for i := range doc.Suites {
		s := &doc.Suites[i]
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
		doc.Tests += s.Tests
		doc.Failures += s.Failures
		doc.Errors += s.Errors
		doc.Skipped += s.Skipped
	}
}

// messageOf is the headline with why it is so and what to do.
func messageOf(run *judge.Run) string {
	return strings.TrimSpace(headline(run) + ". " + adviseOnRun(run).text())
}
