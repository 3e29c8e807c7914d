package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/reports"
)

// progress shows how a run goes on. On a terminal one line per trial is kept up to
// date; elsewhere there is a plain line whenever a trial enters a phase.
type progress struct {
	out   io.Writer
	tty   bool
	width int

	trial string // the one that is shown
	phase lab.Phase
	began time.Time
	open  bool // the terminal's line is not finished
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, width: 80, began: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.tty = true
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			p.width = w
		}
	}
	return p
}

// update is a lab.Progress.
func (p *progress) update(u lab.Update) {
	last := u.Phase == lab.PhaseDone || u.Phase == lab.PhaseFailed
	if !p.tty {
		if u.Trial != p.trial || u.Phase != p.phase || last {
			p.trial, p.phase = u.Trial, u.Phase
			fmt.Fprintf(p.out, "[%7.1fs] %s\n", time.Since(p.began).Seconds(), p.line(u))
		}
		return
	}
	if u.Trial != p.trial {
		p.close()
		p.trial = u.Trial
	}
	text := []rune(p.line(u))
	if len(text) > p.width-1 && !last {
		text = text[:p.width-1]
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", string(text))
	p.open = true
	if last {
		p.close()
	}
}

// close finishes the line that is being shown.
func (p *progress) close() {
	if p.open {
		fmt.Fprintln(p.out)
		p.open = false
	}
}

func (p *progress) line(u lab.Update) string {
	head := fmt.Sprintf("%d/%d %s  %s", u.Index, u.Of, u.Trial, u.Phase)
	switch {
	case u.Text != "":
		return head + ": " + u.Text
	case u.Measured != nil:
		return head + ": " + reports.Outcome(u.Measured)
	case u.OK+u.Failed == 0:
		return head
	}
	line := fmt.Sprintf("%s  %4.1f/%.0f s  %.0f/s  %d ok, %d failed", head,
		max(0, u.Elapsed).Seconds(), u.Length.Seconds(), u.Rate, u.OK, u.Failed)
	if u.RecentSuccess >= 0 {
		// Rounded down: what is shown as 100 % is 100 %.
		line += fmt.Sprintf(", now %.1f %%", float64(int(u.RecentSuccess*1000))/10)
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
