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
)

// Driver is a driver that the command line offers.
type Driver struct {
	// Name is what users type, and what the driver's own Name returns.
	Name string
	// Flags defines the flags that the driver needs, each of them called NAME-something.
	// It is called once for every command that takes drivers, so the variables that the
	// flags set must be the same ones each time. nil means that there are none.
	Flags func(*flag.FlagSet)
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
		made, err := d.New(f.app.Err)
		if err != nil {
			return nil, &environmentError{fmt.Errorf("driver %s: %w", d.Name, err), ""}
		}
		out = append(out, made)
	}
	return out, nil
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
