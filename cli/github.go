package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/reports"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// onGitHub reports whether this program is part of a step of GitHub Actions.
func onGitHub() bool { return os.Getenv("GITHUB_ACTIONS") == "true" }

// tellsOutcome marks the commands whose outcome is that of a step.
var tellsOutcome = map[string]string{"outcome": "true"}

// outcome is a judged run and its folder.
type outcome struct {
	run *judge.Run
	dir string
}

// step is what became of a command.
type step struct {
	cmd     *cobra.Command
	outcome *outcome // nil: nothing was judged
	err     error
	code    int
}

// tellGitHub writes the annotations to lines, which the runner reads, and appends the summary
// and the outputs to the files that it names. It returns the exit code: a step whose outcome
// cannot be told is no pass.
func tellGitHub(lines io.Writer, s step) int {
	var errs error
	for _, a := range s.annotations() {
		_, err := fmt.Fprintf(lines, "::%s title=%s::%s\n", a.Level, escapeProperty(a.Title), escapeData(a.Text))
		errs = errors.Join(errs, err)
	}
	if s.cmd.Annotations["outcome"] != "" {
		errs = errors.Join(errs, s.writeSummary(os.Getenv("GITHUB_STEP_SUMMARY")), s.writeOutputs(os.Getenv("GITHUB_OUTPUT")))
	}
	if errs == nil {
		return s.code
	}
	code := report(&environmentError{fmt.Errorf("tell GitHub Actions: %w", errs), ""}, lines)
	if s.code != ExitPass {
		return s.code
	}
	return code
}

// annotations are those of the judged run, and what went wrong beside it.
func (s step) annotations() (all []reports.Annotation) {
	if s.outcome != nil {
		all = reports.Annotations(s.outcome.run, errors.As(s.err, new(*verdictError)))
	}
	if text := s.trouble(); text != "" {
		all = append(all[:min(len(all), reports.MaxAnnotations-1)], reports.Annotation{Level: reports.Error, Title: s.cmd.CommandPath(), Text: text})
	}
	return all
}

// trouble is what went wrong beside a verdict, "" where nothing did.
func (s step) trouble() string {
	if s.err == nil || errors.As(s.err, new(*verdictError)) {
		return ""
	}
	text := s.err.Error()
	for _, hint := range hints(s.err) {
		text += "\nhint: " + hint
	}
	return format.CleanLines(text)
}

// mostSummary is what the summary of a step may have at most, in bytes; GitHub shows nothing of
// one that has more.
const mostSummary = 1 << 20

// writeSummary appends the result as Markdown to a file that other commands of the step write to
// as well. Where there is no room for it, a line says so; where there is none for that, nothing.
func (s step) writeSummary(file string) error {
	if file == "" {
		return nil
	}
	var text []byte
	if s.outcome != nil {
		var err error
		if text, err = summaryOf(s.outcome.run, s.outcome.dir); err != nil {
			return err
		}
	}
	if trouble := s.trouble(); trouble != "" {
		text = append(text, reports.Trouble(s.cmd.CommandPath(), trouble)...)
	}
	var size int64
	if info, err := os.Stat(file); err == nil {
		size = info.Size()
	}
	if size+int64(len(text)) >= mostSummary {
		text = []byte("\nNo room for one more result: the job's log has it.\n")
		if size+int64(len(text)) >= mostSummary {
			return nil
		}
	}
	return appendFile(file, text)
}

// writeOutputs appends the outputs of the step: a value is one line.
func (s step) writeOutputs(file string) error {
	if file == "" {
		return nil
	}
	var b strings.Builder
	for _, o := range s.outputs() {
		fmt.Fprintf(&b, "%s=%s\n", o[0], format.Clean(o[1]))
	}
	return appendFile(file, []byte(b.String()))
}

// outputs are what later steps can ask for; what is not known is empty.
func (s step) outputs() [][2]string {
	out := map[string]string{"verdict": "error", "reason": s.trouble()}
	if s.outcome != nil {
		doc := reports.Results(s.outcome.run)
		out["verdict"], out["reason"] = string(doc.Verdict), doc.Headline
		out["results-path"], out["report-path"] = filepath.Join(s.outcome.dir, "results.json"), filepath.Join(s.outcome.dir, "report.html")
		if downtime, rate, ok := reports.Worst(s.outcome.run); ok {
			out["downtime-ms"], out["success-rate"] = number(downtime), number(rate)
		}
	}
	out["exit-code"] = strconv.Itoa(s.code)
	var all [][2]string
	for _, name := range []string{"verdict", "reason", "exit-code", "downtime-ms", "success-rate", "results-path", "report-path"} {
		all = append(all, [2]string{name, out[name]})
	}
	return all
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func appendFile(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

var (
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(s string) string     { return dataEscapes.Replace(s) }
func escapeProperty(s string) string { return propertyEscapes.Replace(s) }

// inert keeps what is printed for people from being read as a command by the runner of GitHub
// Actions, which reads every line: the names and words in it come from outside. Elsewhere it is
// the writer itself.
func inert(w io.Writer) io.Writer {
	if !onGitHub() {
		return w
	}
	return inertWriter{w}
}

type inertWriter struct{ w io.Writer }

// workflowCommand is how a command begins: at the start of a line, or, in an older form, anywhere.
var workflowCommand = regexp.MustCompile(`(?m)(^\s*:|#)(:|#\[)`)

// Write parts the marks of a command by a space that is not seen.
func (i inertWriter) Write(p []byte) (int, error) {
	if _, err := i.w.Write(workflowCommand.ReplaceAll(p, []byte("${1}\u200b${2}"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
