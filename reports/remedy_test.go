package reports

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Every reason for which a trial is invalid names the way out with a number, where one is known;
// the others are told here by name, so that a new one is thought about.
func TestEveryInvalidTrialNamesTheWayOut(t *testing.T) {
	m := &record.Trial{Rate: 1000, WindowFrom: 4 * time.Second, WindowTo: 24 * time.Second, UntilCalm: record.UntilCalm{Max: 5 * time.Minute}}
	want := map[judge.Kind]string{
		judge.LoadLate: "--rate 500", judge.LoadIncomplete: "--rate 500", judge.RecordIncomplete: "--rate 500", judge.HarnessFailed: "--rate 500",
		judge.MachineSaturated: "--rate 500", judge.PhaseEmpty: "--rate 500", judge.PhaseUncovered: "--rate 500", judge.ProbesSparse: "--rate 500",
		judge.ReferenceDisagrees: "--rate 500", judge.ReferenceSawMore: "--rate 500", judge.ReferenceSilent: "--rate 500",
		judge.ActionOutlasted: "--window 23s", judge.FaultOutlived: "--window 23s",
		judge.ActionNotCompleted: "--window 41s", judge.FinalServers: "--window 41s", judge.FinalUnnamed: "--window 41s",
		judge.NeverQuiet: "--max 10m",
	}
	for kind, flag := range want {
		if got := remedy(judge.Reason{Kind: kind, Time: 2500 * time.Millisecond}, m); got != flag {
			t.Errorf("%s: %q, want %q", kind, got, flag)
		}
	}
	for _, kind := range kinds(t) {
		if got := remedy(judge.Reason{Kind: kind, Time: time.Second}, m); (got != "") != (want[kind] != "") {
			t.Errorf("%s: %q, and this test knows nothing of it", kind, got)
		}
	}
}

// The rate is the one that judge has found to be possible, as people would choose it.
func TestTheRateThatWouldDo(t *testing.T) {
	for _, tc := range []struct {
		asked, would float64
		want         string
	}{{1000, 437.9, "--rate 430"}, {1000, 0, "--rate 500"}, {160, 71.4, "--rate 71"}, {80, 0, ""}, {80, 1.5, "--rate 1"}, {5000, 1234, "--rate 1200"}} {
		if got := remedy(judge.Reason{Kind: judge.LoadLate, Value: tc.would}, &record.Trial{Rate: tc.asked}); got != tc.want {
			t.Errorf("%v asked for, %v would do: %q, want %q", tc.asked, tc.would, got, tc.want)
		}
	}
	if got := remedy(judge.Reason{Kind: judge.ActionNotCompleted}, &record.Trial{Address: "http://host", WindowTo: time.Minute}); got != "" {
		t.Errorf("the window of a command, which there is none of: %q", got)
	}
}

func TestTheWayOutIsSaidWhereTheTrialIs(t *testing.T) {
	tr := counted("s", "process", "svc", 1, 0)
	tr.Valid, tr.Meta.Rate = false, 1000
	tr.InvalidReasons = []judge.Reason{{Kind: judge.LoadLate, Time: 80 * time.Millisecond, Limit: 50 * time.Millisecond, Value: 400}}
	run := judge.Judge(record.Run{Scenarios: []record.Scenario{{Name: "s", Action: "rollout", Designs: []string{"svc"}, Gates: []record.Gate{{Design: "svc", Metric: "failed", Op: "<="}}}}}, &record.RunEnd{}, nil, []judge.Trial{tr})
	for where, text := range map[string]string{"terminal": terminalText(t, &run, TerminalOptions{}), "page": string(htmlText(t, &run)), "junit.xml": string(junitText(t, &run))} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), "try --rate 400") {
			t.Errorf("%s does not say it", where)
		}
	}
	if got := Results(&run).Cells[0].Trials[0].Try; !slices.Equal(got, []string{"--rate 400"}) {
		t.Errorf("results.json: %q", got)
	}
}
