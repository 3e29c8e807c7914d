package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/lab"
)

func TestProgressFitsTheLine(t *testing.T) {
	u := lab.Update{
		Trial: "quickstart process stack-aware #1", Index: 1, Of: 6, Phase: lab.PhaseWindow,
		Elapsed: 12345 * time.Millisecond, Length: 25 * time.Second, Rate: 1000, OK: 9987, Failed: 13, RecentSuccess: 0.9996,
	}
	for _, tc := range []struct {
		width int
		want  string
	}{
		{120, "1/6 quickstart process stack-aware #1  window  12.3/25 s  13 failed  now 99.9 %  9987 ok  1000/s"},
		{79, "1/6 quickstart process stack-aware #1  window  12.3/25 s  13 failed  now 99.9 %"},
		{78, "1/6 quickstart process stack-aware #1  window  12.3/25 s  13 failed"},
		{67, "1/6 quickstart process stack-aware #1  window  12.3/25 s  13 failed"},
		{66, "1/6 …ickstart process stack-aware #1  window  12.3/25 s  13 failed"},
		{50, "1/6 … stack-aware #1  window  12.3/25 s  13 failed"},
		{40, "1/6 …ck-aware #1  window  12.3/25 s"},
		{20, "1/6 …ck-aware #1  w…"},
	} {
		if got := live(u, tc.width); got != tc.want {
			t.Errorf("width %d: got %q, want %q", tc.width, got, tc.want)
		}
	}
}

// Also while nothing has been counted yet, the phase is there.
func TestProgressOfALongName(t *testing.T) {
	u := lab.Update{Trial: strings.Repeat("scenario-", 9) + " process design #1", Index: 1, Of: 2, Phase: lab.PhaseDeploy}
	if got, want := live(u, 40), "1/2 …scenario- process design #1  deploy"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Behind the end of the load there is no more of it: what goes on is a wait.
func TestProgressBehindTheLoad(t *testing.T) {
	for elapsed, want := range map[time.Duration]string{
		12 * time.Second:         "1/1 a #1  action  12.0/12 s  0 failed  1199 ok  100/s",
		12999 * time.Millisecond: "1/1 a #1  action  13.0/12 s  0 failed  1199 ok  100/s",
		48300 * time.Millisecond: "1/1 a #1  action  load over, waiting for 36 s  0 failed  1199 ok  100/s",
	} {
		u := lab.Update{Trial: "a #1", Index: 1, Of: 1, Phase: lab.PhaseAction, Elapsed: elapsed, Length: 12 * time.Second, Rate: 100, OK: 1199, RecentSuccess: -1}
		if got := fit(parts(u), 79); got != want {
			t.Errorf("%v: got %q, want %q", elapsed, got, want)
		}
	}
}

// What others say during a run begins on a line of its own, and progress goes on below it.
func TestNothingIsPrintedIntoALineOfProgress(t *testing.T) {
	var out bytes.Buffer
	c := &console{out: &out, tty: true, width: 80}
	p := newProgress(c)
	p.update(lab.Update{Trial: "a #1", Index: 1, Of: 2, Phase: lab.PhaseDeploy})
	fmt.Fprintln(c, "rollout-lab: interrupted")
	p.update(lab.Update{Trial: "a #1", Index: 1, Of: 2, Phase: lab.PhaseFailed, Text: strings.Repeat("long ", 30)})
	p.update(lab.Update{Trial: "b #1", Index: 2, Of: 2, Phase: lab.PhaseDeploy})
	c.finish()
	c.finish()
	want := "\r\x1b[K1/2 a #1  deploy\nrollout-lab: interrupted\n\r\x1b[K1/2 a #1 failed:" + strings.Repeat(" long", 11) + "\n   " +
		strings.Repeat(" long", 15) + "\n   " + strings.Repeat(" long", 4) + "\n\r\x1b[K2/2 b #1  deploy\n"
	if got := out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// How long the run still takes has room behind what a trial shows, and is there before it
// shows anything.
func TestProgressSaysWhatIsLeft(t *testing.T) {
	u := lab.Update{Trial: "a #1", Index: 1, Of: 2, Phase: lab.PhaseDeploy, Left: 61500 * time.Millisecond, RecentSuccess: -1}
	if got, want := live(u, 79), "1/2 a #1  deploy  1 min 2 s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	u.Phase, u.Elapsed, u.Length, u.OK, u.Rate, u.Left = lab.PhaseWindow, 2*time.Second, 10*time.Second, 200, 100, 8001*time.Millisecond
	if got, want := live(u, 79), "1/2 a #1  window  2.0/10 s  0 failed  9 s left  200 ok  100/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatAnEstimateSays(t *testing.T) {
	for want, e := range map[string]lab.Estimate{
		"1 trial, about 46 s":                                       {Trials: 1, Most: 1, Takes: 45100 * time.Millisecond},
		"6 trials, about 2 min 6 s":                                 {Trials: 6, Most: 6, Takes: 126 * time.Second},
		"1 trial, about 41 s, and as long as the commands take":     {Trials: 1, Most: 1, Takes: 41 * time.Second, Commands: true},
		"1 trial, about 41 s, and what kind may have to make first": {Trials: 1, Most: 1, Takes: 41 * time.Second, Prepares: []string{"kind"}},
	} {
		if got := estimateText(e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
