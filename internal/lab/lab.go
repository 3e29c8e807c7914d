// Package lab is the engine: it turns scenarios, drivers and designs into trials, runs
// them in an order that is fair to both arms, and leaves a record behind. It is the only
// place that knows the order of things. It draws no conclusions of its own: whether a
// trial counts is asked of judge, over the files that the trial wrote.
package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/load"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// MaxRepeats is how often an invalid trial is repeated.
const MaxRepeats = 2

// Config is what to run.
type Config struct {
	RunID     string // from NewRunID
	Dir       string // the run's folder; must not exist, or be empty
	Scenarios []*scenarios.Scenario
	Drivers   []drivers.Driver
	Tool      record.Tool
	Command   string    // as typed, for the report
	Began     time.Time // when the run began, if that was before Run is called
	Labels    map[string]string
	// Baseline, when not nil, says what of earlier runs the run is held against.
	Baseline func(record.Run) *record.Baseline
	Progress Progress
	// Begins, when not nil, is told how long the run will take, right before its first trial.
	Begins    func(Estimate)
	Watch     []Watch           // what else is watched during each trial
	Preflight *record.Preflight // which rate the machine holds, where that was asked
	LeftOut   []record.LeftOut  // scenarios of a suite that are not among Scenarios, or not on every driver
	// MaxTime bounds the run but for what has to be removed at its end: no trial is begun that
	// will not have ended by then, and one that is not over then is cut short, unless it runs a
	// command of the user's. 0 means that nothing bounds it.
	MaxTime time.Duration
	// Hold, when not nil, is called with the environment of the last trial before it is
	// closed, and keeps it until it returns.
	Hold func(ctx context.Context, env drivers.Env)

	calm        time.Duration // instead of scenarios.Calm
	feignFaults bool          // see fault.Plan.Feigned
}

// NewRunID makes a run's ID: it sorts by time and is unique without coordination.
func NewRunID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return now.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(b[:])
}

// EnvironmentError is trouble with the surroundings and not with what was measured: a
// driver that is not there, a deployment that failed, a disk that is full.
type EnvironmentError struct {
	What string // what could not be done
	Err  error
}

func (e *EnvironmentError) Error() string { return e.What + ": " + e.Err.Error() }
func (e *EnvironmentError) Unwrap() error { return e.Err }

// Run runs everything and leaves the record in cfg.Dir. The error is about the harness
// (an *EnvironmentError, or ctx's error when it was interrupted); what the trials
// showed is for Judge to say. The record is readable whatever the error.
func Run(ctx context.Context, cfg Config) (err error) {
	began := cfg.Began
	if began.IsZero() {
		began = time.Now()
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Update) {}
	}
	skipped, usable, checkErr := checkDrivers(ctx, cfg)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(usable) == 0 {
		return checkErr
	}
	if err := errors.Join(findCommands(cfg.Scenarios), prepare(cfg.Scenarios, usable)); err != nil {
		return err
	}
	c := newCourse(cfg, began, usable)
	if err := c.hasRoom(); err != nil {
		return err
	}
	c.plan = describeRun(ctx, cfg, began, usable, c.schedule.rest())
	var mask *record.Mask
	for _, s := range cfg.Scenarios {
		mask = mask.With(s.Secrets...)
	}
	w, err := record.CreateRun(cfg.Dir, c.plan, mask)
	if err != nil {
		return &EnvironmentError{"create the run's folder", err}
	}
	defer func() {
		end := record.RunEnd{
			Ended: time.Now().UTC().Format(time.RFC3339), Duration: time.Since(began),
			Interrupted: c.interrupted, Skipped: append(skipped, c.skipped...), Stopped: c.stopped(),
		}
		if endErr := w.End(end); endErr != nil {
			err = errors.Join(err, &EnvironmentError{"close the run's record", endErr})
		}
	}()
	if cfg.Begins != nil {
		cfg.Begins(c.estimate())
	}
	if err := c.run(ctx, w); err != nil {
		return errors.Join(checkErr, err)
	}
	return checkErr
}

// prepare makes sure that this process can hold the load of every trial: where one could not
// be measured to its end, nothing is deployed.
func prepare(ss []*scenarios.Scenario, ds []drivers.Driver) error {
	for _, s := range ss {
		for _, d := range driversOf(s, ds) {
			demand := load.Demand{
				Rate: s.Load.Rate, Hits: s.Planned(), Timeout: s.Load.Timeout,
				LabBalancer: drivers.CapabilitiesOf(d).LabBalancer, Reference: referenceRate,
			}
			for stream, weight := range s.Load.Streams {
				if weight > 0 {
					demand.Kept += s.Connections(stream)
				}
			}
			if err := demand.Prepare(); err != nil {
				return &EnvironmentError{fmt.Sprintf("scenario %s on %s", s.Name, d.Name()), err}
			}
		}
	}
	return nil
}

func checkDrivers(ctx context.Context, cfg Config) (skipped []record.Skipped, usable []drivers.Driver, err error) {
	for _, d := range cfg.Drivers {
		checkErr := d.Check(ctx)
		if checkErr == nil {
			usable = append(usable, d)
			continue
		}
		err = errors.Join(err, &EnvironmentError{"driver " + d.Name(), checkErr})
		for _, s := range cfg.Scenarios {
			if len(driversOf(s, []drivers.Driver{d})) == 0 {
				continue
			}
			for _, design := range s.Designs {
				skipped = append(skipped, notRun(cell{s.Name, d.Name(), design.Name}, checkErr))
			}
		}
	}
	return skipped, usable, err
}

// notRun is what the record says of a cell that an error kept from being run.
func notRun(c cell, err error) record.Skipped {
	sk := record.Skipped{
		Scenario: c.scenario, Driver: c.driver, Design: c.design,
		Why: err.Error(), Unavailable: errors.Is(err, drivers.ErrUnavailable),
	}
	if h, ok := errors.AsType[*drivers.HintError](err); ok {
		sk.Hint = h.Hint
	}
	return sk
}

// ignoreCancel drops the errors that an interrupt makes everything return.
func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// measure judges one trial from its files.
func measure(dir, folder string) (judge.Trial, error) {
	r, err := record.OpenRun(dir)
	if err != nil {
		return judge.Trial{}, err
	}
	t, _, err := measureFolder(r, folder)
	return t, err
}

// manySamples is from how many on a trial's memory is given back before the next one is
// read: a trial of a million takes some 200 MB.
const manySamples = 200_000

// Judge reads a run's folder and judges it: the one way from a record to a verdict,
// used after a run and for `report DIR` alike. A trial that cannot be read counts as
// missing, with the reason, and costs the run its verdict but not its other trials.
func Judge(dir string) (*judge.Run, error) {
	r, err := record.OpenRun(dir)
	if err != nil {
		return nil, err // it names the file
	}
	missing := slices.Concat(r.Missing, r.Damage)
	var trials []judge.Trial
	for _, folder := range r.Folders {
		t, many, err := measureFolder(r, folder)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s (unreadable: %v)", folder, err))
			continue
		}
		trials = append(trials, t)
		if many {
			runtime.GC()
		}
	}
	run := judge.Judge(r.Run, r.End, missing, trials)
	return &run, nil
}

// measureFolder keeps the trial's data in a frame of its own, so that they are garbage
// when it returns.
func measureFolder(r *record.RunReader, folder string) (t judge.Trial, many bool, err error) {
	data, err := r.Trial(folder)
	if err != nil {
		return judge.Trial{}, false, err
	}
	return judge.Measure(data), len(data.Samples) >= manySamples, nil
}
