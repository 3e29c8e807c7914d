package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
)

// failed is how the requests of a cell's valid trials failed.
type failed struct {
	Sum     uint64
	Classes []judge.ErrorCount // most frequent first
}

// failures adds up the failures of the valid trials by class. The reason of a class is that
// of the trial with the most of them.
func failures(c *judge.Cell) failed {
	var all failed
	var most []uint64 // in one trial, by class
	for i := range c.Trials {
		if !c.Trials[i].Valid {
			continue
		}
		for _, e := range c.Trials[i].Errors {
			at := slices.IndexFunc(all.Classes, func(a judge.ErrorCount) bool { return a.Class == e.Class })
			if at < 0 {
				at = len(all.Classes)
				all.Classes, most = append(all.Classes, judge.ErrorCount{Class: e.Class}), append(most, 0)
			}
			sum := &all.Classes[at]
			sum.Count += e.Count
			if e.Count > most[at] {
				most[at], sum.Reason = e.Count, e.Reason
			}
			all.Sum += e.Count
		}
	}
	slices.SortStableFunc(all.Classes, func(a, b judge.ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class))
	})
	return all
}

// streams adds up how each stream fared in the valid trials.
func streams(c *judge.Cell) []judge.StreamCount {
	var all []judge.StreamCount
	for i := range c.Trials {
		if !c.Trials[i].Valid {
			continue
		}
		for _, s := range c.Trials[i].Streams {
			at := slices.IndexFunc(all, func(t judge.StreamCount) bool { return t.Name == s.Name })
			if at < 0 {
				all = append(all, s)
				continue
			}
			all[at].Planned += s.Planned
			all[at].OK += s.OK
		}
	}
	return all
}

// validTrials lists the numbers of the valid trials, those in a row as a range.
func validTrials(c *judge.Cell) string {
	var parts []string
	for i := 0; i < len(c.Trials); i++ {
		if !c.Trials[i].Valid {
			continue
		}
		from := i
		for i+1 < len(c.Trials) && c.Trials[i+1].Valid && c.Trials[i+1].Meta.N == c.Trials[i].Meta.N+1 {
			i++
		}
		first, last := c.Trials[from].Meta.N, c.Trials[i].Meta.N
		switch last - first {
		case 0:
			parts = append(parts, fmt.Sprint(first))
		case 1:
			parts = append(parts, fmt.Sprint(first), fmt.Sprint(last))
		default:
			parts = append(parts, fmt.Sprintf("%d to %d", first, last))
		}
	}
	return strings.Join(parts, ", ")
}
