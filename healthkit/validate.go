package healthkit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrUnknown is returned by Validate for a name that no component has, or no group where one is
// meant.
var ErrUnknown = errors.New("name meets nothing")

// UnknownName is a name that something goes by and that no component has, or, where a group is
// meant, no group.
type UnknownName struct {
	Name string `json:"name"`
	// UsedBy says who goes by it: "dependency of orders", "group of replica-1", or what was
	// given to Mention. Sorted.
	UsedBy []string `json:"used_by"`
}

type mention struct{ by, name string }

// Mention tells the registry that something goes by these names of components, such as an
// adapter that was configured with them, so that Validate and ?verbose can say which of them
// no component has. by says what that is, in a few words: "gRPC service shop.Cart". It changes
// no verdict. The error wraps ErrName.
func (r *Registry) Mention(by string, names ...string) error {
	for _, name := range names {
		if err := checkName(name); err != nil {
			return fmt.Errorf("mention by %s: %w", by, err)
		}
	}
	by = clean(by)
	now := r.lock()
	defer r.mu.Unlock()
	for _, name := range names {
		r.mentions = append(r.mentions, mention{by, name})
	}
	r.changed(now)
	return nil
}

// Validate tells which names meet nothing: those in Config.Expect, Options.DependsOn,
// Options.Group and of Mention that no component has now. Since all of these may be registered
// later it is to be called when everything is, such as in a test of the service: a typo there
// is silent otherwise, or makes the process unready for ever. ?verbose says the same.
//
// The error names each of them, who goes by it and what was probably meant, one a line, and
// wraps ErrUnknown; ErrName for what Config.Expect holds and no component can be called.
func (r *Registry) Validate() error {
	s := r.Snapshot()
	var errs []error
	for i, name := range s.Missing {
		err := ErrUnknown
		if !canBeRegistered(name) {
			err = ErrName
		}
		errs = append(errs, fmt.Errorf("expected %s: %w%s", name, err, s.hint(i, name)))
	}
	for i, u := range s.Unknown {
		errs = append(errs, fmt.Errorf("%s, %s: %w%s", u.Name, strings.Join(u.UsedBy, ", "), ErrUnknown, s.hint(i, u.Name)))
	}
	return errors.Join(errs...)
}

// expectedName is the form in which a name of Config.Expect is kept. One that no component can
// have is quoted: it stays missing, and is nothing that forges a line or breaks an adapter.
func expectedName(name string) string {
	if checkName(name) != nil {
		return strconv.QuoteToASCII(name)
	}
	return name
}

func canBeRegistered(expected string) bool { return !strings.HasPrefix(expected, `"`) }

// missingText says what is wrong with an expected name.
func missingText(expected string) string {
	if canBeRegistered(expected) {
		return "expected, not registered"
	}
	return "expected, but no component can have this name"
}

// unknown collects the names that meet nothing. What is expected is Missing instead. The caller
// holds the lock.
func (r *Registry) unknown() []UnknownName {
	var usedBy map[string][]string
	note := func(name, by string) {
		if r.expect[name] && r.byName[name] == nil {
			return
		}
		if usedBy == nil {
			usedBy = make(map[string][]string)
		}
		usedBy[name] = append(usedBy[name], by)
	}
	for _, c := range r.components {
		for _, name := range c.opts.DependsOn {
			if r.byName[name] == nil {
				note(name, "dependency of "+c.name)
			}
		}
		if c.opts.Group != "" && c.group == nil {
			note(c.opts.Group, "group of "+c.name)
		}
	}
	for _, m := range r.mentions {
		if r.byName[m.name] == nil {
			note(m.name, m.by)
		}
	}
	if usedBy == nil {
		return nil
	}
	var all []UnknownName
	for name, by := range usedBy {
		slices.Sort(by)
		all = append(all, UnknownName{name, slices.Compact(by)})
	}
	slices.SortFunc(all, func(a, b UnknownName) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// hints is for how many names a snapshot looks for what was meant, which costs time in the
// number of components.
const hints = 10

// hint is what the i-th name that meets nothing was probably meant to be, in words; empty when
// no name is near.
func (s *Snapshot) hint(i int, name string) string {
	if i >= hints {
		return ""
	}
	best, at := "", len(name)/3+2
	for _, c := range s.Components {
		if d := distance(name, c.Name); d > 0 && d < at {
			best, at = c.Name, d
		}
	}
	if best == "" {
		return ""
	}
	return " (is it " + best + "?)"
}

// distance is the number of edits between two names, of which a swap of neighbours is one; the
// longer length for names that are too long or too unlike to be a typo of each other.
func distance(a, b string) int {
	const longest = 64
	far := max(len(a), len(b))
	if far > longest || 2*min(len(a), len(b)) < far {
		return far
	}
	var rows [3][longest + 1]int
	two, one, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		two, one, row = one, row, two
		row[0] = i
		for j := 1; j <= len(b); j++ {
			edit := one[j-1]
			if a[i-1] != b[j-1] {
				edit++
			}
			row[j] = min(one[j]+1, row[j-1]+1, edit)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
