package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/baseline"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/spelling"
	"github.com/rollout-lab/rollout-lab/reports"
)

// compareFlags are the flags of `compare`.
type compareFlags struct {
	metrics, designs []string
	margin           time.Duration
	anyEnvironment   bool
	json, markdown   bool
}

func compareCommand(a *app) *cobra.Command {
	var f compareFlags
	cmd := &cobra.Command{
		Use: "compare BASE NEW", Short: "Hold one run against another",
		Long: `Holds a run against an earlier one, each a folder or its results.json: of every cell that
both have, whether it is worse, by the exact rank test over the trials. The exit code is
that of a run: 1 where something is surely worse by more than the margin, 2 where the
trials do not say or do not fit. Designs that must fail inform and decide nothing.`,
		Example: "  rollout-lab compare main/results.json pr/results.json\n  rollout-lab compare main pr --metric downtime,recovery --margin 100ms --markdown",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return &usageError{fmt.Errorf("%s needs two runs, the earlier one first", cmd.CommandPath()), "each a folder, or its results.json; runs are kept in rollout-lab-runs"}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			compared, err := f.compare(args[0], args[1])
			if err != nil {
				return err
			}
			switch {
			case f.json:
				err = writeJSON(a.Out, compared.JSON())
			case f.markdown:
				err = reports.WriteComparisonMarkdown(a.Out, compared)
			default:
				err = reports.WriteComparison(a.Out, compared, terminalOptions(a.Out, ""))
			}
			if err != nil {
				return &environmentError{err, ""}
			}
			if v := compared.Verdict(); v != judge.Pass {
				return &verdictError{v}
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.metrics, "metric", []string{metric.Downtime}, "what is compared: times of which less is better")
	fl.StringSliceVar(&f.designs, "design", nil, "designs to compare (default: all)")
	fl.DurationVar(&f.margin, "margin", 0, "how much more is no matter (default: 50ms, or 20 % if that is more)")
	fl.BoolVar(&f.anyEnvironment, anyEnvironmentFlag, false, "compare what was measured on another machine as well, and say so")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	fl.BoolVar(&f.markdown, "markdown", false, "print Markdown")
	cmd.MarkFlagsMutuallyExclusive("json", "markdown")
	return cmd
}

// chosen are the metrics to compare.
func (f *compareFlags) chosen() (all []metric.Metric, err error) {
	var names []string
	for _, m := range metric.All() {
		if m.Comparable() {
			names = append(names, m.Name)
		}
	}
	for _, name := range f.metrics {
		m, known := metric.ByName(name)
		switch {
		case !known:
			hint := "one of " + strings.Join(names, ", ")
			if near := spelling.Nearest(name, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			return nil, &usageError{fmt.Errorf("--metric %s: there is no such metric", name), hint}
		case !m.Comparable():
			return nil, &usageError{fmt.Errorf("--metric %s cannot be compared: it is no time of which less is better", name), "one of " + strings.Join(names, ", ")}
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, &usageError{errors.New("--metric names nothing"), "such as downtime"}
	}
	if f.margin < 0 {
		return nil, &usageError{fmt.Errorf("--margin must not be negative: %v", f.margin), ""}
	}
	return all, nil
}

// compare holds a run against another one.
func (f *compareFlags) compare(base, now string) (*reports.Compared, error) {
	metrics, err := f.chosen()
	if err != nil {
		return nil, err
	}
	was, err := readMeasured(base)
	if err != nil {
		return nil, err
	}
	is, err := readMeasured(now)
	if err != nil {
		return nil, err
	}
	if was.RunID == is.RunID {
		return nil, &usageError{fmt.Errorf("%s and %s are the same run", base, now), "the earlier run comes first"}
	}
	file := baseline.New()
	if _, err := file.Add(measuredRun(was), false); err != nil && !errors.Is(err, baseline.ErrEmpty) {
		return nil, &usageError{fmt.Errorf("%s: %w", base, err), ""}
	}
	out := &reports.Compared{Base: was.Measured(base), New: is.Measured(now)}
	past := file.For(begun(is), base, f.anyEnvironment)
	run := measuredRun(is)
	for i := range run.Cells {
		c := &run.Cells[i]
		if !f.wants(c.Design) {
			continue
		}
		cell := record.PastCell{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action, Design: c.Design, Trials: c.Trials}
		for _, m := range metrics {
			made := judge.ComparePast(past, cell, m, f.margin)
			made.Gated = !mustFail(is, c)
			out.Comparisons = append(out.Comparisons, made)
		}
	}
	for _, c := range measuredRun(was).Cells {
		if f.wants(c.Design) && !slices.ContainsFunc(run.Cells, func(o baseline.Cell) bool { return o.Key() == c.Key() }) {
			out.Absent = append(out.Absent, c.Key())
		}
	}
	for _, c := range past.Cells {
		if len(c.Differs) > 0 && !c.Refused && f.wants(c.Design) {
			out.Warnings = append(out.Warnings, judge.Reason{Kind: judge.ComparedAllTheSame, Cell: c.Scenario + "/" + c.Driver + "/" + c.Design, Differs: c.Differs})
		}
	}
	return out, nil
}

func (f *compareFlags) wants(design string) bool {
	return len(f.designs) == 0 || slices.Contains(f.designs, design)
}

// begun is a run as it was when it began, as far as its results say.
func begun(doc *reports.Document) record.Run {
	run := record.Run{ID: doc.RunID, Started: doc.Started, Environment: measuredRun(doc).Environment}
	for _, s := range doc.Scenarios {
		run.Scenarios = append(run.Scenarios, record.Scenario{Name: s.Name, Action: s.Action, Designs: s.Designs, Conditions: s.Conditions})
	}
	return run
}

// mustFail reports whether a cell is one that must fail, by its run's own controls.
func mustFail(doc *reports.Document, c *baseline.Cell) bool {
	cell := judge.Cell{Scenario: c.Scenario, Driver: c.Driver, Design: c.Design}
	return slices.ContainsFunc(doc.Controls, func(of reports.Control) bool { return of.Kind == "positive" && of.Cell == cell.Key() })
}
