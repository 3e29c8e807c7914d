package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

type errorRow struct{ Design, Trials, Class, Reason, Count, Share string }

// errorRows adds up the failures of the valid trials by class, most frequent first.
func errorRows(c *judge.Cell) []errorRow {
	type tally struct {
		class  record.Class
		reason string
		most   uint64
		n      uint64
	}
	var all []tally
	var sum uint64
	for i := range c.Trials {
		if !c.Trials[i].Valid {
			continue
		}
		for _, e := range c.Trials[i].Errors {
			at := slices.IndexFunc(all, func(t tally) bool { return t.class == e.Class })
			if at < 0 {
				all = append(all, tally{class: e.Class})
				at = len(all) - 1
			}
			if e.Count > all[at].most {
				all[at].most, all[at].reason = e.Count, e.Reason
			}
			all[at].n += e.Count
			sum += e.Count
		}
	}
	slices.SortStableFunc(all, func(a, b tally) int {
		if a.n != b.n {
			if a.n > b.n {
				return -1
			}
			return 1
		}
		return strings.Compare(string(a.class), string(b.class))
	})
	var rows []errorRow
	for _, t := range all {
		rows = append(rows, errorRow{format.Clean(c.Design), validTrials(c), format.Clean(string(t.class)), format.Shorten(format.Clean(t.reason), 160), format.Count(t.n), format.Share(t.n, sum)})
	}
	return rows
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

type voidRow struct{ Design, Trial, Class, Reason, Count, Lost string }

// voidRows lists the failures of each invalid trial, one that had none too.
func voidRows(c *judge.Cell) []voidRow {
	var rows []voidRow
	for i := range c.Trials {
		t := &c.Trials[i]
		if t.Valid {
			continue
		}
		row := voidRow{Design: format.Clean(c.Design), Trial: fmt.Sprint(t.Meta.N), Class: "–", Count: "–", Lost: format.Lost(t.Failed, t.Planned)}
		if len(t.Errors) == 0 {
			rows = append(rows, row)
		}
		for _, e := range t.Errors {
			row.Class, row.Reason, row.Count = format.Clean(string(e.Class)), format.Shorten(format.Clean(e.Reason), 160), format.Count(e.Count)
			rows = append(rows, row)
		}
	}
	return rows
}
