package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// Driver is a driver that the command line offers.
type Driver struct {
	// Name is what users type, and what the driver's own Name returns.
	Name string
	// Flags defines the flags that the driver needs, each of them called NAME-something.
	// It is called once for every command that takes drivers, so the variables that the
	// flags set must be the same ones each time. nil means that there are none.
	Flags func(*flag.FlagSet)
	// Watch, when it is not "", is a flag that names instances to be watched by the driver,
	// which must be a drivers.Observer, and WatchUsage says in which words.
	Watch, WatchUsage string
	// New makes the driver once the flags are read. What takes long is told to progress,
	// a line at a time.
	New func(progress io.Writer) (drivers.Driver, error)
}

// driverFlags say which drivers a command works with.
type driverFlags struct {
	app   *app
	names []string
}

// register adds the flags to a command. what says what is done with the drivers.
func (f *driverFlags) register(fl *pflag.FlagSet, chosen []string, what string) {
	fl.StringSliceVar(&f.names, "driver", chosen, what)
	f.registerOwn(fl)
}

// registerOwn adds those that the drivers need.
func (f *driverFlags) registerOwn(fl *pflag.FlagSet) {
	for _, d := range f.app.drivers {
		if d.Flags == nil {
			continue
		}
		own := flag.NewFlagSet(d.Name, flag.ContinueOnError)
		d.Flags(own)
		fl.AddGoFlagSet(own)
	}
}

// chosen are the drivers that were named, in that order, or all of them when none was.
func (f *driverFlags) chosen() ([]drivers.Driver, error) {
	offered := f.app.drivers
	if len(f.names) > 0 {
		offered = nil
		for _, name := range f.names {
			n := slices.IndexFunc(f.app.drivers, func(d Driver) bool { return d.Name == name })
			if n < 0 {
				return nil, &usageError{fmt.Errorf("unknown driver %q", name), "drivers: " + strings.Join(f.app.driverNames(), ", ")}
			}
			offered = append(offered, f.app.drivers[n])
		}
	}
	var out []drivers.Driver
	for _, d := range offered {
		made, err := d.make(f.app)
		if err != nil {
			return nil, err
		}
		out = append(out, made)
	}
	return out, nil
}

func (d Driver) make(a *app) (drivers.Driver, error) {
	made, err := d.New(a.Err)
	if err != nil {
		return nil, &environmentError{fmt.Errorf("driver %s: %w", d.Name, err), ""}
	}
	return made, nil
}

// chosenFor are the drivers for scenarios: those that were named, and for what answers at an
// address already the one that deploys nothing, whether or not it was. asked says that they
// were named by the user.
func (f *driverFlags) chosenFor(ss []*scenarios.Scenario, asked bool) ([]drivers.Driver, error) {
	deployed := slices.ContainsFunc(ss, func(s *scenarios.Scenario) bool { return !s.Target.Address() })
	found := slices.ContainsFunc(ss, func(s *scenarios.Scenario) bool { return s.Target.Address() })
	var out []drivers.Driver
	if deployed || asked {
		named, err := f.chosen()
		if err != nil {
			return nil, err
		}
		out = named
	}
	existing := func(d drivers.Driver) bool { return drivers.CapabilitiesOf(d).Existing }
	for _, d := range out {
		if existing(d) && !found {
			return nil, &usageError{fmt.Errorf("driver %s deploys nothing", d.Name()), "it is for scenarios with target: {url: ...}"}
		}
		if !existing(d) && !deployed {
			return nil, &usageError{fmt.Errorf("driver %s deploys what it measures, and the target is an address", d.Name()), "leave out --driver"}
		}
	}
	if !found || slices.ContainsFunc(out, existing) {
		return out, nil
	}
	for _, d := range f.app.drivers {
		made, err := d.make(f.app)
		if err != nil {
			return nil, err
		}
		if existing(made) {
			return append(out, made), nil
		}
	}
	return nil, errors.New("this program has no driver for a target that is an address")
}

// watchFlags say what else is watched during trials.
type watchFlags struct {
	app   *app
	names map[string]*[]string // by driver
}

// register adds a flag for each driver that can watch.
func (f *watchFlags) register(fl *pflag.FlagSet) {
	f.names = map[string]*[]string{}
	for _, d := range f.app.drivers {
		if d.Watch != "" {
			f.names[d.Name] = fl.StringArray(d.Watch, nil, d.WatchUsage)
		}
	}
}

// made is what is watched, by drivers that are made for that.
func (f *watchFlags) made(a *app) (all []lab.Watch, err error) {
	for _, d := range a.drivers {
		if d.Watch == "" || len(*f.names[d.Name]) == 0 {
			continue
		}
		made, err := d.make(a)
		if err != nil {
			return nil, err
		}
		observer, ok := made.(drivers.Observer)
		if !ok {
			return nil, fmt.Errorf("driver %s cannot watch what it has not deployed", d.Name)
		}
		for _, what := range *f.names[d.Name] {
			all = append(all, lab.Watch{Driver: observer, What: what})
		}
	}
	return all, nil
}

// driverNames are the drivers' names, the default one first.
func (a *app) driverNames() []string {
	var out []string
	for _, d := range a.drivers {
		out = append(out, d.Name)
	}
	return out
}

// checkDrivers refuses a list of drivers that users could not tell apart.
func checkDrivers(ds []Driver) error {
	if len(ds) == 0 {
		return errors.New("this program has no driver")
	}
	seen := map[string]bool{}
	for _, d := range ds {
		if d.Name == "" || d.New == nil || seen[d.Name] {
			return fmt.Errorf("driver %q: want a name of its own, and New", d.Name)
		}
		seen[d.Name] = true
		if d.Flags == nil {
			continue
		}
		var err error
		own := flag.NewFlagSet(d.Name, flag.ContinueOnError)
		d.Flags(own)
		own.VisitAll(func(f *flag.Flag) {
			if !strings.HasPrefix(f.Name, d.Name+"-") {
				err = fmt.Errorf("driver %s: flag --%s does not begin with the driver's name", d.Name, f.Name)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// closeDrivers takes down what drivers have made for themselves, also after Ctrl-C.
func closeDrivers(ctx context.Context, ds []drivers.Driver) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	var errs error
	for _, d := range ds {
		c, ok := d.(drivers.Closer)
		if !ok {
			continue
		}
		if err := c.Close(ctx); err != nil {
			errs = errors.Join(errs, &environmentError{fmt.Errorf("clean up driver %s: %w", d.Name(), err), "rollout-lab clean removes what is left"})
		}
	}
	return errs
}

// closeLimit is how long it may take to take down a cluster.
const closeLimit = 2 * time.Minute
