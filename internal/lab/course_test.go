package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// runFor runs a scenario for so long, and reads back what it left.
func runFor(t *testing.T, most time.Duration, d drivers.Driver, ss ...*scenarios.Scenario) (*judge.Run, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	err := Run(t.Context(), Config{RunID: NewRunID(time.Now()), Dir: dir, Scenarios: ss, Drivers: []drivers.Driver{d}, MaxTime: most})
	if err != nil {
		return nil, err
	}
	return mustJudge(t, dir), nil
}

// ofKind are the reasons of a run of one kind.
func ofKind(r *judge.Run, kind judge.Kind) (all []judge.Reason) {
	for _, why := range r.Reasons {
		if why.Kind == kind {
			all = append(all, why)
		}
	}
	return all
}

// Where the number of trials is open it ends with the least where nothing is left to decide, and
// with the first where the verdict is there.
func TestTrialsEndWhenTheyDecide(t *testing.T) {
	for name, tc := range map[string]struct {
		driver  *memoryDriver
		why     record.StopReason
		rounds  int
		verdict judge.Verdict
	}{
		"nothing lost":        {&memoryDriver{}, record.GatesDecided, 2, judge.Pass},
		"lost in the first":   {&memoryDriver{failAfterAction: 20}, record.VerdictFinal, 1, judge.Fail},
		"it does not serve":   {&memoryDriver{deployErr: fmt.Errorf("%w: it answers 404", drivers.ErrNotServing)}, record.VerdictFinal, 1, judge.Fail},
		"the harness's doing": {&memoryDriver{failFirst: 60}, record.GatesDecided, 2, judge.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]", "trials: 1", "trials: 2..4")
			r, err := runFor(t, 0, tc.driver, s)
			if err != nil {
				t.Fatal(err)
			}
			skipIfAnyBusy(t, r, tc.driver.failFirst > 0)
			if len(r.End.Stopped) != 1 {
				t.Fatalf("stopped: %+v, want once", r.End.Stopped)
			}
			st := r.End.Stopped[0]
			if st.Why != tc.why || st.Rounds != tc.rounds || len(st.NotRun) != 4-tc.rounds || st.Driver != "memory" || st.Scenario != "short" {
				t.Errorf("stopped: %+v, want %s after %d rounds", st, tc.why, tc.rounds)
			}
			if r.Verdict != tc.verdict {
				t.Errorf("verdict %s, want %s: %v", r.Verdict, tc.verdict, r.Reasons)
			}
			for _, why := range ofKind(r, judge.TrialsMissing) {
				if why.N != uint64(tc.rounds) || tc.driver.deployErr == nil { // those that could not be deployed
					t.Errorf("trials that nobody needed are missing: %v", why)
				}
			}
		})
	}
}

// skipIfAnyBusy skips a test whose trials a busy machine has made invalid.
func skipIfAnyBusy(t *testing.T, r *judge.Run, expected bool) {
	t.Helper()
	for i := range r.Cells {
		for k := range r.Cells[i].Trials {
			if tr := &r.Cells[i].Trials[k]; !expected {
				skipIfBusy(t, tr)
			}
		}
	}
}

// A gate that trials cannot decide is given as many as there may be.
func TestTrialsGoOnWhileAGateIsOpen(t *testing.T) {
	t.Parallel()
	s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]", "trials: 1", "trials: 1..3",
		"metric: failed, op: <=, limit: 0", "metric: success_rate, op: \">=\", limit: 99%") // 600 requests are sure of 99.48 % at best
	r, err := runFor(t, 0, &memoryDriver{failAfterAction: 2}, s) // 1 % in each: right at the limit
	if err != nil {
		t.Fatal(err)
	}
	skipIfAnyBusy(t, r, false)
	if st := r.End.Stopped; len(st) != 1 || st[0].Why != record.MostTrials || st[0].Rounds != 3 || len(st[0].NotRun) != 0 {
		t.Errorf("stopped: %+v, want all trials", st)
	}
	if r.Verdict != judge.Inconclusive {
		t.Errorf("verdict %s, want inconclusive: %v", r.Verdict, r.Reasons)
	}
}

// What does not fit is no pass: not by the rest, which would have passed.
func TestWhatDoesNotFitIsInconclusive(t *testing.T) {
	t.Parallel()
	s := short(t, "trials: 1", "trials: 30", "designs: [naive, stack-aware]", "designs: [stack-aware]")
	most := 2*s.Length() + 3*time.Second // room for one trial at the least, and for three at the most
	began := time.Now()
	r, err := runFor(t, most, &memoryDriver{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > most+5*time.Second {
		t.Errorf("it took %v, want %v at most", took, most)
	}
	skipIfAnyBusy(t, r, false)
	why := ofKind(r, judge.NoTimeLeft)
	run := len(r.Cells[0].Trials)
	if r.Verdict != judge.Inconclusive || !r.Partial || len(why) != 1 || why[0].N != uint64(30-run) || why[0].Of != 30 || why[0].Limit != most || why[0].Time <= most {
		t.Errorf("verdict %s, partial %v, reasons %v, want the %d trials that did not fit", r.Verdict, r.Partial, r.Reasons, 30-run)
	}
	if g := r.Gates[0]; g.Verdict != judge.Inconclusive {
		t.Errorf("the gate is %s, on %d of 30 trials", g.Verdict, run)
	}
	if st := r.End.Stopped; len(st) != 1 || st[0].Why != record.OutOfTime || st[0].Rounds < run || len(st[0].NotRun) != 30-run {
		t.Errorf("stopped: %+v after %d trials", st, run)
	}
	if len(ofKind(r, judge.TrialsMissing)) > 0 {
		t.Errorf("what did not fit is called missing: %v", r.Reasons)
	}
}

// Every cell comes first once: what does not fit is the second of each, and not all of the last.
func TestEveryCellHasItsFirstTrialBeforeAnyHasItsSecond(t *testing.T) {
	one, other := short(t, "trials: 1", "trials: 2..3"), short(t, "name: short", "name: other", "trials: 1", "trials: 2")
	var got []string
	for _, p := range newSchedule([]*scenarios.Scenario{one, other}, []drivers.Driver{&memoryDriver{}}, true).rest() {
		got = append(got, fmt.Sprintf("%s-%s%d", p.scenario.Name, p.design.Name, p.n))
	}
	want := []string{
		"short-naive1", "short-stack-aware1", "other-naive1", "other-stack-aware1",
		"short-stack-aware2", "short-naive2", "other-stack-aware2", "other-naive2",
		"short-naive3", "short-stack-aware3",
	}
	if !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// Where not even one trial of each cell fits, nothing is deployed and nothing is written.
func TestATimeForNothingIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	d := &memoryDriver{}
	_, err := runFor(t, 3*time.Second, d, short(t))
	var short *TooShortError
	if !errors.As(err, &short) || short.Trials != 2 || short.Needs < 5*time.Second || d.deploys.Load() != 0 {
		t.Fatalf("%v after %d deployments, want a TooShortError of 2 trials before any", err, d.deploys.Load())
	}
	if hint := short.Hint(); !strings.Contains(hint, "--max-time "+wholeSeconds(short.Needs).String()) {
		t.Errorf("hint %q does not say what would do", hint)
	}
}

// slowDriver takes its time with every deployment, as long as it is let.
type slowDriver struct {
	memoryDriver
	takes time.Duration
}

func (d *slowDriver) Deploy(ctx context.Context, stack drivers.Stack) (drivers.Env, error) {
	timer := time.NewTimer(d.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return d.memoryDriver.Deploy(ctx, stack)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// A trial that takes longer than anybody knew does not take the run beyond its time: it is cut
// short, and no pass.
func TestATrialIsCutShortWhenTheTimeIsUp(t *testing.T) {
	for name, tc := range map[string]struct {
		takes  time.Duration
		trials int
	}{
		"in its deployment": {time.Minute, 0},
		"in its load":       {4 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]")
			const most = 5500 * time.Millisecond
			began := time.Now()
			r, err := runFor(t, most, &slowDriver{takes: tc.takes}, s)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > most+5*time.Second {
				t.Errorf("it took %v, want %v at most", took, most)
			}
			if r.Verdict != judge.Inconclusive || r.End.Interrupted {
				t.Errorf("verdict %s, interrupted %v: %v", r.Verdict, r.End.Interrupted, r.Reasons)
			}
			trials := 0
			for _, c := range r.Cells {
				trials += len(c.Trials)
			}
			if trials != tc.trials {
				t.Fatalf("%d trials on record, want %d", trials, tc.trials)
			}
			if why := ofKind(r, judge.NoTimeLeft); len(why) != 1 || why[0].N+why[0].Repeats != 1 {
				t.Errorf("reasons %v, want the time that was up", r.Reasons)
			}
		})
	}
}
