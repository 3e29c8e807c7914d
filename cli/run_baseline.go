package cli

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// baselineFlags say what earlier runs a run is held against.
type baselineFlags struct {
	file           string
	anyEnvironment bool
}

func (f *baselineFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.file, "baseline", "", "file of earlier runs that gates with against: baseline are held against (see rollout-lab baseline)")
	fl.BoolVar(&f.anyEnvironment, anyEnvironmentFlag, false, "compare with what was measured on another machine as well; every report says so")
}

// made is what the run is held against, nil where no file is named.
func (f *baselineFlags) made() (func(record.Run) *record.Baseline, error) {
	if f.file == "" && f.anyEnvironment {
		return nil, &usageError{errors.New("--" + anyEnvironmentFlag + " is for --baseline"), "name the file"}
	}
	if f.file == "" {
		return nil, nil
	}
	return pastRuns(f.file, f.anyEnvironment)
}
