package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// course is how a run goes: which trials there are, how long they take and what they have shown.
type course struct {
	cfg      Config
	began    time.Time
	plan     record.Run
	schedule *schedule
	pace     pace
	repeats  repeater

	trials      int // begun
	measured    []judge.Trial
	skipped     []record.Skipped
	failed      error                                  // what kept trials from being measured
	unfit       map[*group]*unfit                      // what had no time left
	resets      map[string]func(context.Context) error // by scenario: what comes before its next trial
	interrupted bool
}

// unfit are the trials of a group that would not have ended in time.
type unfit struct {
	planned []plannedTrial
	repeats int
}

func newCourse(cfg Config, began time.Time, ds []drivers.Driver) *course {
	return &course{
		cfg: cfg, began: began, schedule: newSchedule(cfg.Scenarios, ds, cfg.MaxTime > 0),
		repeats: repeater{used: map[cell]map[int]int{}, next: map[cell]int{}},
		unfit:   map[*group]*unfit{}, resets: map[string]func(context.Context) error{},
	}
}

// errTimeUp ends the trial that is under way when the run's time is up.
var errTimeUp = errors.New("the time of the run was up")

// TooShortError says that a run's MaxTime has no room for one trial of each driver and design.
type TooShortError struct {
	MaxTime, Needs time.Duration
	Trials         int
}

func (e *TooShortError) Error() string {
	return fmt.Sprintf("one trial of each driver and design, %d in all, takes about %v, and the run may take %v", e.Trials, wholeSeconds(e.Needs), e.MaxTime)
}

// Hint is the way out.
func (e *TooShortError) Hint() string {
	return fmt.Sprintf("--max-time %v or more; or less to run: fewer drivers or designs, a shorter --window", wholeSeconds(e.Needs))
}

// wholeSeconds is a time that is enough, for people.
func wholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// hasRoom reports where the time does not even suffice for one trial of each cell.
func (c *course) hasRoom() error {
	var first []plannedTrial
	for _, t := range c.schedule.rest() {
		if t.n == 1 {
			first = append(first, t)
		}
	}
	needs := time.Since(c.began) + c.pace.all(first)
	if c.cfg.MaxTime > 0 && needs > c.cfg.MaxTime {
		return &TooShortError{MaxTime: c.cfg.MaxTime, Needs: needs, Trials: len(first)}
	}
	return nil
}

// run runs the trials, batch by batch: repeats of invalid ones come behind the batch. The error
// is what kept the run, or a trial, from going on.
func (c *course) run(ctx context.Context, w *record.RunWriter) error {
	for {
		batch, groups := c.schedule.next()
		if len(batch) == 0 {
			return c.failed
		}
		for i := 0; i < len(batch); i++ {
			t, ahead := batch[i], slices.Concat(batch[i+1:], c.schedule.rest())
			if !c.fits(t) {
				c.leaveOut(t)
				continue
			}
			measured, err := c.trial(ctx, w, t, ahead)
			if err != nil {
				return errors.Join(c.failed, err)
			}
			// A command of the user's is run as often as was asked for, and not once more.
			if measured != nil && !measured.Valid && !measured.Stands && !t.scenario.Target.Address() {
				if again, ok := c.repeats.again(t); ok {
					batch = append(batch, again)
				}
			}
		}
		for _, g := range groups {
			c.decide(g)
		}
	}
}

// fits says whether a trial will have ended before the time is up.
func (c *course) fits(t plannedTrial) bool {
	return c.cfg.MaxTime == 0 || time.Since(c.began)+c.pace.of(t) <= c.cfg.MaxTime
}

// leaveOut notes a trial for which there is no time.
func (c *course) leaveOut(t plannedTrial) {
	g := c.group(t)
	if c.unfit[g] == nil {
		c.unfit[g] = &unfit{}
	}
	if t.repeats != 0 {
		c.unfit[g].repeats++
	} else {
		c.unfit[g].planned = append(c.unfit[g].planned, t)
	}
}

func (c *course) group(t plannedTrial) *group {
	i := slices.IndexFunc(c.schedule.groups, func(g *group) bool { return g.scenario == t.scenario && g.driver == t.driver })
	return c.schedule.groups[i]
}

// decide says whether more trials of a group are to come. Where there was no time for one there
// is none for those behind it, and where their number is open it is for judge to say.
func (c *course) decide(g *group) {
	open := g.scenario.Trials.Open()
	why, stop := record.MostTrials, open && g.over()
	if open && !stop {
		why, stop = judge.Stop(c.plan, c.skipped, c.measured, g.scenario.Name, g.driver.Name())
	}
	left := c.unfit[g]
	if left != nil && why != record.VerdictFinal {
		why, stop = record.OutOfTime, true
	}
	if !stop {
		return
	}
	st := &record.Stopped{Scenario: g.scenario.Name, Driver: g.driver.Name(), Why: why, Rounds: g.rounds}
	rest := c.schedule.restOf(g)
	if left != nil {
		rest = slices.Concat(left.planned, rest)
		st.Repeats = left.repeats
	}
	for _, t := range rest {
		st.NotRun = append(st.NotRun, t.folder())
	}
	if why == record.OutOfTime {
		st.Needs = c.pace.all(rest)
	}
	g.stopped = st
}

// stopped are the groups of which the record says why they have no more trials.
func (c *course) stopped() (all []record.Stopped) {
	for _, g := range c.schedule.groups {
		if g.stopped != nil {
			all = append(all, *g.stopped)
		}
	}
	return all
}

// trial runs a trial and says what it showed, nil where nothing was measured. The error ends the
// run.
func (c *course) trial(ctx context.Context, w *record.RunWriter, t plannedTrial, ahead []plannedTrial) (*judge.Trial, error) {
	began := time.Now()
	c.trials++
	tr := trial{cfg: c.cfg, plannedTrial: t, index: c.trials, of: c.trials + len(ahead), left: c.left(t, began, ahead)}
	if len(ahead) == 0 {
		tr.hold = c.cfg.Hold
	}
	if reset := c.resets[t.scenario.Name]; reset != nil {
		delete(c.resets, t.scenario.Name)
		if err := reset(ctx); err != nil {
			return nil, err
		}
	}
	timed, cancel := c.bounded(ctx, t)
	defer cancel()
	folder, err := tr.run(timed, w)
	if ctx.Err() != nil && (len(ahead) > 0 || !tr.observed) {
		c.interrupted = true
		return nil, errors.Join(context.Cause(ctx), ignoreCancel(err))
	}
	if errors.Is(err, errRecord) {
		return nil, err // without a record there is no point in going on
	}
	if err != nil && folder == "" && context.Cause(timed) == errTimeUp {
		c.leaveOut(t) // its deployment took longer than was left
		c.cfg.Progress(tr.update(PhaseFailed, errTimeUp.Error()))
		return nil, nil
	}
	if err != nil {
		c.notMeasured(t, err)
		c.cfg.Progress(tr.update(PhaseFailed, err.Error()))
		return nil, nil
	}
	measured, err := measure(c.cfg.Dir, folder)
	if err != nil {
		return nil, &EnvironmentError{"read back " + folder, err}
	}
	c.cfg.Progress(tr.done(measured))
	c.measured = append(c.measured, measured)
	c.pace.measured(t, time.Since(began)-tr.preparing)
	c.resets[t.scenario.Name] = func(ctx context.Context) error {
		return tr.reset(ctx, filepath.Join(c.cfg.Dir, filepath.FromSlash(folder)))
	}
	return &measured, nil
}

// bounded is the context of a trial, which ends when the time is up. A command of the user's is
// not cut short: nobody knows what half of it leaves behind.
func (c *course) bounded(ctx context.Context, t plannedTrial) (context.Context, context.CancelFunc) {
	if c.cfg.MaxTime == 0 || t.scenario.Target.Address() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, c.began.Add(c.cfg.MaxTime), errTimeUp)
}

// left says how long the run still takes at most.
func (c *course) left(t plannedTrial, began time.Time, ahead []plannedTrial) func() time.Duration {
	takes, then := c.pace.of(t), c.pace.all(ahead)
	return func() time.Duration {
		left := max(takes-time.Since(began), 0) + then
		if c.cfg.MaxTime > 0 {
			left = min(left, max(c.cfg.MaxTime-time.Since(c.began), 0))
		}
		return left
	}
}

// notMeasured notes a trial of which nothing was measured. The other cells may still work; the
// run as a whole reports the trouble, but for a target that does not serve: that is a result.
func (c *course) notMeasured(t plannedTrial, err error) {
	byTarget := errors.Is(err, drivers.ErrNotServing)
	if !byTarget {
		c.failed = errors.Join(c.failed, fmt.Errorf("%s: %w", t, err))
	}
	sk := notRun(t.cell(), err)
	sk.Why, sk.ByTarget = fmt.Sprintf("trial %d: %v", t.n, err), byTarget
	c.skipped = append(c.skipped, sk)
}
