package scenarios

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// render writes a scenario out in full, in one fixed way, field by field as declared. It is
// not done by a library, because its digest is compared across versions of the lab.
func render(s *Scenario) string {
	w := &writer{found: s.Target.found()}
	w.fields(0, reflect.ValueOf(s).Elem(), reflect.Value{})
	return s.masked(w.String())
}

// masked is what was rendered, with *** for the secrets.
func (s *Scenario) masked(text string) string {
	if len(s.Secrets) == 0 {
		return text
	}
	var written []string // as they are in it: within quotes, or as they are
	for _, secret := range s.Secrets {
		text := scalarText(secret)
		written = append(written, text[1:len(text)-1], secret)
	}
	return record.NewMask(written...).Text(text)
}

type writer struct {
	strings.Builder
	found found // what the target is, where somebody else has deployed it
}

// fields writes what is in a struct, but for what means nothing there, and for what only some
// scenarios know when it is zero. Of one that comes on top of another it is what differs.
func (w *writer) fields(depth int, v, below reflect.Value) {
	kind := kindOf(v)
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		switch {
		case f.refused[w.found] != "" || !f.means(kind):
		case !below.IsValid():
			if !f.omitempty || !fv.IsZero() {
				w.field(depth, f, fv, v)
			}
		case f.omitempty && fv.Kind() == reflect.String && fv.IsZero(): // another key has taken its place
		case !reflect.DeepEqual(fv.Interface(), below.FieldByIndex(f.index).Interface()):
			w.field(depth, f, fv, v)
			w.emptied(depth, f, fv)
		}
	}
}

// emptied writes a list, a mapping or a struct that has nothing in it, which is left out elsewhere.
func (w *writer) emptied(depth int, f *field, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Slice && v.Len() == 0:
		w.line(depth, f.name, "[]")
	case v.Kind() == reflect.Map && v.Len() == 0:
		w.line(depth, f.name, "{}")
	case v.Kind() == reflect.Struct && v.IsZero():
		w.line(depth, f.name, "")
		w.fields(depth+1, v, reflect.Value{})
	}
}

// field writes a key and its value. in is the struct that has it.
func (w *writer) field(depth int, f *field, v, in reflect.Value) {
	if several, ok := v.Interface().(Requests); ok && several.File == "" {
		w.field(depth, f, reflect.ValueOf(several.List), in)
		return
	}
	if r, ok := v.Interface().(record.TrialRange); ok {
		w.line(depth, f.name, r.String())
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			w.field(depth, f, v.Elem(), in)
		}
	case reflect.Struct:
		if !v.IsZero() {
			w.line(depth, f.name, "")
			w.fields(depth+1, v, reflect.Value{})
		}
	case reflect.Slice:
		if v.Len() > 0 {
			w.line(depth, f.name, "")
		}
		for i := range v.Len() {
			w.item(depth+1, f, v.Index(i))
		}
	case reflect.Map:
		if v.Len() > 0 {
			w.line(depth, f.name, "")
		}
		for _, key := range stringKeys(v) {
			w.entry(depth+1, f, key, v.MapIndex(reflect.ValueOf(key)), in)
		}
	default:
		if text := f.scalarOf(v, in); text != "" {
			w.line(depth, f.name, text)
		}
	}
}

// entry writes an entry of a mapping whose keys are no fields.
func (w *writer) entry(depth int, f *field, key string, v, in reflect.Value) {
	if f.keys == "" || !plain.MatchString(key) {
		key = scalarText(key)
	}
	if v.Kind() != reflect.Struct {
		w.line(depth, key, f.scalarOf(v, reflect.Value{}))
		return
	}
	// It comes on top of the struct of its type that is embedded around it.
	inner := &writer{found: w.found}
	inner.fields(depth+1, v, in.FieldByName(v.Type().Name()))
	if inner.Len() == 0 {
		w.line(depth, key, "{}")
		return
	}
	w.line(depth, key, "")
	w.WriteString(inner.String())
}

// item writes an item of a list.
func (w *writer) item(depth int, f *field, v reflect.Value) {
	inner := &writer{found: w.found}
	switch it := v.Interface().(type) {
	case Control:
		if len(it.On) == 0 {
			v = v.FieldByName("Design")
		}
	case drivers.Manifest:
		inner.line(depth+1, "file", scalarText(it.File))
		inner.block(depth+1, "text", it.Text)
	}
	switch {
	case v.Kind() != reflect.Struct:
		inner.WriteString(strings.Repeat("  ", depth+1) + f.scalarOf(v, reflect.Value{}) + "\n")
	case inner.Len() == 0:
		inner.fields(depth+1, v, reflect.Value{})
	}
	w.WriteString(strings.Repeat("  ", depth) + "- " + inner.String()[2*depth+2:])
}

// block writes a text of several lines as it is.
func (w *writer) block(depth int, key, text string) {
	w.line(depth, key, "|")
	for line := range strings.Lines(strings.ReplaceAll(text, "${", "$${")) {
		if line != "\n" {
			line = strings.Repeat("  ", depth+1) + line
		}
		w.WriteString(line)
	}
}

func (w *writer) line(depth int, key, value string) {
	w.WriteString(strings.Repeat("  ", depth) + key + ":")
	if value != "" {
		w.WriteString(" " + value)
	}
	w.WriteString("\n")
}

// scalarOf is a scalar as it is written; "" is a word that was never chosen.
func (f *field) scalarOf(v, in reflect.Value) string {
	switch it := v.Interface().(type) {
	case time.Duration:
		return it.String()
	case Limit:
		return it.text(in.Interface().(Gate))
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return decimalText(v.Float())
	case reflect.String:
		if f.words == nil && f.set != "metric" {
			return scalarText(v.String())
		}
		if v.String() != "" && !plain.MatchString(v.String()) {
			return quotedText(v.String())
		}
		return v.String()
	}
	panic("scenarios: nothing writes a " + v.Type().String()) // a declaration is wrong
}

// text writes a limit in the unit of its metric.
func (l Limit) text(in Gate) string {
	switch {
	case in.Share:
		return shifted(decimalText(float64(l))) + "%"
	case unitOf(in.Metric) == metric.Duration:
		return time.Duration(float64(l) * float64(time.Millisecond)).String()
	}
	return decimalText(float64(l))
}

// shifted is a decimal, not negative, times a hundred: to the digit, which a multiplication is not.
func shifted(decimal string) string {
	whole, rest, _ := strings.Cut(decimal, ".")
	rest += "00"
	whole = strings.TrimLeft(whole+rest[:2], "0")
	if whole == "" {
		whole = "0"
	}
	if rest = strings.TrimRight(rest[2:], "0"); rest != "" {
		whole += "." + rest
	}
	return whole
}

func decimalText(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// scalarText writes a text as a double-quoted scalar on one line, so that nothing in it
// can be taken for YAML or for a variable.
func scalarText(s string) string { return quotedText(strings.ReplaceAll(s, "${", "$${")) }

func quotedText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
