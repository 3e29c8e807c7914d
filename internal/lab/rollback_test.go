package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// TestARolloutThatIsTakenBack: both steps are on record, each with its own start and end, and
// what the target did not get done is taken back all the same. What the runtime did not do is not.
func TestARolloutThatIsTakenBack(t *testing.T) {
	stuck := fmt.Errorf("rollout to v2: %w: 0 of 2 are ready", drivers.ErrNotServing)
	for _, tt := range []struct {
		name    string
		action  string // on top of that it is taken back
		driver  *memoryDriver
		events  []record.EventKind
		verdict judge.Verdict
		says    string
	}{
		{"both work", "", &memoryDriver{}, []record.EventKind{record.ActionStarted, record.ActionDone, record.ActionStarted, record.ActionDone}, judge.Pass, ""},
		{"the new one does not serve", "", &memoryDriver{rolloutErr: map[string]error{"v2": stuck}}, []record.EventKind{record.ActionStarted, record.ActionFailed, record.ActionStarted, record.ActionDone}, judge.Fail, "0 of 2 are ready"},
		{"there is no way back", "", &memoryDriver{rolloutErr: map[string]error{"v1": errAtDeadline}}, []record.EventKind{record.ActionStarted, record.ActionDone, record.ActionStarted, record.ActionFailed}, judge.Fail, "rollback did not complete within 200ms"},
		{"the new one need not serve", ", may_stop: true", &memoryDriver{rolloutErr: map[string]error{"v2": stuck}}, []record.EventKind{record.ActionStarted, record.ActionStopped, record.ActionStarted, record.ActionDone}, judge.Pass, ""},
		{"the new one need not come in time", ", may_stop: true", &memoryDriver{rolloutErr: map[string]error{"v2": errAtDeadline}}, []record.EventKind{record.ActionStarted, record.ActionStopped, record.ActionStarted, record.ActionDone}, judge.Pass, ""},
		{"the way back has to work", ", may_stop: true", &memoryDriver{rolloutErr: map[string]error{"v2": stuck, "v1": stuck}}, []record.EventKind{record.ActionStarted, record.ActionStopped, record.ActionStarted, record.ActionFailed}, judge.Fail, "0 of 2 are ready"},
		{"the runtime fails", ", may_stop: true", &memoryDriver{rolloutErr: map[string]error{"v2": errors.New("no quorum")}}, []record.EventKind{record.ActionStarted, record.ActionError}, judge.Inconclusive, "no quorum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := short(t, "designs: [naive, stack-aware]", "designs: [stack-aware]", "kind: rollout", "kind: rollout, then: rollback"+tt.action)
			s.Action.Timeout = 200 * time.Millisecond
			dir, err := runLab(t, t.Context(), tt.driver, s)
			if err != nil {
				t.Fatal(err)
			}
			r := mustJudge(t, dir)
			run, err := record.OpenRun(dir)
			if err != nil {
				t.Fatal(err)
			}
			trial, err := run.Trial(run.Folders[0])
			if err != nil {
				t.Fatal(err)
			}
			var got []record.EventKind
			for _, e := range trial.Events {
				if strings.HasPrefix(string(e.Kind), "action_") {
					got = append(got, e.Kind)
				}
			}
			if !slices.Equal(got, tt.events) {
				t.Errorf("events %v, want %v", got, tt.events)
			}
			if trial.Trial.Action != "rollout-rollback" || trial.Trial.Revisions != (record.Revisions{Before: "v1", After: "v2"}) {
				t.Errorf("action %s with %+v", trial.Trial.Action, trial.Trial.Revisions)
			}
			skipIfBusy(t, &r.Cells[0].Trials[0])
			if reasons := fmt.Sprint(r.Reasons); r.Verdict != tt.verdict || !strings.Contains(reasons, tt.says) {
				t.Errorf("verdict %s, want %s; reasons %s, want %q", r.Verdict, tt.verdict, reasons, tt.says)
			}
		})
	}
}
