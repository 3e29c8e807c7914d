package reports

import (
	"bytes"
	"errors"
	"html/template"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

func terminalText(t *testing.T, run *judge.Run, o TerminalOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteTerminal(&b, run, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTerminalGolden(t *testing.T) {
	golden(t, "terminal.txt", []byte(terminalText(t, fixtureRun(), TerminalOptions{Folder: "runs/20261122"})))
	golden(t, "terminal-partial.txt", []byte(terminalText(t, partialRun(), TerminalOptions{})))
	golden(t, "terminal-compared.txt", []byte(terminalText(t, comparedRun(), TerminalOptions{})))
	golden(t, "terminal-missed.txt", []byte(terminalText(t, missedRun(), TerminalOptions{Width: 100})))
}

// roundedNote is what a runtime without fractions of a second says of a design.
const roundedNote = "proxy: interval of signal is 1s, not 200ms: it counts in whole seconds"

// missedRun missed a gate, and has three designs on two drivers, one of which was not there.
func missedRun() *judge.Run {
	run := fixtureRun()
	pull := fixtureCell("quickstart", "process", "rollout", "pull", true)
	for i := range pull.Trials {
		pull.Trials[i].Recovery = nil
		pull.Trials[i].LongestOutage.Open = true
		pull.Trials[i].Meta.Notes = []string{roundedNote}
	}
	run.Cells = append(run.Cells, pull)
	run.Cells[1] = fixtureCell("quickstart", "process", "rollout", "stack-aware", false)
	c := &run.Cells[1]
	loseThree(&c.Trials[2])
	estimate(c)
	run.Verdict = judge.Fail
	run.Gates[0].Gate.Limit, run.Gates[0].Verdict, run.Gates[0].Observed, run.Gates[0].Lo = 0.999999, judge.Fail, 1-3.0/90000, 0.9999
	run.Gates[0].Hi = 0.99998
	run.Gates[0].Why = judge.Reason{Kind: judge.RateAtMost, Tally: judge.Tally{N: 89997, Of: 90000}, Lo: 0.9999, Hi: 0.99998}
	run.Reasons = []judge.Reason{{Kind: judge.GateMissed, Cell: run.Gates[0].Cell, Gate: &run.Gates[0].Gate, Because: []judge.Reason{run.Gates[0].Why}}}
	run.End.Skipped = []record.Skipped{{Scenario: "quickstart", Driver: "docker", Design: "naive", Why: "no Docker daemon at /var/run/docker.sock", Unavailable: true}}
	return run
}

// TestNotes: where something else was deployed than was asked for is told once for a cell,
// in the terminal and on the page, and for each trial in results.json.
func TestNotes(t *testing.T) {
	run := missedRun()
	pull := &run.Cells[len(run.Cells)-1].Trials[2]
	pull.Remarks = []judge.Reason{{Kind: judge.WarmUpFailures, Tally: judge.Tally{N: 12}}}
	remark := Sentence(pull.Remarks[0])
	want := "quickstart/process/pull: " + roundedNote
	if got := terminalText(t, run, TerminalOptions{Width: 400}); strings.Count(got, want) != 1 {
		t.Errorf("the terminal must say %q once:\n%s", want, got)
	}
	if got := terminalText(t, run, TerminalOptions{Width: 400}); strings.Count(got, "quickstart/process/pull: trial 3: "+remark) != 1 {
		t.Errorf("the terminal must say %q once:\n%s", remark, got)
	}
	var page bytes.Buffer
	if err := WriteHTML(&page, run); err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{roundedNote, "trial 3: " + template.HTMLEscapeString(remark)} {
		if got := strings.Count(page.String(), "<li>pull: "+said); got != 1 {
			t.Errorf("the page says %q %d times, want once", said, got)
		}
	}
	for _, c := range Results(run).Cells {
		for _, tr := range c.Trials {
			want := []string{}
			if c.Design == "pull" {
				want = append(want, roundedNote)
				if tr.N == 3 {
					want = []string{remark, roundedNote}
				}
			}
			if diff := cmp.Diff(want, tr.Notes); diff != "" {
				t.Errorf("%s trial %d: notes (-want +got):\n%s", c.Design, tr.N, diff)
			}
		}
	}
}

func loseThree(t *judge.Trial) {
	t.OK, t.Failed = t.Planned-3, 3
	t.Downtime, t.SuccessRate = 3*time.Millisecond, float64(t.Planned-3)/float64(t.Planned)
	t.LongestOutage = timeline.Outage{From: t.Window.From + time.Second, To: t.Window.From + 1003*time.Millisecond, Failures: 3}
}

func TestTerminalFitsItsWidth(t *testing.T) {
	for _, run := range everyRun() {
		for _, width := range []int{0, 80, 100, 132} {
			limit := width
			if limit == 0 {
				limit = 80
			}
			for line := range strings.Lines(terminalText(t, run, TerminalOptions{Width: width, Folder: "out"})) {
				if _, word, ok := strings.Cut(line, "  "); ok && len(shellWords(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(word), " \\")))) == 1 && strings.HasPrefix(line, "rerun") {
					continue // a word of a command is never broken, so that it can be pasted
				}
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > limit {
					t.Errorf("width %d: a line of %d: %q", limit, n, line)
				}
			}
		}
	}
}

// everyRun is each run that the tests here have.
func everyRun() []*judge.Run {
	lossy, custom, named := lossyRun(10_000, 2949, 1000), customRun(), fixtureRun()
	named.Record.Command = "rollout-lab run ./a-folder/of-scenarios/the-one-about-the-rollout.yaml --driver process --var 'k=a value with spaces' --trials 3"
	for i := range named.Cells {
		named.Cells[i].Scenario, named.Cells[i].Design = strings.Repeat("long-name-", 9), strings.Repeat("longer-name-", 9)
	}
	return []*judge.Run{fixtureRun(), briefRun(), partialRun(), missedRun(), hostileRun(), longRun(2), lateRun(), named, &lossy, &custom}
}

// A log is read from its end: the verdict, why it is so and what to do are the last that is
// said; and the first as well where there is much between.
func TestTheVerdictComesFirst(t *testing.T) {
	for _, tc := range []struct {
		name  string
		run   *judge.Run
		block string
		twice bool
	}{
		{"short", new(customRun()), `FAIL  hello/process/service missed failed <= 0: service lost 28 of 1,200
      requests in hello on process (downtime 280 ms)
why      27 of 28 lost requests went to old instances service-1 and service-2
         (v1) after SIGTERM, 0.203 to 0.904 s into the rollout: their ports were
         closed before the balancer had taken them out (2 checks x 200 ms).
do       On SIGTERM fail the readiness check at once, and serve on for longer
         than 2 checks x 200 ms before closing (by itself, or by a pre_stop that
         waits).
`, false},
		{"inconclusive", lateRun(), `INCONCLUSIVE  stack-aware could not be measured: this machine sent the load late
              three times (p99 52 to 101 ms, limit 50 ms)
do       Try --rate 500, or a quieter machine.
`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := terminalText(t, tc.run, TerminalOptions{Folder: "out"})
			if !strings.HasPrefix(text, tc.block) {
				t.Errorf("it does not begin with\n%s\nbut is\n%s", tc.block, text)
			}
			_, last, twice := strings.Cut(text, "\n\n"+tc.block)
			if twice != tc.twice || strings.Count(last, "\n") > 3 { // what was lost may follow
				t.Errorf("it ends with the verdict: %v, want %v:\n%s", twice, tc.twice, text)
			}
		})
	}
}

// What is to be known of several trials alike is said once.
func TestRemarksAreSaidOnce(t *testing.T) {
	idle := judge.Reason{Kind: judge.LoadLate, Time: 60e6, Limit: 50e6}
	other := judge.Reason{Kind: judge.NoneReady}
	trial := func(n int, remarks ...judge.Reason) judge.Trial {
		return judge.Trial{Meta: record.Trial{N: n}, Remarks: remarks}
	}
	const late, none = "the load ran late: p99 of the schedule's lag is 60 ms, more than 50 ms", "the runtime called no instance ready in the window, so its verdict is not known"
	for name, tc := range map[string]struct {
		trials []judge.Trial
		want   string
	}{
		"none":  {[]judge.Trial{trial(1)}, ""},
		"one":   {[]judge.Trial{trial(1), trial(2, idle)}, "trial 2: " + late},
		"two":   {[]judge.Trial{trial(1, idle), trial(2), trial(4, idle)}, "trial 1: " + late + "; so in trial 4"},
		"three": {[]judge.Trial{trial(1, idle), trial(2, idle, other), trial(3, other, idle)}, "trial 1: " + late + "; so in trials 2 and 3 | trial 2: " + none + "; so in trial 3"},
	} {
		var texts []string
		for _, n := range notes(&judge.Cell{Trials: tc.trials}) {
			texts = append(texts, n.Text)
		}
		if got := strings.Join(texts, " | "); got != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tc.want)
		}
	}
}

// What is to be known of several cells alike is said of the worst of them, and of its worst trial.
func TestNotesOfManyCells(t *testing.T) {
	cell := func(design, deployed string, remarks ...judge.Reason) judge.Cell {
		trial := judge.Trial{Meta: record.Trial{N: 1}, Remarks: remarks}
		if deployed != "" {
			trial.Meta.Notes = []string{deployed}
		}
		return judge.Cell{Scenario: "s", Driver: "d", Design: design, Trials: []judge.Trial{trial}}
	}
	late := judge.Reason{Kind: judge.LoadLate, Time: 60e6, Limit: 50e6}
	later := judge.Reason{Kind: judge.LoadLate, Time: 70e6, Limit: 50e6}
	run := &judge.Run{Cells: []judge.Cell{
		cell("a", "relayed", late), cell("b", "relayed"), cell("c", "", later), cell("d", "relayed", late), cell("e", "", late), cell("f", "", late),
	}}
	want := []string{
		"s/d/a: relayed; so in s/d/b and s/d/d",
		"s/d/c: trial 2: the load ran late: p99 of the schedule's lag is 70 ms, more than 50 ms; so in trial 1; so in 4 more cells, which results.json names",
	}
	run.Cells[2].Trials = []judge.Trial{run.Cells[3].Trials[0], run.Cells[2].Trials[0]}
	run.Cells[2].Trials[0].Meta.Notes, run.Cells[2].Trials[1].Meta.N = nil, 2
	if diff := cmp.Diff(want, cellNotes(run)); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// Whoever pastes the command into a shell gets the same words, on however many lines.
func TestLongCommandsCanBePasted(t *testing.T) {
	var b bytes.Buffer
	term := &terminal{w: &b, width: 40}
	term.command("rerun    ", "rollout-lab run ./one.yaml --var 'k=a b' --design naive")
	if want := "rerun    rollout-lab run ./one.yaml \\\n         --var 'k=a b' --design naive\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestTerminalColourIsNeverTheOnlySign(t *testing.T) {
	for _, run := range []*judge.Run{fixtureRun(), missedRun(), partialRun()} {
		plain := terminalText(t, run, TerminalOptions{})
		colour := terminalText(t, run, TerminalOptions{Color: true})
		if strings.Contains(plain, "\x1b") {
			t.Error("an escape sequence though colour is off")
		}
		if !strings.Contains(colour, "\x1b[") {
			t.Error("no colour though it is on")
		}
		stripped := colour
		for _, s := range []style{bold, dim, red, green, yellow, "0"} {
			stripped = strings.ReplaceAll(stripped, "\x1b["+string(s)+"m", "")
		}
		if stripped != plain {
			t.Error("without its colours the text is another one")
		}
	}
}

func TestTerminalNeverFlatters(t *testing.T) {
	clean := terminalText(t, fixtureRun(), TerminalOptions{})
	if !strings.Contains(clean, "0 of 90,000 lost") {
		t.Errorf("no failures must print as 0 of 90,000 lost:\n%s", clean)
	}
	run := fixtureRun()
	run.Cells = run.Cells[1:]
	loseThree(&run.Cells[0].Trials[0]) // the median over the trials is still 100 %
	got := terminalText(t, run, TerminalOptions{})
	if strings.Contains(got, "success rate      100 %") || !strings.Contains(got, "99.996 %") || !strings.Contains(got, "3 of 90,000 lost") {
		t.Errorf("3 of 90,000 failed, and the matrix says:\n%s", got)
	}
}

func TestRecoveryIsAtOnceOnlyWhereNothingFailed(t *testing.T) {
	tests := []struct {
		name          string
		failed        uint64
		recovery      *time.Duration
		matrix, table string
	}{
		{"undisturbed", 0, new(time.Duration(0)), "at once", "at once"},
		{"a few failed", 3, new(time.Duration(0)), "0 ms", "0 ms"},
		{"down for a while", 300, new(2 * time.Second), "2.00 s", "2.00 s"},
		{"never", 300, nil, "not seen", "not seen"},
		{"never, and nothing failed", 0, nil, "not seen", "not seen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := judge.Judge(record.Run{}, nil, nil, []judge.Trial{{Meta: record.Trial{N: 1}, Valid: true,
				Planned: 3000, OK: 3000 - tt.failed, Failed: tt.failed, Recovery: tt.recovery}})
			c := &run.Cells[0]
			if got := recovery(c, c.Totals()).Value; got != tt.matrix {
				t.Errorf("in the matrix: got %q, want %q", got, tt.matrix)
			}
			if got := trialRecovery(&c.Trials[0]); got != tt.table {
				t.Errorf("in the table of trials: got %q, want %q", got, tt.table)
			}
		})
	}
}

func TestTerminalObeysNoForeignEscapes(t *testing.T) {
	got := terminalText(t, hostileRun(), TerminalOptions{})
	if i := strings.IndexAny(got, "\x00\x1b\u202e\r"); i >= 0 || !utf8.ValidString(got) {
		t.Errorf("a control character got through: %q", got)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteErrorsAreReported(t *testing.T) {
	for name, err := range map[string]error{
		"terminal": WriteTerminal(brokenWriter{}, fixtureRun(), TerminalOptions{}),
		"json":     WriteJSON(brokenWriter{}, Results(fixtureRun())),
		"junit":    WriteJUnit(brokenWriter{}, fixtureRun()),
		"html":     WriteHTML(brokenWriter{}, fixtureRun()),
		"svg":      WriteTimelineSVG(brokenWriter{}, fixtureRun()),
	} {
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: got %v, want %v", name, err, errBroken)
		}
	}
}
