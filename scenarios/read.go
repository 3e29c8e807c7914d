package scenarios

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// decoder reads nodes into values, as the fields' declarations say, and remembers where each
// came from, so that checks of whole scenarios can point at lines too.
type decoder struct {
	*source
	options Options
	at      map[string]*node // by path: load.rate, designs[1].signal
	designs func() []Design  // that a design may be, or start from

	spoilt  bool                           // what the mapping comes on top of has a problem already
	own     bool                           // the target is a custom one
	found   found                          // what it is, where somebody else has deployed it
	objects map[drivers.Manifest][]*object // of each manifest; none of one that could not be read

	misplaced misplaced // builtin designs of a custom target
}

func newDecoder(file string, o Options, designs func() []Design) *decoder {
	return &decoder{source: &source{file: file}, options: o, at: map[string]*node{}, designs: designs}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// words are those of a set that is not part of a declaration. known is false when nobody
// has said which there are.
func (d *decoder) words(set string) (words []string, known bool) {
	switch set {
	case "driver":
		return d.options.Drivers, d.options.Drivers != nil
	case "metric":
		return metric.Names(), true
	case "builtin design":
		return namesOf(d.designs()), true
	}
	panic("scenarios: no set of words is called " + set) // a declaration is wrong
}

// fields reads a mapping into a struct, on top of what that holds.
func (d *decoder) fields(n *node, path string, to reflect.Value) {
	d.at[path] = n
	if !d.isMapping(n, path) {
		return
	}
	if to.IsZero() {
		presets(to)
	}
	all := fieldsOf(to.Type())
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.name
	}
	meant := d.unknownKeys(n, path, names)
	kind := kindOf(to)
	for _, f := range all {
		e, v, p := n.entry(f.name), to.FieldByIndex(f.index), join(path, f.name)
		switch {
		case f.refused[d.found] != "":
			v.SetZero()
			if e != nil {
				d.problem(e.line, e.column, p+" means nothing for a target that is "+d.found.String(), f.refused[d.found])
			}
		case kind != "" && !f.means(kind):
			if e != nil {
				d.problem(e.line, e.column, p+" "+f.meaning(kind), "remove it")
			}
		case e == nil:
			if (f.required || f.inherited && v.IsZero() && !d.spoilt) && f.means(kind) && !meant[f.name] {
				d.problem(n.line, n.column, p+" is missing", f.hint)
			}
		case d.given(e.value, p):
			d.value(e.value, p, f, v, to)
		}
		if is := kindOf(to); f.name == "kind" && is != kind {
			settle(to, kind, is)
			kind = is
		}
	}
}

// isMapping reports whether a node is a mapping, and a problem where it is none.
func (d *decoder) isMapping(n *node, path string) bool {
	if n.kind != mapping {
		d.mismatch(n, path, "a mapping", "write its keys on lines below it, indented")
	}
	return n.kind == mapping
}

// given reports whether a key has a value, and a problem where it has none.
func (d *decoder) given(n *node, path string) bool {
	d.at[path] = n
	if n.kind == null {
		d.problem(n.line, n.column, path+" has no value", "give it one, or remove the key")
	}
	return n.kind != null
}

// meaning says why a field means nothing with a kind.
func (f *field) meaning(kind string) string {
	if len(f.kinds) < 3 {
		return "is for kind: " + strings.Join(f.kinds, " or ") + ", not for " + kind
	}
	return "means nothing with kind: " + kind
}

// unknownKeys reports the keys of a mapping that are none of the names, and returns those
// names that such a key was probably meant to be.
func (d *decoder) unknownKeys(n *node, path string, names []string) (meant map[string]bool) {
	where := ""
	if path != "" {
		where = " in " + path
	}
	meant = map[string]bool{}
	for _, e := range n.fields {
		if !slices.Contains(names, e.key) {
			name, hint := suggest(e.key, names)
			d.problem(e.line, e.column, "unknown key "+quote(e.key)+where, hint)
			meant[name] = true
		}
	}
	return meant
}

// value reads a value. in is the struct that has the field, unless it is the zero Value.
func (d *decoder) value(n *node, path string, f *field, to, in reflect.Value) {
	if d.special(n, path, to, in) {
		return
	}
	switch to.Kind() {
	case reflect.Pointer:
		v := reflect.New(to.Type().Elem())
		d.value(n, path, f, v.Elem(), in)
		to.Set(v)
	case reflect.Struct:
		d.fields(n, path, to)
	case reflect.Slice:
		all := reflect.Zero(to.Type())
		d.list(n, path, func(n *node, path string) {
			v := reflect.New(to.Type().Elem()).Elem()
			d.value(n, path, f, v, in)
			all = reflect.Append(all, v)
		})
		to.Set(all)
	case reflect.Map:
		d.entries(n, path, f, to)
	case reflect.Bool:
		d.boolean(n, path, to)
	case reflect.Int:
		d.integer(n, path, to)
	case reflect.Float64:
		d.float(n, path, f, to)
	case reflect.String:
		d.text(n, path, f, to)
	default:
		panic("scenarios: nothing reads a " + to.Type().String()) // a declaration is wrong
	}
}

// special reads a value of a type that is written in ways of its own, or that has more to it
// than its fields; false where the type is none of these.
func (d *decoder) special(n *node, path string, to, in reflect.Value) bool {
	switch to := to.Addr().Interface().(type) {
	case *time.Duration:
		d.duration(n, path, to)
	case *Gate:
		d.gate(n, path, to)
	case *record.TrialRange:
		d.trials(n, path, to)
	case *Limit:
		d.limit(n, path, in.Addr().Interface().(*Gate), to)
	case *Target:
		d.target(n, path, to)
	case *Design:
		d.design(n, path, to)
	case *Control:
		d.control(n, path, to)
	case *[]drivers.Manifest:
		d.manifests(n, path, to)
	case *TLS:
		d.tls(n, path, to)
	case *Request:
		d.request(n, path, to)
	case *Requests:
		d.requests(n, path, to)
	case *Statuses:
		d.statuses(n, path, to)
	default:
		return false
	}
	return true
}

// list reads a list, item by item.
func (d *decoder) list(n *node, path string, item func(n *node, path string)) {
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

// entries reads a mapping whose keys are no fields. Texts in one may be written as numbers
// and booleans are, and are taken as they are written.
func (d *decoder) entries(n *node, path string, f *field, to reflect.Value) {
	if !d.isMapping(n, path) {
		return
	}
	words, listed := f.keyWords()
	if listed {
		d.unknownKeys(n, path, words)
	}
	all := reflect.Zero(to.Type())
	if len(n.fields) > 0 {
		all = reflect.MakeMap(to.Type())
	}
	for _, e := range n.fields {
		v, p := reflect.New(to.Type().Elem()).Elem(), join(path, e.key)
		switch {
		case listed && !slices.Contains(words, e.key) || !d.given(e.value, p):
			continue
		case v.Kind() != reflect.String:
			d.value(e.value, p, f, v, reflect.Value{})
		case e.value.kind == mapping || e.value.kind == sequence:
			d.mismatch(e.value, p, "text", "")
		default:
			v.SetString(e.value.value)
		}
		all.SetMapIndex(reflect.ValueOf(e.key), v)
	}
	to.Set(all)
}

// keyWords are the words that the keys of a mapping may be, where the declaration lists them.
func (f *field) keyWords() (words []string, listed bool) {
	if f.keys == "" || f.keys == "variable" || strings.HasPrefix(f.keys, "{") {
		return nil, false
	}
	return strings.Fields(f.keys), true
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

// text reads a text, or one of several words.
func (d *decoder) text(n *node, path string, f *field, to reflect.Value) {
	words := strings.Join(f.words, ", ")
	switch {
	case f.form == "port" || f.form == "instances":
		if n.kind != text && n.kind != number {
			d.mismatch(n, path, "a name or a number", "")
			return
		}
	case f.words != nil && !scalar(n, text):
		d.mismatch(n, path, "one of "+words, "")
		return
	case n.kind != text:
		hint := ""
		if n.kind == number || n.kind == boolean {
			hint = fmt.Sprintf("put it in quotes: %q", n.value)
		}
		d.mismatch(n, path, "text", hint)
		return
	case f.words != nil && !slices.Contains(f.words, n.value):
		_, hint := suggest(n.value, f.words)
		d.problem(n.line, n.column, fmt.Sprintf("%s must be one of %s, not %s", path, words, quote(n.value)), hint)
		return
	case f.set != "":
		if words, known := d.words(f.set); known && !slices.Contains(words, n.value) {
			_, hint := suggest(n.value, words)
			d.problem(n.line, n.column, "no "+f.set+" "+quote(n.value), hint)
			return
		}
	}
	to.SetString(n.value)
}

func (d *decoder) boolean(n *node, path string, to reflect.Value) {
	if !scalar(n, boolean) || n.value != "true" && n.value != "false" {
		d.mismatch(n, path, "true or false", "")
		return
	}
	to.SetBool(n.value == "true")
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

func (d *decoder) float(n *node, path string, f *field, to reflect.Value) {
	if f.form == "share" {
		v, ok := parseShare(n)
		if !ok {
			d.mismatch(n, path, "a share, 0..1 or a percentage", shareHint(n))
			return
		}
		to.SetFloat(v)
		return
	}
	if !scalar(n, number) || !decimal.MatchString(n.value) {
		d.mismatch(n, path, "a finite decimal number", numberHint(n))
		return
	}
	v, err := strconv.ParseFloat(n.value, 64)
	if err != nil || math.IsInf(v, 0) {
		d.mismatch(n, path, "a finite decimal number", "")
		return
	}
	to.SetFloat(v)
}

func (d *decoder) integer(n *node, path string, to reflect.Value) {
	if !scalar(n, number) || !whole.MatchString(n.value) {
		d.mismatch(n, path, "a whole number", numberHint(n))
		return
	}
	v, err := strconv.ParseInt(n.value, 10, 32)
	if err != nil {
		d.problem(n.line, n.column, path+" is out of range: "+quote(n.value), "")
		return
	}
	to.SetInt(v)
}

// parseShare reads a rate: 0..1, or a percentage.
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
	if n, err := strconv.ParseFloat(m[1], 64); err == nil && n >= 100 && m[2] == "" {
		return "say " + m[1] + "ms or " + m[1] + "s" // of so many seconds few are meant
	}
	return "say " + m[1] + unit
}

// maxDuration bounds every duration in a scenario, so that sums of them cannot overflow.
const maxDuration = 24 * time.Hour

func (d *decoder) duration(n *node, path string, to *time.Duration) {
	if n.kind == number || n.filled && decimal.MatchString(n.value) {
		d.problem(n.line, n.column, fmt.Sprintf("%s: %s has no unit", path, quote(n.value)), durationHint(n.value))
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
func (d *decoder) where(path string) *node { return nearest(d.at, path) }
