package scenarios

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

var rangeForm = regexp.MustCompile(`^([0-9]{1,9})\.\.([0-9]{1,9})$`)

// rangePattern is rangeForm with the bounds of the field in it.
const rangePattern = `^([1-9][0-9]?|100)\.\.([1-9][0-9]?|100)$`

const trialsHint = "such as 3, or 3..8 to go on until every gate is decided"

// ParseTrials reads how many trials there are to be: 3, or 3..8. Whether so many may be is for
// the scenario to check.
func ParseTrials(text string) (record.TrialRange, error) {
	m := rangeForm.FindStringSubmatch(text)
	if m == nil {
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			return record.TrialRange{Least: int(n), Most: int(n)}, nil
		}
		return record.TrialRange{}, fmt.Errorf("%q is neither a whole number nor a range of them", text)
	}
	least, _ := strconv.Atoi(m[1]) // nine digits are always one
	most, _ := strconv.Atoi(m[2])
	return record.TrialRange{Least: least, Most: most}, nil
}

// trials reads how many trials there are to be.
func (d *decoder) trials(n *node, path string, to *record.TrialRange) {
	if !rangeForm.MatchString(n.value) && (n.kind != text || decimal.MatchString(n.value)) {
		var one int
		d.integer(n, path, reflect.ValueOf(&one).Elem())
		*to = record.TrialRange{Least: one, Most: one}
		return
	}
	r, err := ParseTrials(n.value)
	if err != nil {
		d.mismatch(n, path, "a whole number or a range of them", trialsHint)
		return
	}
	*to = r
}

// checkRange reports what is wrong with a number of trials.
func (f *field) checkRange(r record.TrialRange, path string, report report) {
	wrong := false
	bounds := func(n int) {
		if !wrong {
			f.checkBounds(reflect.ValueOf(n), path, func(path, message, hint string) { wrong = true; report(path, message, hint) })
		}
	}
	bounds(r.Least)
	bounds(r.Most)
	if !wrong && r.Least > r.Most {
		report(path, fmt.Sprintf("%s: %d..%d has its end before its start", path, r.Least, r.Most), fmt.Sprintf("%d..%d", r.Most, r.Least))
	}
}
