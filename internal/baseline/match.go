package baseline

import (
	"maps"
	"slices"
	"strconv"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// For is what a run that begins may be held against: of each of its cells, the trials that were
// measured under its conditions on a machine like its own. Where the conditions differ, or no
// trial is from such a machine, the cell is refused with what differs; with anyEnvironment all
// its trials count, and what differs of the machine is told. name is that of the file.
func (f *File) For(run record.Run, name string, anyEnvironment bool) *record.Baseline {
	b := &record.Baseline{File: name, AnyEnvironment: anyEnvironment, Cells: []record.PastCell{}}
	for _, s := range run.Scenarios {
		for i := range f.Cells {
			c := &f.Cells[i]
			if c.Scenario == s.Name && c.Action == s.Action && slices.Contains(s.Designs, c.Design) {
				b.Cells = append(b.Cells, f.past(c, s.Conditions, run.Environment, anyEnvironment))
			}
		}
	}
	return b
}

// past is a cell as a run with such conditions in such an environment sees it.
func (f *File) past(c *Cell, conditions map[string]string, now record.Environment, anyEnvironment bool) record.PastCell {
	out := record.PastCell{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action, Design: c.Design, Trials: []record.PastTrial{}}
	if out.Differs = differences(c.Conditions, conditions); len(out.Differs) > 0 {
		out.Refused = true
		return out
	}
	var other []record.Difference // of the newest trial from another machine
	for _, t := range c.Trials {
		differs := environments(f.Environments[t.Fingerprint], now, c.Driver)
		if len(differs) > 0 {
			other = differs
		}
		if len(differs) == 0 || anyEnvironment {
			out.Trials = append(out.Trials, t)
		}
	}
	if anyEnvironment || len(out.Trials) == 0 {
		out.Differs = other
		out.Refused = len(other) > 0 && !anyEnvironment
	}
	return out
}

// differences are the conditions that are not the same, by key.
func differences(was, is map[string]string) (all []record.Difference) {
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if was[key] != is[key] {
			all = append(all, record.Difference{Field: key, Was: was[key], Is: is[key]})
		}
	}
	return all
}

// environments are the differences of two environments that matter to a driver: what its runtime
// is, and not those of others.
func environments(was, is record.Environment, driver string) []record.Difference {
	of := func(e record.Environment) map[string]string {
		return map[string]string{
			record.EnvironmentField + "os": e.OS, record.EnvironmentField + "arch": e.Arch, record.EnvironmentField + "cpus": strconv.Itoa(e.CPUs),
			record.EnvironmentField + "kernel": e.Kernel, record.EnvironmentField + "go": e.Go,
			record.EnvironmentField + "runtimes." + driver: e.Runtimes[driver],
		}
	}
	return differences(of(was), of(is))
}
