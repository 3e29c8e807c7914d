package reports

import (
	"slices"
	"strconv"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// incomplete reports whether there is less of a run than was planned. A trial that was never
// begun, because its cell could not be deployed, is no such thing: that is said by itself.
func incomplete(run *judge.Run) bool {
	if run.End == nil || run.End.Interrupted {
		return run.Partial
	}
	for i := range run.Cells {
		if slices.ContainsFunc(run.Cells[i].Trials, func(t judge.Trial) bool { return t.Partial && !t.Valid }) {
			return run.Partial
		}
	}
	return run.Partial && slices.ContainsFunc(run.Reasons, func(r judge.Reason) bool { return r.Kind == judge.TrialsMissing && !neverBegun(run, r) })
}

// neverBegun reports whether the missing trials are those of cells that could not be run.
func neverBegun(run *judge.Run, missing judge.Reason) bool {
	return len(missing.Names) > 0 && !slices.ContainsFunc(missing.Names, func(folder string) bool {
		return !slices.ContainsFunc(skipped(run), func(sk record.Skipped) bool { return holds(run, sk, folder) })
	})
}

// holds reports whether a folder is that of a trial of a cell that could not be run.
func holds(run *judge.Run, sk record.Skipped, folder string) bool {
	n, err := strconv.Atoi(folder[strings.LastIndex(folder, "-")+1:])
	return err == nil && slices.ContainsFunc(run.Record.Scenarios, func(s record.Scenario) bool {
		return s.Name == sk.Scenario && folder == record.Folder(record.Trial{Scenario: s.Name, Driver: sk.Driver, Action: s.Action, Design: sk.Design, N: n})
	})
}

// follows reports whether a reason only follows from cells that could not be run.
func follows(run *judge.Run, r judge.Reason) bool {
	switch r.Kind {
	case judge.TrialsMissing:
		return neverBegun(run, r)
	case judge.NoTrials:
		return len(skipped(run)) > 0
	case judge.GateUnclear:
		return slices.ContainsFunc(run.Gates, func(g judge.GateResult) bool {
			return g.Cell == r.Cell && r.Gate != nil && g.Gate == *r.Gate && neverRun(run, g)
		})
	}
	return false
}
