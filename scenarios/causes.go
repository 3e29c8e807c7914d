package scenarios

import (
	"fmt"
	"slices"
	"strings"
)

// causes gathers what is wrong with designs. What is the same mistake in several places is
// one problem, at the first of them.
type causes struct {
	report report
	first  map[string]problem
	order  []string
	more   map[string][]string // paths
}

type problem struct{ path, message, hint string }

func newCauses(report report) *causes {
	return &causes{report: report, first: map[string]problem{}, more: map[string][]string{}}
}

// tell notes a problem at a path. The cause says which mistake it is.
func (c *causes) tell(cause, path, message, hint string) {
	first, again := c.first[cause]
	switch {
	case !again:
		c.first[cause] = problem{path, message, hint}
		c.order = append(c.order, cause)
	case path != first.path && !slices.Contains(c.more[cause], path):
		c.more[cause] = append(c.more[cause], path)
	}
}

// shownPlaces is how many further places of a mistake are named.
const shownPlaces = 2

// end reports what was noted.
func (c *causes) end() {
	for _, cause := range c.order {
		p, more := c.first[cause], c.more[cause]
		if len(more) > 0 {
			p.message += " (the same at " + strings.Join(more[:min(len(more), shownPlaces)], ", ")
			if n := len(more) - shownPlaces; n > 0 {
				p.message += fmt.Sprintf(" and %d more", n)
			}
			p.message += ")"
		}
		c.report(p.path, p.message, p.hint)
	}
}
