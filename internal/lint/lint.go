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
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxFile is the size in bytes past which Check refuses a file.
const MaxFile = 128 << 20

// File is one input: its name for messages, and its bytes.
type File struct {
	Name string
	Data []byte
	// Found says that nobody named the file: it lies in a folder that was looked through.
	// What is no input of a linter is passed over there; of a file that was named it is a
	// problem.
	Found bool
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
	// Others are of what the same is found at the same place: services that share an anchor.
	Others []string `json:"others,omitempty"`
	Effect string   `json:"effect"` // what happens to requests
	Why    string   `json:"why"`
	Fix    string   `json:"fix"`
	// Ignored is the reason that an ignore comment gives; empty when there is none.
	Ignored string `json:"ignored,omitempty"`
}

// Report is what Check found, by file and position.
type Report struct {
	Checked    []string  `json:"checked"` // the workloads, units and services that were judged
	Findings   []Finding `json:"findings"`
	Suppressed []Finding `json:"suppressed"` // findings that an ignore comment takes back
	Known      []Finding `json:"known"`      // findings that a baseline knows, see Compare
	// Skipped is what was passed over. Services, budgets and scalers are in it only where
	// nothing at all was judged.
	Skipped  []Skipped    `json:"skipped"`
	Problems []*FileError `json:"problems"` // what could not be judged; the error of Check says the same
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
	File    string `json:"file,omitempty"` // empty when the trouble is all of them
	Line    int    `json:"line,omitempty"` // from 1; 0 when the trouble is the whole file
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	err error
}

func (e *FileError) Error() string {
	switch {
	case e.File == "":
		return e.Message
	case e.Line > 0:
		return fmt.Sprintf("%s:%d:%d: %s", printable(e.File), e.Line, e.Column, e.Message)
	}
	return printable(e.File) + ": " + e.Message
}

func (e *FileError) Unwrap() error { return e.err }

// maxProblems is how many problems of one file are reported.
const maxProblems = 20

// ErrNothing is in the error of Check when the files hold nothing that it knows.
var ErrNothing = errors.New("nothing here to check")

// Check judges all files together: a Service in one file selects the pods of another.
// The report is never nil and covers what could be read; the error joins the FileErrors
// in it. One of them is ErrNothing when in no file anything was recognised. What was
// recognised and is not judged (a ConfigMap, a timer) is no error: Report.Skipped names it.
func Check(files []File, o Options) (*Report, error) {
	in := &input{options: o, comments: map[string]*comments{}}
	var problems []*FileError
	patches := patchesOf(files)
	for _, f := range files {
		src := &source{name: f.Name, found: f.Found, patch: patches[cleanPath(f.Name)]}
		src.read(f.Data, in)
		in.skipped, in.aside = append(in.skipped, src.skipped...), append(in.aside, src.aside...)
		in.comments[f.Name] = src.comments
		if n := len(src.problems) - maxProblems; n > 0 {
			src.problems = append(src.problems[:maxProblems], &FileError{File: f.Name, Message: fmt.Sprintf("and %d more problems", n)})
		}
		problems = append(problems, src.problems...)
	}
	problems = append(problems, in.assembleCompose()...)
	in.mergeDropIns()
	report := in.judge()
	if len(report.Checked) == 0 {
		in.skipped = append(in.skipped, in.aside...)
	}
	report.Skipped = append(report.Skipped, in.skipped...)
	understood := slices.ContainsFunc(report.Skipped, func(s Skipped) bool { return s.Recognised })
	if len(report.Checked) == 0 && len(problems) == 0 && !understood {
		problems = append(problems, nothingIn(files, report.Skipped))
	}
	report.Problems = append(report.Problems, problems...)
	var errs []error
	for _, p := range problems {
		errs = append(errs, p)
	}
	return report, errors.Join(errs...)
}

// input is everything that was read.
type input struct {
	options     Options
	comments    map[string]*comments // by file
	kube        kubeObjects
	units       []*unitFile
	dropIns     []*unitFile
	compose     []*composeFile
	composeDocs []*composeDoc
	skipped     []Skipped
	aside       []Skipped // known, but nothing by itself
}

// source is one file that is being read.
type source struct {
	name     string
	found    bool          // nobody named it
	patch    bool          // a Kustomization says so
	cost     *atomic.Int64 // of what was parsed, see maxCost
	lines    []string
	comments *comments
	problems []*FileError
	skipped  []Skipped
	aside    []Skipped
}

func (s *source) problem(line, column int, hint, format string, args ...any) {
	s.problems = append(s.problems, &FileError{File: s.name, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// read recognises the file by its content and adds what it holds to the input.
func (s *source) read(data []byte, in *input) {
	s.readContent(data, in)
	if s.found && len(s.problems) > 0 {
		s.passOver(data)
	}
}

func (s *source) readContent(data []byte, in *input) {
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
		s.skip(0, "empty file", "", false)
		return
	}
	if looksLikeUnit(s.lines) {
		s.readUnit(in)
		return
	}
	for i, line := range s.lines {
		if at := controlCharacter(line); at >= 0 {
			s.problem(i+1, utf8.RuneCountInString(line[:at])+1, "remove it", "a control character")
			return
		}
	}
	if s.patch {
		s.skip(0, "patch", "what it changes shows in the output of kubectl kustomize", true)
		return
	}
	s.readYAML(in)
}

// readYAML reads the documents of a manifest or of a compose file.
func (s *source) readYAML(in *input) {
	documents := s.documents()
	if len(documents) == 0 {
		s.skip(0, "empty file", "", false)
	}
	s.cost = &atomic.Int64{}
	for some := range slices.Chunk(documents, 512) { // so that not all trees are there at once
		for _, d := range s.parseAll(some) {
			s.problems, s.skipped = append(s.problems, d.problems...), append(s.skipped, d.skipped...)
			if len(s.problems) > 0 {
				return
			}
			s.readDocument(d, in)
		}
	}
}

func (s *source) readDocument(d parsed, in *input) {
	root := d.root
	services := root.get("services")
	switch {
	case d.foreign != "":
		s.skip(d.at, d.foreign, "", true)
		if d.foreign == "ConfigMap" {
			in.kube.rawConfigs = append(in.kube.rawConfigs, rawConfig{s, d.document})
		}
	case root == nil || root.kind == null:
	case root.get("apiVersion") != nil && root.get("kind") != nil:
		in.kube.take(s, root, d.end, 0)
	case services != nil && services.kind == mapping, includesAlone(root):
		if !s.readCompose(root, d.end, in) {
			s.skip(root.line, "compose file without a service", "", true)
		}
	default:
		s.unrecognised(root)
	}
}

// controlCharacter is where the first one in a line is, or -1.
func controlCharacter(line string) int {
	for i := range len(line) {
		if c := line[i]; c < ' ' && c != '\t' || c >= 0x7f { // else no rune can be one
			return strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' })
		}
	}
	return -1
}

// place is where something stands in a file.
type place struct {
	file         string
	line, column int
}

func (s *source) place(n *node) place { return place{cmp.Or(n.file, s.name), n.line, n.column} }

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
	report := &Report{Checked: []string{}, Findings: []Finding{}, Suppressed: []Finding{}, Known: []Finding{}, Skipped: []Skipped{}, Problems: []*FileError{}}
	in.kube.link()
	var found []Finding
	apply := func(subject string, said notes, call func(*Rule, *reporter)) {
		for i := range rules {
			r := &reporter{rule: &rules[i], subject: subject}
			call(&rules[i], r)
			for _, f := range r.found {
				f.Ignored = said.ignores(f.Rule)
				found = append(found, f)
			}
		}
	}
	for _, w := range in.kube.workloads {
		w.settleDrains(in)
		report.Checked = append(report.Checked, w.subject())
		apply(w.subject(), w.notes, func(rule *Rule, r *reporter) {
			if rule.pods != nil {
				rule.pods(w, r)
			}
		})
	}
	apply("", notes{}, func(rule *Rule, r *reporter) {
		if rule.objects != nil {
			rule.objects(&in.kube, r)
		}
	})
	for _, u := range in.services() {
		report.Checked = append(report.Checked, u.subject())
		if u.unseen() {
			in.skipped = append(in.skipped, Skipped{File: u.file, What: "unit as a server", Hint: "nothing here shows that it takes requests: name its socket, or a unit that requires it, as well", Recognised: true})
		}
		apply(u.subject(), notes{}, func(rule *Rule, r *reporter) {
			if rule.unit != nil {
				rule.unit(u, r)
			}
		})
	}
	for _, f := range in.compose {
		for _, s := range f.services {
			s.settleDrain(in)
			if !s.again {
				report.Checked = append(report.Checked, s.subject())
			}
			apply(s.subject(), notes{}, func(rule *Rule, r *reporter) {
				if rule.compose != nil {
					rule.compose(s, r)
				}
			})
		}
	}
	for file, c := range in.comments {
		if c != nil {
			found = append(found, c.bad(file)...)
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Effect, b.Effect), cmp.Compare(a.Subject, b.Subject))
	})
	for _, f := range found {
		f.Ignored = cmp.Or(f.Ignored, in.comments[f.File].ignores(f.Rule, f.Line))
		if f.Ignored != "" {
			report.Suppressed = append(report.Suppressed, f)
			continue
		}
		report.Findings = append(report.Findings, f)
	}
	report.Findings, report.Suppressed = fold(report.Findings), fold(report.Suppressed)
	return report
}

// fold makes findings that have one cause, at one place, one finding.
func fold(sorted []Finding) []Finding {
	out := []Finding{}
	for _, f := range sorted {
		if len(out) == 0 || !out[len(out)-1].sameCause(f) {
			out = append(out, f)
			continue
		}
		last := &out[len(out)-1]
		if f.Subject != last.Subject && !slices.Contains(last.Others, f.Subject) {
			last.Others = append(last.Others, f.Subject)
		}
	}
	return out
}

func (f Finding) sameCause(g Finding) bool {
	return f.Rule == g.Rule && f.Severity == g.Severity && f.File == g.File && f.Line == g.Line && f.Column == g.Column && f.Ignored == g.Ignored && f.Effect == g.Effect
}

// show is a text of a file as it may stand in a message: short, harmless to a terminal.
func show(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:77]) + "..."
	}
	return printable(s)
}

// printable is a text that is harmless to a terminal, in its whole length.
func printable(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// seconds writes a duration as manifests have it: whole seconds, rounded up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
