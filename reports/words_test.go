package reports

import (
	"bytes"
	"html/template"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

func TestWhatIsNotZeroNeverPrintsAsZero(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{part(0, 100_000), "0 %"},
		{part(1, 100_000), "< 0.01 %"},
		{part(10, 100_000), "0.01 %"},
		{part(100_000, 100_000), "100 %"},
		{part(0, 0), "no data"},
		{probability(0.1), "0.1"},
		{probability(0.0001), "0.0001"},
		{probability(0.00001), "< 0.0001"},
		{probability(1), "1"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

func TestProse(t *testing.T) {
	for in, want := range map[string]template.HTML{
		"Try --rate 500, or --window 26s: <b>":   "Try <code>--rate 500</code>, or <code>--window 26s</code>: &lt;b&gt;",
		"--design leaves 5 s of --x-y-z- \"--\"": "<code>--design</code> leaves 5\u00a0s of <code>--x-y-z</code>- &#34;--&#34;",
		"</code><script>--a 1</script>":          "&lt;/code&gt;&lt;script&gt;<code>--a 1</code>&lt;/script&gt;",
	} {
		if got := prose(in); got != want {
			t.Errorf("prose(%q)\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestStretches(t *testing.T) {
	var spans []timeline.Span
	for i := range 14 {
		at := time.Duration(i) * time.Second
		spans = append(spans, timeline.Span{From: at, To: at + time.Duration(i+1)*10*time.Millisecond})
	}
	if got, want := stretches(spans[:2], time.Second), "−1.000 to −0.990 s and 0.000 to 0.020 s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := stretches(spans, 0); !strings.HasPrefix(got, "2.000 to 2.030 s, 3.000") || !strings.HasSuffix(got, "13.000 to 13.140 s and 2 shorter stretches") {
		t.Errorf("got %q", got)
	}
}

// Where nothing had to be denied, nothing is said of what was served all the same.
func TestBreachesAreShownWhereSomethingMustBeDenied(t *testing.T) {
	const column, row = `<a href="#def-breaches">breaches</a>`, "breaches   "
	run := fixtureRun()
	if page, text := htmlText(t, run), terminalText(t, run, TerminalOptions{}); !bytes.Contains(page, []byte(column)) || !strings.Contains(text, row) || !strings.Contains(text, "36 (of 4,500 to be denied)") {
		t.Errorf("breaches are not shown:\n%s", text)
	}
	run.Gates = run.Gates[:1]
	for i := range run.Cells {
		for j := range run.Cells[i].Trials {
			run.Cells[i].Trials[j].Denials, run.Cells[i].Trials[j].Breaches = 0, 0
		}
	}
	if page, text := htmlText(t, run), terminalText(t, run, TerminalOptions{}); bytes.Contains(page, []byte(column)) || strings.Contains(text, row) {
		t.Errorf("breaches are shown where nothing had to be denied:\n%s", text)
	}
	run.Cells[0].Trials[1].Breaches = 1 // in an invalid trial, of a record that says nothing of denials
	if text := terminalText(t, run, TerminalOptions{}); !strings.Contains(text, row) {
		t.Errorf("a breach is hidden:\n%s", text)
	}
}

// TestAHintThatAsksIsNoStatement: a hint is a clause that somebody else wrote, and a few ask.
func TestAHintThatAsksIsNoStatement(t *testing.T) {
	for said, want := range map[string]string{
		"":              "",
		"start it":      "Start it.",
		"is it up?":     "Is it up?",
		"it ends here.": "It ends here.",
		"stop":          "Stop.",
	} {
		if got := sentence(said); got != want {
			t.Errorf("sentence(%q) = %q, want %q", said, got, want)
		}
	}
}
