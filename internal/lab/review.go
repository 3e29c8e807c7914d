package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// Review asks the drivers themselves what they make of the scenarios, before anything is
// started. The error, scenarios.Errors in the order of the files, holds what a driver refuses
// and what it needs and cannot find; remarks are what it emulates, what it does not do and what
// it is not sure to find, each with its position. One thing that several designs ask for is
// said once. Faults that a driver cannot do here are an *EnvironmentError: elsewhere it may.
func Review(ctx context.Context, ss []*scenarios.Scenario, ds []drivers.Driver) (remarks []*scenarios.Error, err error) {
	var problems scenarios.Errors
	for _, s := range ss {
		if s.Target.Address() {
			continue // nothing is deployed, by whatever driver
		}
		for _, d := range driversOf(s, ds) {
			r := review{ctx: ctx, scenario: s, driver: d, seen: map[string]*said{}}
			if err := r.run(); err != nil {
				return nil, err
			}
			for _, one := range r.all {
				switch e := one.problem(); {
				case one.fatal:
					problems = append(problems, e)
				default:
					remarks = append(remarks, e)
				}
			}
		}
	}
	if len(problems) > 0 {
		return remarks, problems
	}
	for _, u := range Faults(ctx, ss, ds) {
		err = errors.Join(err, &EnvironmentError{"scenario " + u.Scenario.Name, u})
	}
	return remarks, err
}

// review is what one driver makes of one scenario.
type review struct {
	ctx      context.Context
	scenario *scenarios.Scenario
	driver   drivers.Driver
	seen     map[string]*said
	all      []*said
}

// said is one thing that is said of a scenario: of which keys, and of which designs.
type said struct {
	scenario      *scenarios.Scenario
	path          string // of the first place
	keys, designs []string
	what, hint    string // what follows the keys
	fatal         bool
}

func (o *said) problem() *scenarios.Error {
	message := o.what
	if len(o.keys) > 0 {
		message = strings.Join(o.keys, ", ") + " " + o.what
	}
	if len(o.designs) > 1 && strings.HasPrefix(o.path, "designs[") {
		message += " (designs " + strings.Join(o.designs, ", ") + ")"
	}
	return o.scenario.ProblemAt(o.path, message, o.hint)
}

func (r *review) run() error {
	name := r.driver.Name()
	if _, err := r.scenario.For(name); err != nil {
		var problem *scenarios.Error
		if !errors.As(err, &problem) {
			return err
		}
		r.all = append(r.all, &said{scenario: r.scenario, path: "target.on", what: problem.Message, hint: problem.Hint, fatal: true})
		return nil
	}
	for i, design := range r.scenario.Designs {
		t, err := target.Build(r.scenario, design, name)
		if err != nil {
			return &EnvironmentError{"prepare the target", err}
		}
		for _, m := range drivers.SupportOf(r.driver).Remarks(t.Stack) {
			if m.How != drivers.Refused && isBuiltin(design) {
				continue // what each driver makes of those is in their description
			}
			key := m.Feature.Key()
			r.say(design.Name, key, &said{
				path: r.scenario.PathOf(i, name, key),
				what: fmt.Sprintf("%s on %s: %s", m.How, name, m.Why), hint: m.Hint, fatal: m.How == drivers.Refused,
			})
		}
		if e, ok := r.driver.(drivers.Examiner); ok {
			for _, f := range e.Examine(r.ctx, t.Stack) {
				r.say(design.Name, "", &said{path: r.scenario.PathOf(i, name, f.Feature.Key()), what: name + ": " + f.Message, hint: f.Hint, fatal: f.Fatal})
			}
		}
	}
	return nil
}

// say keeps what is said of a key of a design. What is said for the same reason of another key,
// or of another design, is no other thing.
func (r *review) say(design, key string, is *said) {
	one := r.seen[is.what]
	if one == nil {
		one = is
		one.scenario = r.scenario
		r.seen[is.what] = one
		r.all = append(r.all, one)
	}
	if key != "" && !slices.Contains(one.keys, key) {
		one.keys = append(one.keys, key)
	}
	if !slices.Contains(one.designs, design) {
		one.designs = append(one.designs, design)
	}
}

// isBuiltin says whether a design is one of the catalogue as it stands.
func isBuiltin(d scenarios.Design) bool {
	is, ok := scenarios.BuiltinDesign(d.Name)
	return ok && is.Equal(d)
}

// notesOf are what a report says of a stack on a driver, beside what its environment says.
func notesOf(d drivers.Driver, design scenarios.Design, stack drivers.Stack) []string {
	if isBuiltin(design) {
		return nil
	}
	return drivers.SupportOf(d).Notes(stack)
}
