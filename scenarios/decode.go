package scenarios

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder reads nodes into values and remembers where each came from, so that checks of
// whole scenarios can point at lines too.
type decoder struct {
	*source
	at map[string]*node // by path: load.rate, designs[1].signal

	deployed bool                   // the target is a Deployment that the manifests describe
	objects  map[Manifest][]*object // of each manifest; none of one that could not be read
}

// read is how the value of one key is read.
type read func(n *node, path string)

// key is a key that a mapping may have.
type key struct {
	name     string
	required bool
	read     read
}

func optional(name string, r read) key { return key{name: name, read: r} }
func required(name string, r read) key { return key{name: name, required: true, read: r} }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// mapping reads a mapping with just these keys, in their order.
func (d *decoder) mapping(n *node, path string, keys ...key) {
	d.at[path] = n
	if n.kind != mapping {
		d.mismatch(n, path, "a mapping", "write its keys on lines below it, indented")
		return
	}
	meant := map[string]bool{} // keys that are there, but for a slip
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	for _, f := range n.fields {
		if !slices.Contains(names, f.key) {
			where := ""
			if path != "" {
				where = " in " + path
			}
			d.problem(f.line, f.column, "unknown key "+quote(f.key)+where, didYouMean(f.key, names))
			meant[near(f.key, names)] = true
		}
	}
	for _, k := range keys {
		v := n.get(k.name)
		switch {
		case v == nil && k.required && meant[k.name]:
		case v == nil && k.required:
			d.problem(n.line, n.column, join(path, k.name)+" is missing", "")
		case v == nil:
		case v.kind == null:
			d.at[join(path, k.name)] = v
			d.problem(v.line, v.column, join(path, k.name)+" has no value", "give it one, or remove the key")
		default:
			d.at[join(path, k.name)] = v
			k.read(v, join(path, k.name))
		}
	}
}

func (d *decoder) mismatch(n *node, path, want, hint string) {
	what := n.kind.String()
	if n.kind != mapping && n.kind != sequence && n.kind != null {
		what = quote(n.value)
		if n.kind == text && !n.filled {
			what += " (text)"
		}
	}
	if path == "" {
		path = "this"
	}
	d.problem(n.line, n.column, fmt.Sprintf("%s must be %s, not %s", path, want, what), hint)
}

// scalar reports whether a node is a scalar that may be read as the kind: written so,
// or filled in from a variable.
func scalar(n *node, k kind) bool {
	return n.kind == k || n.kind == text && n.filled
}

func (d *decoder) text(to *string) read {
	return func(n *node, path string) {
		if n.kind != text {
			hint := ""
			if n.kind == number || n.kind == boolean {
				hint = fmt.Sprintf("put it in quotes: %q", n.value)
			}
			d.mismatch(n, path, "text", hint)
			return
		}
		*to = n.value
	}
}

// word reads one of several words.
func (d *decoder) word(to *string, words ...string) read {
	return func(n *node, path string) {
		if !scalar(n, text) {
			d.mismatch(n, path, "one of "+strings.Join(words, ", "), "")
			return
		}
		if !slices.Contains(words, n.value) {
			d.problem(n.line, n.column, fmt.Sprintf("%s must be one of %s, not %s", path, strings.Join(words, ", "), quote(n.value)),
				didYouMean(n.value, words))
			return
		}
		*to = n.value
	}
}

func (d *decoder) boolean(to *bool) read {
	return func(n *node, path string) {
		if !scalar(n, boolean) || n.value != "true" && n.value != "false" {
			d.mismatch(n, path, "true or false", "")
			return
		}
		*to = n.value == "true"
	}
}

var (
	decimal = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	whole   = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	grouped = regexp.MustCompile(`^[0-9]{1,3}([,_' ][0-9]{3})+$`)
)

// numberHint guesses what a number that is none was meant to be.
func numberHint(n *node) string {
	switch {
	case grouped.MatchString(n.value):
		return "write " + strings.NewReplacer(",", "", "_", "", "'", "", " ", "").Replace(n.value)
	case n.kind == text && !n.filled && decimal.MatchString(n.value):
		return "remove the quotes"
	case strings.HasSuffix(n.value, "/s") || strings.HasSuffix(n.value, "rps"):
		return "write the number alone"
	}
	return ""
}

func (d *decoder) float(to *float64) read {
	return func(n *node, path string) {
		if !scalar(n, number) || !decimal.MatchString(n.value) {
			d.mismatch(n, path, "a finite decimal number", numberHint(n))
			return
		}
		v, err := strconv.ParseFloat(n.value, 64)
		if err != nil || math.IsInf(v, 0) {
			d.mismatch(n, path, "a finite decimal number", "")
			return
		}
		*to = v
	}
}

func (d *decoder) integer(to *int) read {
	return func(n *node, path string) {
		if !scalar(n, number) || !whole.MatchString(n.value) {
			d.mismatch(n, path, "a whole number", numberHint(n))
			return
		}
		v, err := strconv.ParseInt(n.value, 10, 32)
		if err != nil {
			d.problem(n.line, n.column, path+" is out of range: "+quote(n.value), "")
			return
		}
		*to = int(v)
	}
}

// share reads a rate: 0..1, or a percentage.
func (d *decoder) share(to *float64) read {
	return func(n *node, path string) {
		v, ok := parseShare(n)
		if !ok {
			d.mismatch(n, path, "a share, 0..1 or a percentage", shareHint(n))
			return
		}
		*to = v
	}
}

func parseShare(n *node) (float64, bool) {
	digits, percent := strings.CutSuffix(n.value, "%")
	if n.kind == number == percent && !n.filled || n.kind != number && n.kind != text || !decimal.MatchString(digits) {
		return 0, false
	}
	exact := percent && !strings.ContainsAny(digits, "eE")
	if exact {
		digits += "e-2" // dividing would round: 99.9 % is 0.999 and nothing beside it
	}
	v, err := strconv.ParseFloat(digits, 64)
	if percent && !exact {
		v /= 100
	}
	return v, err == nil && !math.IsInf(v, 0)
}

func shareHint(n *node) string {
	if before, ok := strings.CutSuffix(n.value, "%"); ok && decimal.MatchString(strings.TrimSpace(before)) {
		return "say " + strings.TrimSpace(before) + "%"
	}
	return numberHint(n)
}

var quantity = regexp.MustCompile(`^\s*([-+]?[0-9.]+)\s*([A-Za-z]*)\s*$`)

// durationHint guesses what a duration that is none was meant to be.
func durationHint(value string) string {
	m := quantity.FindStringSubmatch(value)
	if m == nil {
		return "a number with a unit, such as 250ms, 5s or 2m"
	}
	unit := map[string]string{
		"": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "S": "s",
		"msec": "ms", "millis": "ms", "milliseconds": "ms", "millisecond": "ms", "MS": "ms", "Ms": "ms",
		"min": "m", "mins": "m", "minute": "m", "minutes": "m", "M": "m", "hour": "h", "hours": "h", "H": "h",
	}[m[2]]
	if unit == "" {
		unit = m[2]
	}
	if _, err := time.ParseDuration(m[1] + unit); err != nil {
		return "a number with a unit, such as 250ms, 5s or 2m"
	}
	return "say " + m[1] + unit
}

// maxDuration bounds every duration in a scenario, so that sums of them cannot overflow.
const maxDuration = 24 * time.Hour

func (d *decoder) duration(to *time.Duration) read {
	return func(n *node, path string) {
		if n.kind == number || n.filled && decimal.MatchString(n.value) {
			hint := durationHint(n.value)
			d.problem(n.line, n.column, fmt.Sprintf("%s: %s has no unit", path, quote(n.value)), hint)
			return
		}
		v, err := time.ParseDuration(n.value)
		switch {
		case n.kind != text:
			d.mismatch(n, path, "a duration", "a number with a unit, such as 250ms, 5s or 2m")
		case err != nil:
			d.problem(n.line, n.column, fmt.Sprintf("%s: %s is not a duration", path, quote(n.value)), durationHint(n.value))
		case v < 0:
			d.problem(n.line, n.column, fmt.Sprintf("%s must not be negative: %s", path, quote(n.value)), "")
		case v > maxDuration:
			d.problem(n.line, n.column, fmt.Sprintf("%s: %s is longer than %v", path, quote(n.value), maxDuration), "")
		default:
			*to = v
		}
	}
}

// list reads a list, item by item.
func (d *decoder) list(item read) read {
	return func(n *node, path string) {
		if n.kind != sequence {
			d.mismatch(n, path, "a list", "write each item on a line of its own, after a dash")
			return
		}
		for i, it := range n.items {
			p := fmt.Sprintf("%s[%d]", path, i)
			d.at[p] = it
			item(it, p)
		}
	}
}

// trusted says of which paths a check can be believed, given the problems so far: all of
// them where there are none, else those that are in the file and could be read. What a
// gate or a control refers to may be among the things that could not.
func (d *decoder) trusted() func(path string) bool {
	if len(d.problems) == 0 {
		return func(string) bool { return true }
	}
	type position struct{ line, column int }
	wrong := map[position]bool{}
	for _, p := range d.problems {
		if p.File != d.file {
			continue // a manifest's
		}
		wrong[position{p.Line, p.Column}] = true
	}
	return func(path string) bool {
		for _, list := range []string{"designs", "gates", "positive_controls"} {
			if strings.HasPrefix(path, list) {
				return false
			}
		}
		for p, n := range d.at {
			if (p == path || strings.HasPrefix(p, path+".")) && wrong[position{n.line, n.column}] {
				return false
			}
		}
		return d.at[path] != nil
	}
}

// where is the node of a path, or of the nearest one around it.
func (d *decoder) where(path string) *node {
	for {
		if n := d.at[path]; n != nil {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return d.at[""]
		}
		path = path[:i]
	}
}
