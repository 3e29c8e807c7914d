package scenarios

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Options are what a scenario is read with.
type Options struct {
	Vars map[string]string // instead of the defaults of the scenario's variables
	// Secret are the names of those of Vars whose values are written nowhere: *** stands for
	// them in Source, in Vars and in every message.
	Secret map[string]bool
	// Drivers are the names of the drivers that there are: a scenario that names another
	// one is refused. nil means that nobody knows, and every name will do.
	Drivers []string
}

// Load reads a scenario: one of the catalogue by its name, or a file, when the argument
// holds a slash or ends in .yaml or .yml. The catalogue may name drivers that this program
// does not have. What is wrong with the scenario comes as Errors.
func Load(nameOrPath string, o Options) (*Scenario, error) {
	if ext := filepath.Ext(nameOrPath); ext != ".yaml" && ext != ".yml" && !strings.ContainsAny(nameOrPath, `/\`) {
		data, err := Text(nameOrPath)
		if err != nil {
			return nil, err
		}
		return Parse(nameOrPath+".yaml", data, Options{Vars: o.Vars, Secret: o.Secret})
	}
	data, err := readFile(nameOrPath)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	return Parse(nameOrPath, data, o)
}

// readFile reads no more of a file than is needed to see that it is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	return data, errors.Join(err, f.Close())
}

// Parse reads a scenario from a text; file is its name for messages. It returns Errors,
// every problem that it found, or a scenario in which every field is filled in and checked.
func Parse(file string, data []byte, o Options) (*Scenario, error) {
	s, err := parse(file, data, o)
	var problems Errors
	if secrets := o.secrets(); len(secrets) > 0 && errors.As(err, &problems) {
		mask := record.NewMask(secrets...)
		for _, p := range problems {
			p.Message, p.Hint, p.Excerpt = mask.Text(p.Message), mask.Text(p.Hint), mask.Text(p.Excerpt)
		}
	}
	return s, err
}

// secrets are the values that are written nowhere.
func (o *Options) secrets() (all []string) {
	for _, name := range o.secretNames() {
		all = append(all, o.Vars[name])
	}
	return all
}

func (o *Options) secretNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(o.Secret)), func(name string) bool { return !o.Secret[name] })
}

// checkSecrets reports secrets that could not be masked: too short ones, and those in names,
// which folders are called by.
func (d *decoder) checkSecrets(s *Scenario, o Options) {
	for _, name := range o.secretNames() {
		secret := o.Vars[name]
		if len(secret) < record.ShortestSecret {
			d.problem(0, 0, fmt.Sprintf("the secret in variable %s has %d bytes; a shorter one than %d cannot be masked", name, len(secret), record.ShortestSecret), "give it as "+name+"=VALUE if it is none")
			continue
		}
		names := append(namesOf(s.Designs), s.Name)
		if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, secret) }) {
			d.problem(0, 0, "the secret in variable "+name+" is part of a name, and names are in every report", "use another variable for names")
		}
	}
}

func parse(file string, data []byte, o Options) (*Scenario, error) {
	d := newDecoder(file, o, builtin)
	root := d.tree(data)
	if root == nil {
		return nil, d.err()
	}
	vars := d.variables(root, o.Vars)
	if d.err() != nil {
		// Without the values of the variables every further message would mislead.
		return nil, d.err()
	}
	s := d.scenario(root)
	s.File, s.Vars, s.Where, s.Secrets = file, vars, &Where{d.source, d.at}, o.secrets()
	for _, name := range o.secretNames() {
		s.Vars[name] = record.Masked
	}
	d.checkSecrets(s, o)
	d.checkManifests(s)
	trusted := d.trusted()
	s.check(func(path, message, hint string) {
		if trusted(path) {
			n := d.where(path)
			d.problem(n.line, n.column, message, hint)
		}
	})
	if err := d.err(); err != nil {
		return nil, err
	}
	s.Source = render(s)
	return s, nil
}

// scenario reads a scenario whose variables are filled in.
func (d *decoder) scenario(root *node) *Scenario {
	target := root.get("target")
	d.own, d.found = target != nil && target.get("refproxy") == nil, foundIn(target)
	s := &Scenario{}
	d.fields(root, "", reflect.ValueOf(s).Elem())
	d.checkMisplaced()
	s.openWindow()
	s.completeFaults()
	s.Target.Revisions.nameThem()
	for _, w := range s.Target.On {
		w.Revisions.nameThem()
	}
	if !s.Target.Own() {
		return s
	}
	// Of a custom target nobody knows what it must deny, or whether it takes a POST.
	if d.at["load.deny"] == nil {
		s.Load.Deny = 0
	}
	if d.at["load.streams"] == nil {
		s.Load.Streams = map[string]int{"keepalive": 80, "newconn": 20}
	}
	if s.Target.Request == nil && s.Target.Requests == nil {
		s.Target.Request = &Request{}
		presets(reflect.ValueOf(s.Target.Request).Elem())
	}
	s.Target.nameServer()
	return s
}

// variables reads vars: and fills them in everywhere else. given overrides what is there.
func (d *decoder) variables(root *node, given map[string]string) map[string]string {
	vars := map[string]string{}
	if n := root.get("vars"); n != nil && n.kind == mapping {
		for _, f := range n.fields {
			switch {
			case !variable.MatchString(f.key):
				d.problem(f.line, f.column, "bad name of a variable: "+quote(f.key), "up to 40 lower-case letters, digits and _, a letter first")
			case f.value.kind == mapping || f.value.kind == sequence || f.value.kind == null:
				d.mismatch(f.value, "vars."+f.key, "a default: text, a number or a boolean", "")
			case !printable(f.value.value):
				d.problem(f.value.line, f.value.column, "vars."+f.key+" holds a character that cannot be printed", "")
			case strings.Contains(f.value.value, "${"):
				d.problem(f.value.line, f.value.column, "vars."+f.key+" refers to another variable", "vars cannot be made of vars: write the value")
			}
			vars[f.key] = f.value.value
		}
	} else if n != nil {
		d.mismatch(n, "vars", "a mapping of names to defaults", "")
	}
	declared := slices.Sorted(maps.Keys(vars))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		_, known := vars[name]
		switch {
		case !known && len(declared) == 0:
			d.problem(0, 0, "the scenario has no variable "+quote(name), "it declares none: vars: {"+quote(name)+": its default}")
		case !known:
			d.problem(0, 0, "the scenario has no variable "+quote(name), didYouMean(name, declared))
		case !printable(given[name]):
			d.problem(0, 0, "the value of variable "+name+" holds a character that cannot be printed", "")
		case strings.Contains(given[name], "${"):
			d.problem(0, 0, "the value of variable "+name+" refers to another variable", "write the value")
		default:
			vars[name] = given[name]
		}
	}
	for _, f := range root.fields {
		if f.key != "vars" {
			d.fill(f.value, vars)
		}
	}
	return vars
}

// Tail is how long the load goes on after the planned end of the window. The window is
// measured from the moment at which the action really starts, which is a little later
// than planned, and has to be covered whole.
const Tail = time.Second

// Length is how long the load of a trial lasts.
func (s *Scenario) Length() time.Duration { return s.Phases.Window.To + Tail }

// Planned is the number of requests of one trial: those whose intended time k/rate,
// k from 1, lies before the end of the load.
func (s *Scenario) Planned() uint64 { return hits(s.Load.Rate, s.Length()) }

// PlannedUntil is the same of a load that ends at an offset from its start.
func (s *Scenario) PlannedUntil(end time.Duration) uint64 { return hits(s.Load.Rate, end) }

// hits is the number of k >= 1 whose intended time k/rate, rounded to a nanosecond, lies
// before length.
func hits(rate float64, length time.Duration) uint64 {
	period := float64(time.Second) / rate
	n := math.Floor(float64(length)/period) + 1
	for n > 0 && math.Round(n*period) >= float64(length) {
		n--
	}
	return uint64(n)
}

// Overrides are the parts of a scenario that a command line may change. Nil leaves one
// as it is.
type Overrides struct {
	Rate   *float64           // requests a second
	Window *time.Duration     // length of the window; its start stays
	Trials *record.TrialRange // an arm
}

// Override changes the scenario and checks it again. On error, which is Errors, the
// scenario is as it was.
func (s *Scenario) Override(o Overrides) error {
	changed := *s
	if o.Rate != nil {
		changed.Load.Rate = *o.Rate
	}
	if o.Window != nil && s.Target.Address() {
		return Errors{{File: s.File, Message: "the window of a command ends by calm", Hint: "action.settle and action.max say how long the load goes on behind it"}}
	}
	if o.Window != nil {
		if *o.Window <= 0 || *o.Window > maxDuration {
			return Errors{{File: s.File, Message: fmt.Sprintf("the window must be longer than 0s and at most %v, not %v", maxDuration, *o.Window)}}
		}
		changed.Phases.Window.To = changed.Phases.Window.From + *o.Window
	}
	if o.Trials != nil {
		changed.Trials = *o.Trials
	}
	var problems Errors
	changed.check(func(_, message, hint string) {
		problems = append(problems, &Error{File: s.File, Message: message, Hint: hint})
	})
	if len(problems) > 0 {
		return problems
	}
	changed.Source = render(&changed)
	*s = changed
	return nil
}

// WithDesigns chooses the designs to run, in this order, by name: the scenario's own
// first, then the builtin ones. Gates and positive controls of designs that are not
// chosen are dropped. On error, which is Errors, the scenario is as it was.
func (s *Scenario) WithDesigns(names []string) error {
	var problems Errors
	refuse := func(message, hint string) {
		problems = append(problems, &Error{File: s.File, Message: message, Hint: hint})
	}
	if len(names) == 0 {
		refuse("no design chosen", "one of: "+quoteAll(s.knownDesigns()))
	}
	var chosen []Design
	for i, name := range names {
		own := slices.IndexFunc(s.Designs, func(d Design) bool { return d.Name == name })
		builtin, ok := BuiltinDesign(name)
		switch {
		case slices.Contains(names[:i], name):
			refuse("design "+quote(name)+" is chosen twice", "")
		case own >= 0:
			chosen = append(chosen, s.Designs[own])
		case ok && s.Target.Own():
			refuse(builtinRefused([]string{name}, s.Target.found()))
		case ok:
			chosen = append(chosen, builtin)
		default:
			refuse("no design "+quote(name), didYouMean(name, s.knownDesigns()))
		}
	}
	if len(problems) > 0 {
		return problems
	}
	s.Designs = chosen
	gates, controls := s.Gates, s.PositiveControls
	s.Gates, s.PositiveControls = nil, nil
	for _, g := range gates {
		if slices.Contains(names, g.Design) && (g.Against == "" || g.Against == record.PastRuns || slices.Contains(names, g.Against)) {
			s.Gates = append(s.Gates, g)
		} else {
			s.NotChosen.Gates = append(s.NotChosen.Gates, g)
		}
	}
	for _, c := range controls {
		if slices.Contains(names, c.Design) {
			s.PositiveControls = append(s.PositiveControls, c)
		} else {
			s.NotChosen.PositiveControls = append(s.NotChosen.PositiveControls, c)
		}
	}
	s.Source = render(s)
	return nil
}

func (s *Scenario) knownDesigns() []string {
	var names []string
	if !s.Target.Own() {
		names = namesOf(builtin())
	}
	for _, d := range s.Designs {
		if !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	return names
}
