package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// console is where progress goes, and everything else that is said on the way. On a terminal
// the last line may be one of progress that is written over and over again; whatever else is
// written begins on a line of its own. Its methods may be called concurrently.
type console struct {
	out   io.Writer
	tty   bool
	width int

	mu   sync.Mutex
	open bool // the line of progress is not finished
}

func newConsole(out io.Writer) *console {
	c := &console{out: out, width: 80}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		c.tty = true
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			c.width = w
		}
	}
	return c
}

// Write writes lines that are not of progress.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finishLine()
	return c.out.Write(p)
}

// hide keeps what the mask hides out of what is written from here on.
func (c *console) hide(mask *record.Mask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = mask.Writer(c.out)
}

// show writes the line of progress anew.
func (c *console) show(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, "\r\x1b[K%s", line)
	c.open = true
}

// finish ends the line of progress, if there is one.
func (c *console) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finishLine()
}

// end ends the progress of a run: what comes next stands apart from it.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finishLine()
	if c.tty {
		fmt.Fprintln(c.out)
	}
}

func (c *console) finishLine() {
	if c.open {
		fmt.Fprintln(c.out)
		c.open = false
	}
}

// progress shows how a run goes on. On a terminal one line per trial is kept up to
// date; elsewhere there is a plain line whenever a trial enters a phase.
type progress struct {
	console *console
	trial   string // the one that is shown
	phase   lab.Phase
	began   time.Time
}

func newProgress(c *console) *progress { return &progress{console: c, began: time.Now()} }

// update is a lab.Progress.
func (p *progress) update(u lab.Update) {
	changed := u.Trial != p.trial
	last := u.Phase == lab.PhaseDone || u.Phase == lab.PhaseFailed
	if !p.console.tty {
		if changed || u.Phase != p.phase || last {
			fmt.Fprintf(p.console, "[%7.1fs] %s\n", time.Since(p.began).Seconds(), strings.Join(parts(u), "  "))
		}
		p.trial, p.phase = u.Trial, u.Phase
		return
	}
	if changed {
		p.console.finish()
		p.trial = u.Trial
	}
	if last { // all of it: it stays, and may take several lines
		p.console.show(strings.Join(folded(strings.Join(parts(u), "  "), p.console.width-1), "\n"))
		p.console.finish()
		return
	}
	p.console.show(live(u, p.console.width-1))
}

// parts are what there is to say of a trial, the most important first.
func parts(u lab.Update) []string {
	head := fmt.Sprintf("%d/%d %s  %s", u.Index, u.Of, u.Trial, u.Phase)
	switch {
	case u.Text != "":
		return []string{head + ": " + u.Text}
	case u.Measured != nil:
		return []string{head + ": " + reports.Outcome(u.Measured)}
	}
	return append([]string{head}, counts(u)...)
}

// counts are how far a trial is and how its requests fare, none before there is one.
func counts(u lab.Update) []string {
	if u.OK+u.Failed == 0 {
		return left(u)
	}
	out := []string{elapsed(u), fmt.Sprintf("%d failed", u.Failed)}
	if u.RecentSuccess >= 0 {
		// Rounded down: what is shown as 100 % is 100 %.
		out = append(out, fmt.Sprintf("now %.1f %%", float64(int(u.RecentSuccess*1000))/10))
	}
	out = append(out, left(u)...)
	return append(out, fmt.Sprintf("%d ok", u.OK), fmt.Sprintf("%.0f/s", u.Rate))
}

// left is how long the run still takes.
func left(u lab.Update) []string {
	if u.Left <= 0 {
		return nil
	}
	return []string{minutes(u.Left) + " left"}
}

// elapsed is how far the load has come, and where it ends if that is known.
func elapsed(u lab.Update) string {
	if u.Length == 0 {
		return fmt.Sprintf("%.1f s", max(0, u.Elapsed).Seconds())
	}
	if more := u.Elapsed - u.Length; more >= time.Second { // the last answers have come by then
		return fmt.Sprintf("load over, waiting for %.0f s", more.Seconds())
	}
	return fmt.Sprintf("%.1f/%.0f s", max(0, u.Elapsed).Seconds(), u.Length.Seconds())
}

// live is the line of progress of a trial that goes on. A name that leaves no room for how far
// the trial is and what has failed is cut at its front: designs and numbers stand at the end.
func live(u lab.Update, width int) string {
	const least = 12 // of a name
	rest := fmt.Sprintf("%d/%d   %s", u.Index, u.Of, u.Phase)
	if n := counts(u); len(n) > 1 {
		rest += "  " + n[0] + "  " + n[1]
	}
	name, room := []rune(u.Trial), max(width-utf8.RuneCountInString(rest), least)
	if len(name) > room {
		u.Trial = "…" + string(name[len(name)-room+1:])
	}
	return fit(parts(u), width)
}

// folded breaks what is longer than a line at its words.
func folded(text string, width int) []string {
	if utf8.RuneCountInString(text) <= width {
		return []string{text}
	}
	const indent = "    "
	lines := format.FoldHard(text, width-len(indent))
	for i := range lines[1:] {
		lines[i+1] = indent + lines[i+1]
	}
	return lines
}

// fit joins as many of the parts as have room, and cuts none but the first.
func fit(parts []string, width int) string {
	line := parts[0]
	if first := []rune(line); len(first) > width {
		return string(first[:max(0, width-1)]) + "…"
	}
	for _, part := range parts[1:] {
		longer := line + "  " + part
		if len([]rune(longer)) > width {
			break
		}
		line = longer
	}
	return line
}

// terminalOptions fits the result to where it is printed.
func terminalOptions(out io.Writer, dir string) reports.TerminalOptions {
	o := reports.TerminalOptions{Width: 80, Folder: dir}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return o
	}
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 40 {
		o.Width = w
	}
	o.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return o
}
