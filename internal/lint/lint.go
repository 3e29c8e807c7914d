// Package lint reads Kubernetes manifests, systemd unit files and compose files and says
// what in them will lose requests when instances start, stop or are replaced. It judges
// files alone: it asks no cluster and no daemon, and what a program does without its file
// saying so it does not know, unless it is told (Options.Drain, a drain comment).
package lint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxFile is the size in bytes past which Check refuses a file.
const MaxFile = 8 << 20

// File is one input: its name for messages, and its bytes.
type File struct {
	Name string
	Data []byte
}

// Options is what is known beside the files.
type Options struct {
	// Drain is how long a program goes on serving after it was told to stop. Nil is
	// not known; zero is known not to drain. A drain comment in a file, or a flag of
	// the program that the linter knows, takes precedence.
	Drain *time.Duration
}

// Severity ranks a finding.
type Severity string

// An Error loses requests as the file stands. A Warning loses them under conditions
// that the file does not show.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that will lose requests.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"`   // from 1
	Column   int      `json:"column"` // from 1, in characters
	Subject  string   `json:"subject"`
	Effect   string   `json:"effect"` // what happens to requests
	Why      string   `json:"why"`
	Fix      string   `json:"fix"`
	// Ignored is the reason that an ignore comment gives; empty when there is none.
	Ignored string `json:"ignored,omitempty"`
}

// Report is what Check found, by file and position.
type Report struct {
	Checked    []string  `json:"checked"` // the workloads, units and services that were judged
	Findings   []Finding `json:"findings"`
	Suppressed []Finding `json:"suppressed"` // findings that an ignore comment takes back
}

// Count is the number of findings of a severity, suppressed ones left out.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// FileError says why a file, or a place in it, cannot be judged.
type FileError struct {
	File         string
	Line, Column int // from 1; 0 when the trouble is the whole file
	Message      string
	Hint         string // may be empty
}

func (e *FileError) Error() string {
	where := show(e.File)
	if e.Line > 0 {
		where += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	return where + ": " + e.Message
}

// maxProblems is how many problems of one file are reported.
const maxProblems = 20

// ErrNothing is in the error of Check when the files hold nothing that it judges.
var ErrNothing = errors.New("nothing here to check")

// Check judges all files together: a Service in one file selects the pods of another.
// The report is never nil and covers what could be read; the error joins a FileError
// for everything that could not, and ErrNothing when nothing was judged. A nil error
// therefore means that each file was understood.
func Check(files []File, o Options) (*Report, error) {
	in := &input{options: o, comments: map[string]*comments{}}
	var errs []error
	for _, f := range files {
		src := &source{name: f.Name}
		src.read(f.Data, in)
		if len(src.problems) == 0 {
			in.comments[f.Name] = src.comments
			continue
		}
		for i, p := range src.problems {
			if i == maxProblems {
				errs = append(errs, &FileError{File: f.Name, Message: fmt.Sprintf("and %d more problems", len(src.problems)-i)})
				break
			}
			errs = append(errs, p)
		}
	}
	in.mergeDropIns(func(e *FileError) { errs = append(errs, e) })
	report := in.judge()
	if len(report.Checked) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%w: no workload, unit or compose service in %s", ErrNothing, fileNames(files)))
	}
	return report, errors.Join(errs...)
}

func fileNames(files []File) string {
	if len(files) == 0 {
		return "no file at all"
	}
	var names []string
	for _, f := range files {
		names = append(names, show(f.Name))
	}
	return strings.Join(names, ", ")
}

// input is everything that was read.
type input struct {
	options  Options
	comments map[string]*comments // by file
	kube     kubeObjects
	units    []*unitFile
	dropIns  []*unitFile
	compose  []*composeFile
}

// source is one file that is being read.
type source struct {
	name     string
	tokens   int // parsed so far
	lines    []string
	comments *comments
	problems []*FileError
}

func (s *source) problem(line, column int, hint, format string, args ...any) {
	s.problems = append(s.problems, &FileError{File: s.name, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// read recognises the file by its content and adds what it holds to the input.
func (s *source) read(data []byte, in *input) {
	if len(data) > MaxFile {
		s.problem(0, 0, "split it, or name the files of the workloads alone", "more than %d bytes", MaxFile)
		return
	}
	if !utf8.Valid(data) {
		s.problem(0, 0, "name a manifest, a unit file or a compose file", "not UTF-8 text")
		return
	}
	content := strings.TrimPrefix(strings.ReplaceAll(string(data), "\r\n", "\n"), "\ufeff")
	s.lines = strings.Split(content, "\n")
	s.comments = s.scanComments()
	if strings.TrimSpace(content) == "" {
		s.problem(0, 0, "", "the file is empty: %v", ErrNothing)
		return
	}
	if looksLikeUnit(s.lines) {
		s.readUnit(in)
		return
	}
	for i, line := range s.lines {
		if at := strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }); at >= 0 {
			s.problem(i+1, utf8.RuneCountInString(line[:at])+1, "remove it", "a control character")
			return
		}
	}
	s.readYAML(in)
}

// readYAML reads the documents of a manifest or of a compose file.
func (s *source) readYAML(in *input) {
	known, kinds := 0, []string{}
	for _, d := range s.documents() {
		if len(s.problems) > 0 {
			return
		}
		if k, ok := d.foreignKind(); ok {
			kinds = append(kinds, k)
			continue
		}
		root := s.parse(d)
		if root == nil || root.kind == null {
			continue
		}
		end := d.first + len(d.lines)
		switch kind := root.get("kind"); {
		case root.kind == mapping && kind != nil && root.get("apiVersion") != nil:
			if in.kube.add(s, root, end, 0) {
				known++
			} else {
				kinds = append(kinds, show(kind.value))
			}
		case root.kind == mapping && root.get("services") != nil && root.get("services").kind == mapping:
			if s.readCompose(root, end, in) {
				known++
			}
		default:
			s.problem(root.line, root.column, "a Kubernetes object has apiVersion and kind, a compose file has services, a unit file begins with a [Section]",
				"not recognised as a Kubernetes manifest, a compose file or a systemd unit")
		}
	}
	if known == 0 && len(s.problems) == 0 {
		found := "no document"
		if len(kinds) > 0 {
			slices.Sort(kinds)
			found = strings.Join(slices.Compact(kinds), ", ") + " alone"
		}
		s.problem(0, 0, "judged are Deployment, StatefulSet, DaemonSet and Pod, with Service, PodDisruptionBudget and HorizontalPodAutoscaler beside them",
			"%v: %s", ErrNothing, found)
	}
}

// place is where something stands in a file.
type place struct {
	file         string
	line, column int
}

func (s *source) place(n *node) place { return place{s.name, n.line, n.column} }

// reporter collects the findings of one rule.
type reporter struct {
	rule    *Rule
	subject string
	found   []Finding
}

// add reports that, at a place, requests are lost; effect says what happens to them, fix
// what to write instead.
func (r *reporter) add(s Severity, at place, effect, fix string) {
	r.found = append(r.found, Finding{
		Rule: r.rule.ID, Severity: s, File: at.file, Line: at.line, Column: at.column,
		Subject: r.subject, Effect: effect, Why: r.rule.Why, Fix: fix,
	})
}

// judge applies every rule to everything that was read.
func (in *input) judge() *Report {
	report := &Report{Checked: []string{}, Findings: []Finding{}, Suppressed: []Finding{}}
	in.kube.link()
	var found []Finding
	apply := func(subject string, call func(*Rule, *reporter)) {
		for i := range rules {
			r := &reporter{rule: &rules[i], subject: subject}
			call(&rules[i], r)
			found = append(found, r.found...)
		}
	}
	for _, w := range in.kube.workloads {
		w.settleDrains(in)
		report.Checked = append(report.Checked, w.subject())
		apply(w.subject(), func(rule *Rule, r *reporter) {
			if rule.pods != nil {
				rule.pods(w, r)
			}
		})
	}
	for _, u := range in.services() {
		report.Checked = append(report.Checked, u.subject())
		apply(u.subject(), func(rule *Rule, r *reporter) {
			if rule.unit != nil {
				rule.unit(u, r)
			}
		})
	}
	for _, f := range in.compose {
		for _, s := range f.services {
			s.settleDrain(in)
			report.Checked = append(report.Checked, s.subject())
			apply(s.subject(), func(rule *Rule, r *reporter) {
				if rule.compose != nil {
					rule.compose(s, r)
				}
			})
		}
	}
	for file, c := range in.comments {
		found = append(found, c.bad(file)...)
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Effect, b.Effect))
	})
	found = slices.Compact(found)
	for _, f := range found {
		if c := in.comments[f.File]; c != nil {
			if reason := c.ignores(f.Rule, f.Line); reason != "" {
				f.Ignored = reason
				report.Suppressed = append(report.Suppressed, f)
				continue
			}
		}
		report.Findings = append(report.Findings, f)
	}
	return report
}

// show is a text of a file as it may stand in a message: short, harmless to a terminal.
func show(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:77]) + "..."
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// seconds writes a duration as manifests have it: whole seconds, rounded up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
