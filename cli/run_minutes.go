package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// trialsFlag is how many trials there are to be: 3, or 3..8. It is a pflag.Value.
type trialsFlag record.TrialRange

func (f *trialsFlag) String() string {
	if *f == (trialsFlag{}) {
		return "" // nothing was said
	}
	return record.TrialRange(*f).String()
}

func (f *trialsFlag) Type() string { return "N|N..M" }

func (f *trialsFlag) Set(text string) error {
	r, err := scenarios.ParseTrials(text)
	if err != nil {
		return err
	}
	*f = trialsFlag(r)
	return nil
}

// timeFlags say how long a run may take.
type timeFlags struct{ max time.Duration }

func (f *timeFlags) register(fl *pflag.FlagSet) {
	fl.DurationVar(&f.max, "max-time", 0, "how long the run may take in all, such as 5m: no trial is begun that would end later (default: as long as it takes)")
}

// check refuses times that make no sense, and what needs to know beforehand which trial is the last.
func (f *runFlags) checkTime(ss []*scenarios.Scenario) error {
	if f.time.max < 0 {
		return &usageError{fmt.Errorf("--max-time %v is negative", f.time.max), "such as --max-time 5m"}
	}
	for _, s := range ss {
		if f.keep && s.Trials.Open() {
			return &usageError{errors.New("--keep keeps the last trial, and with trials: " + s.Trials.String() + " which that is shows only behind it"), fmt.Sprintf("--trials %d", s.Trials.Least)}
		}
	}
	return nil
}

// estimateText says how long a run will take.
func estimateText(e lab.Estimate) string {
	text := fmt.Sprintf("%s, about %s", format.Plural(e.Trials, "trial", "trials"), minutes(e.Takes))
	if e.Most > e.Trials {
		text = fmt.Sprintf("%d to %d trials, about %s", e.Trials, e.Most, format.Between(minutes(e.Takes), minutes(e.TakesAtMost)))
	}
	if e.MaxTime > 0 {
		text += ", at most " + minutes(e.MaxTime)
	}
	var besides []string
	if e.Commands {
		besides = append(besides, "as long as the commands take")
	}
	if len(e.Prepares) > 0 {
		besides = append(besides, "what "+strings.Join(e.Prepares, " and ")+" may have to make first")
	}
	if len(besides) > 0 {
		text += ", and " + strings.Join(besides, ", and ")
	}
	return text
}

// minutes prints how long something may take, rounded up to a second.
func minutes(d time.Duration) string {
	d = (d + time.Second - 1).Truncate(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return format.Span(d)
}
