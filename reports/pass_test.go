package reports

import (
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// A pass says what held, what shows that it need not have, and what it does not show.
func TestAdviceOnAPass(t *testing.T) {
	caused := func(t judge.Trial) judge.Trial {
		t.Causes = []judge.CauseCount{{Cause: judge.NoInstance, Count: t.Failed}}
		return t
	}
	trial := func(design string, n int, lost uint64) judge.Trial {
		return caused(counted("rollout", "process", design, n, lost))
	}
	failed := record.Gate{Design: "good", Metric: "failed", Op: "<=", Limit: 5}
	rate := record.Gate{Design: "good", Metric: "success_rate", Op: ">=", Limit: 0.999}
	late := record.Gate{Design: "good", Metric: "late_failures", Op: "<=", Limit: 5}
	breaches := record.Gate{Design: "good", Metric: "downtime", Op: "<=", Limit: 5}
	const few = "Before you rely on it, try --trials 10: what happens in up to 95 % of trials need not show in 1 trial."
	const cause = "ll 3,000 lost requests found nobody to go to, 0.000 s into the rollout: no instance was called ready."
	var ten []judge.Trial
	for n := range 10 {
		ten = append(ten, trial("good", n+1, 0))
	}
	slow := trial("good", 1, 0)
	slow.Values = map[string]float64{"standstill": 40, "slowest_request": 1480}
	dead := trial("good", 1, 0)
	dead.Values = map[string]float64{"standstill": 1400, "slowest_request": 1480, "late_failures": 7}
	wait := record.Gate{Design: "good", Metric: "slowest_request", Op: "<=", Limit: 2000}
	const held = "failed <= 5 was met. bad, which must fail here, lost 3,000 of 20,000: this experiment can tell good from bad. "
	for _, tc := range []struct {
		name     string
		gates    []record.Gate
		positive []string
		trials   []judge.Trial
		want     advice
	}{
		{"one gate and a control", []record.Gate{failed}, []string{"bad"}, []judge.Trial{trial("bad", 1, 3000), trial("good", 1, 0)},
			advice{"failed <= 5 was met. bad, which must fail here, lost 3,000 of 20,000: this experiment can tell good from bad. A" + cause, few}},
		{"two gates, and another design", []record.Gate{failed, rate}, nil, []judge.Trial{trial("bad", 1, 3000), trial("good", 1, 0)},
			advice{"both gates were met: failed <= 5 and success_rate >= 99.90 %. bad: a" + cause, few}},
		{"many gates, and nothing failed", []record.Gate{failed, rate, late, breaches}, nil, []judge.Trial{trial("good", 1, 0), trial("good", 2, 0), trial("good", 3, 0)},
			advice{"all 4 gates were met: failed <= 5, success_rate >= 99.90 %, late_failures <= 5 and 1 more.",
				"Before you rely on it, try --trials 10: what happens in up to 63.2 % of trials need not show in 3 trials. No request was lost by any design: one that must fail (positive_controls) shows that the experiment can tell."}},
		{"losses within the limit", []record.Gate{failed}, []string{"bad"}, []judge.Trial{trial("bad", 1, 3000), trial("good", 1, 1)},
			advice{"failed <= 5 was met. bad, which must fail here, lost 3,000 of 20,000: this experiment can tell good from bad. good: the one lost request found nobody to go to, 0.000 s into the rollout: no instance was called ready.",
				"Take old instances away only when new ones are ready: max_unavailable 0, and surge instead."}},
		{"a wait that no gate limits", []record.Gate{failed}, []string{"bad"}, []judge.Trial{trial("bad", 1, 3000), slow},
			advice{held + "But a request took 1.48 s with good, and no gate limits that. A" + cause, few}},
		{"a wait that a gate limits", []record.Gate{failed, wait}, []string{"bad"}, []judge.Trial{trial("bad", 1, 3000), slow},
			advice{"both gates were met: failed <= 5 and slowest_request <= 2.00 s. bad, which must fail here, lost 3,000 of 20,000: this experiment can tell good from bad. A" + cause, few}},
		{"a standstill, and failures behind the window", []record.Gate{failed}, []string{"bad"}, []judge.Trial{trial("bad", 1, 3000), dead},
			advice{held + "But for 1.40 s nothing was answered by good, and no gate limits that. But 7 more requests of good failed behind the window, and no gate limits that. A" + cause, few}},
		{"enough trials", []record.Gate{failed}, []string{"bad"}, append([]judge.Trial{trial("bad", 1, 3000)}, ten...),
			advice{"failed <= 5 was met. bad, which must fail here, lost 3,000 of 20,000: this experiment can tell good from bad. A" + cause, ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desc := record.Run{Scenarios: []record.Scenario{{Name: "rollout", Designs: []string{"bad", "good"}, Positive: tc.positive, Gates: tc.gates}}}
			run := judge.Judge(desc, &record.RunEnd{}, nil, tc.trials)
			for i := range run.Gates { // what the gates of other metrics saw is no matter here
				run.Gates[i].Verdict = judge.Pass
			}
			run.Verdict = judge.Pass
			if got := adviseOnRun(&run); got != tc.want {
				t.Errorf("\n got %q\nwant %q", got, tc.want)
			}
		})
	}
}
