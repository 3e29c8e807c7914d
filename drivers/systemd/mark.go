package systemd

import (
	"fmt"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// mark is what a unit's description says of where it belongs.
type mark struct{ run, stack, instance, owner string }

const markFormat = "rollout-lab run %q stack %q instance %q owner %q"

func (m mark) String() string {
	return fmt.Sprintf(markFormat, m.run, m.stack, m.instance, m.owner)
}

// parseMark reads a unit's description; ok is false when it is none of this driver's.
func parseMark(description string) (m mark, ok bool) {
	n, err := fmt.Sscanf(description, markFormat, &m.run, &m.stack, &m.instance, &m.owner)
	return m, err == nil && n == 4
}

// sweeps says whether a sweep of a run, "" meaning those whose lab is dead, takes what
// carries these marks.
func sweeps(runID, run, ownerText string) bool {
	if runID != "" {
		return run == runID
	}
	o, err := owner.Parse(ownerText)
	return err == nil && o.Dead()
}
