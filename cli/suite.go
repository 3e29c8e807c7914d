package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// needScenarios refuses a command that names neither scenarios nor a suite.
func needScenarios(suite *string) cobra.PositionalArgs {
	need := needArgs("a scenario or --suite", "rollout-lab list shows the catalogue")
	return func(cmd *cobra.Command, args []string) error {
		if *suite != "" {
			return nil
		}
		return need(cmd, args)
	}
}

// suiteScenarios are the names of a suite's scenarios, but for those that are named beside it.
func suiteScenarios(suite string, named []string) ([]string, error) {
	if suite == "" {
		return nil, nil
	}
	all, err := scenarios.Catalogue()
	if err != nil {
		return nil, err
	}
	if suites := suiteNames(); !slices.Contains(suites, suite) {
		return nil, &usageError{fmt.Errorf("no suite %q", suite), didYouMean("", suite, suites, "suites: "+strings.Join(suites, ", "))}
	}
	var names []string
	for _, s := range all {
		if s.Suite == suite && !slices.Contains(named, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names, nil
}

// suiteNames are the suites of the catalogue.
func suiteNames() []string {
	all, err := scenarios.Catalogue()
	if err != nil {
		return nil // list says so
	}
	suites, _ := bySuite(all)
	return slices.DeleteFunc(suites, func(suite string) bool { return suite == "" })
}

// withoutImpossible leaves out those scenarios of a suite with faults that no driver can do here,
// and of the others the drivers that cannot, and says which. What was named is refused instead, by
// lab.Review.
func withoutImpossible(ctx context.Context, stderr io.Writer, ss []*scenarios.Scenario, named []string, ds []drivers.Driver) (left []*scenarios.Scenario, out []record.LeftOut, err error) {
	for _, s := range ss {
		if !slices.Contains(named, s.Name) {
			var not []record.LeftOut
			s, not = onWhatCan(ctx, s, ds)
			out = append(out, not...)
			if !slices.ContainsFunc(ds, func(d drivers.Driver) bool { return lab.Runs(s, d) }) {
				continue
			}
		}
		left = append(left, s)
	}
	for _, l := range out {
		fmt.Fprintf(stderr, "note: %s is left out on %s: %s\n", l.Scenario, l.Driver, l.Why)
	}
	if len(left) == 0 {
		return nil, nil, &environmentError{fmt.Errorf("none of the suite's scenarios can be run on these drivers"), "rollout-lab doctor says which faults each driver can do"}
	}
	return left, out, nil
}

// onWhatCan is a scenario without the drivers that cannot do its faults here.
func onWhatCan(ctx context.Context, s *scenarios.Scenario, ds []drivers.Driver) (_ *scenarios.Scenario, out []record.LeftOut) {
	can := *s
	for _, d := range ds {
		all := lab.Faults(ctx, []*scenarios.Scenario{s}, []drivers.Driver{d})
		if len(all) == 0 {
			continue
		}
		can.NotOn = append(slices.Clone(can.NotOn), d.Name())
		var why []string
		for _, u := range all {
			why = append(why, u.Err.Error())
		}
		out = append(out, record.LeftOut{Scenario: s.Name, Driver: d.Name(), Why: strings.Join(why, "; ")})
	}
	return &can, out
}

// bySuite are the scenarios by their suites: first those of none, then suite by suite.
func bySuite(all []*scenarios.Scenario) (suites []string, of map[string][]*scenarios.Scenario) {
	of = map[string][]*scenarios.Scenario{}
	for _, s := range all {
		if of[s.Suite] == nil {
			suites = append(suites, s.Suite)
		}
		of[s.Suite] = append(of[s.Suite], s)
	}
	slices.Sort(suites)
	return suites, of
}

// happens is what happens in a scenario, in the words of results: its action, and its faults.
func happens(s *scenarios.Scenario) string {
	var words []string
	if s.Action.Kind != scenarios.None || len(s.Faults) == 0 {
		words = append(words, s.ActionName())
	}
	for _, f := range s.Faults {
		if !slices.Contains(words, string(f.Kind)) {
			words = append(words, string(f.Kind))
		}
	}
	return strings.Join(words, " + ")
}

// tellFaults writes which faults a driver can do here, and why not the others that it knows.
func tellFaults(ctx context.Context, out io.Writer, d drivers.Driver) {
	faulter, ok := d.(drivers.Faulter)
	if !ok {
		return
	}
	whyNot := faulter.Faults(ctx)
	var can []string
	for _, kind := range drivers.FaultKinds() {
		if why, known := whyNot[kind]; known && why == nil {
			can = append(can, string(kind))
		}
	}
	if len(can) > 0 {
		fmt.Fprintf(out, "  faults: %s\n", strings.Join(can, ", "))
	}
	for _, kind := range drivers.FaultKinds() {
		why := whyNot[kind]
		if why == nil {
			continue
		}
		fmt.Fprintf(out, "  no fault %s: %v\n", kind, why)
		for _, hint := range hints(why) {
			fmt.Fprintf(out, "    hint: %s\n", hint)
		}
	}
}
