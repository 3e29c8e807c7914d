package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports"
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

// rateFlag is how many requests a second there are to be, or that the machine chooses. It is a
// pflag.Value.
type rateFlag struct {
	value float64
	auto  bool
}

func (f *rateFlag) String() string {
	switch {
	case f.auto:
		return "auto"
	case f.value == 0:
		return "" // nothing was said
	}
	return strconv.FormatFloat(f.value, 'g', -1, 64)
}

func (f *rateFlag) Type() string { return "R|auto" }

func (f *rateFlag) Set(text string) error {
	if f.auto = text == "auto"; f.auto {
		return nil
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%q is neither a number nor auto", text)
	}
	f.value = value
	return nil
}

// preflight sees which rate this machine holds, where there is a reason to, and says so; with
// --rate auto it is what the scenarios run at.
func (f *runFlags) preflight(ctx context.Context, a *app, ss []*scenarios.Scenario) (*record.Preflight, error) {
	p, err := lab.Preflight(ctx, ss, f.rate.auto)
	if err != nil || p == nil {
		return nil, err
	}
	if p.Auto {
		if err := lab.ChooseRates(ss, p); err != nil {
			return nil, &drivers.HintError{Err: err, Hint: "at the rate that this machine holds this cannot be decided: " + reports.HeldText(*p)}
		}
		fmt.Fprintln(a.Err, "--rate auto: "+reports.HeldText(*p))
		for _, s := range ss {
			if asked, lowered := p.Instead[s.Name]; lowered {
				fmt.Fprintf(a.Err, "  %s runs at %s instead of %s\n", s.Name, reports.FlagRate(s.Load.Rate), reports.FlagRate(asked))
			}
		}
		return p, nil
	}
	for _, s := range ss {
		if s.Load.Rate > p.Held {
			fmt.Fprintf(a.Err, "scenario %s asks for %s requests a second: %s\n", s.Name, reports.FlagRate(s.Load.Rate), reports.HeldText(*p))
			hint := "--rate " + reports.FlagRate(p.Held) + " would do, and --rate auto takes it"
			if p.Held == 0 {
				hint = "see what else takes the CPUs here: on this machine no rate says anything of a service"
			}
			fmt.Fprintln(a.Err, "hint: "+hint)
		}
	}
	return p, nil
}

// timeFlags say how long a run may take.
type timeFlags struct {
	max   time.Duration
	began time.Time
}

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
