package scenarios

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// field is what a field's declaration says of it: of a struct of a scenario each field is a
// key, and its tags are
//
//	yaml      its name, then required; or inherited: required where the struct that it comes
//	          on top of has none; or omitempty: not written out when it is zero
//	doc       what it means, for the JSON Schema
//	default   its value, in YAML, when nothing is said
//	words     the words that it may hold, or {a set} of words that is known elsewhere
//	keys      the same of the keys of a mapping
//	form      what a text has to look like: slug, prose, path, port, instances, address; share of a number
//	min, max  bounds of a number or a duration, or of every number in it
//	above     a bound that is out of bounds itself
//	kinds     the values of the field kind beside it with which it means something
//	deployed  it means nothing for a target that is a Deployment, and this is the hint
//	address   the same for a target that is an address
//	hint      what to write instead, when it is missing or out of bounds
//
// Reading, checking, writing and describing scenarios go by these alone.
type field struct {
	name, doc                      string
	index                          []int
	required, inherited, omitempty bool

	preset          string
	words, kinds    []string
	set, keys, form string
	min, max, above string
	refused         map[found]string // the hint, by what it means nothing for
	hint            string
	owner           string // the type that declares it, for messages
}

// means reports whether the field means something with a value of the field kind.
func (f *field) means(kind string) bool { return f.kinds == nil || slices.Contains(f.kinds, kind) }

// fieldsOf are the keys of a type of struct, those of embedded structs among them.
func fieldsOf(t reflect.Type) []*field {
	if known, ok := fieldsByType.Load(t); ok {
		return known.([]*field)
	}
	var all []*field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case sf.Anonymous:
			for _, inner := range fieldsOf(sf.Type) {
				f := *inner
				f.index = append(slices.Clone(sf.Index), f.index...)
				f.refused = refusedBy(sf)
				maps.Copy(f.refused, inner.refused)
				all = append(all, &f)
			}
		default:
			all = append(all, newField(t, sf, name, options))
		}
	}
	fieldsByType.Store(t, all)
	return all
}

var fieldsByType sync.Map // of reflect.Type: []*field

func newField(t reflect.Type, sf reflect.StructField, name, options string) *field {
	f := &field{
		name: name, index: sf.Index, owner: strings.ToLower(t.Name()),
		required: options == "required", inherited: options == "inherited", omitempty: options == "omitempty",
		doc: sf.Tag.Get("doc"), preset: sf.Tag.Get("default"), form: sf.Tag.Get("form"), keys: sf.Tag.Get("keys"),
		min: sf.Tag.Get("min"), max: sf.Tag.Get("max"), above: sf.Tag.Get("above"),
		refused: refusedBy(sf), hint: sf.Tag.Get("hint"),
	}
	if words := sf.Tag.Get("words"); strings.HasPrefix(words, "{") {
		f.set = strings.Trim(words, "{}")
	} else if words != "" {
		f.words = strings.Fields(words)
	}
	if kinds := sf.Tag.Get("kinds"); kinds != "" {
		f.kinds = strings.Fields(kinds)
	}
	return f
}

// found is what a target is that somebody else has deployed, "" of any other: the tag of the
// fields that mean nothing for it.
type found string

const (
	deployed found = "deployed" // a Kubernetes Deployment
	address  found = "address"  // what answers at an address
)

// foundKinds are those of them that there are.
var foundKinds = []found{deployed, address}

// String says what it is, for messages.
func (f found) String() string {
	if f == address {
		return "an address"
	}
	return "a deployment"
}

// foundIn is what a target is found as, by the keys that it has.
func foundIn(target *node) found {
	switch {
	case target == nil:
		return ""
	case target.get("deployment") != nil:
		return deployed
	case target.get("url") != nil:
		return address
	case target.get("on") == nil || target.get("image") != nil || target.get("exec") != nil:
		return ""
	}
	for _, e := range target.get("on").fields { // one is enough: mixed ones are refused
		if e.value.get("deployment") != nil {
			return deployed
		}
	}
	return ""
}

// found is what the target is found as.
func (t *Target) found() found {
	switch {
	case t.Deployed():
		return deployed
	case t.Address():
		return address
	}
	return ""
}

func refusedBy(sf reflect.StructField) map[found]string {
	refused := map[found]string{}
	for _, kind := range foundKinds {
		if hint := sf.Tag.Get(string(kind)); hint != "" {
			refused[kind] = hint
		}
	}
	return refused
}

// fieldOf is the field of a type with that key.
func fieldOf[T any](name string) *field {
	all := fieldsOf(reflect.TypeFor[T]())
	return all[slices.IndexFunc(all, func(f *field) bool { return f.name == name })]
}

// hasField says whether a type has a field with that key.
func hasField[T any](name string) bool {
	return slices.ContainsFunc(fieldsOf(reflect.TypeFor[T]()), func(f *field) bool { return f.name == name })
}

// presets gives the fields of a struct, and of the structs in it, the values that they have
// when nothing is said. What depends on a kind waits for the kind.
func presets(to reflect.Value) {
	for _, f := range fieldsOf(to.Type()) {
		v := to.FieldByIndex(f.index)
		switch {
		case f.kinds != nil:
		case f.preset != "":
			f.reset(v)
		case v.Kind() == reflect.Struct:
			presets(v)
		}
	}
}

// reset gives the field its value when nothing is said.
func (f *field) reset(to reflect.Value) {
	to.SetZero()
	if f.preset == "" {
		return
	}
	d := newDecoder("a default", Options{}, nil)
	root := d.tree([]byte(f.name + ": " + f.preset))
	if root != nil {
		d.value(root.get(f.name), f.name, f, to, reflect.Value{})
	}
	if err := d.err(); err != nil {
		panic(fmt.Sprintf("scenarios: default of %s.%s: %v", f.owner, f.name, err)) // it is part of the program
	}
}

// settle makes the fields of a struct whose kind has changed agree with it: what means
// nothing any more goes, and what has begun to mean something has its default.
func settle(to reflect.Value, was, is string) {
	for _, f := range fieldsOf(to.Type()) {
		v := to.FieldByIndex(f.index)
		switch {
		case !f.means(is):
			v.SetZero()
		case !f.means(was):
			f.reset(v)
		}
	}
}

// kindOf is the value of the field kind of a struct, or "".
func kindOf(v reflect.Value) string {
	for _, f := range fieldsOf(v.Type()) {
		if f.name == "kind" {
			return v.FieldByIndex(f.index).String()
		}
	}
	return ""
}

// numeric is the value of a number or a duration, as bounds are compared with.
func numeric(v reflect.Value) (n float64, ok bool) {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		return float64(v.Int()), true
	case reflect.Float64:
		return v.Float(), true
	}
	return 0, false
}

var durationType = reflect.TypeFor[time.Duration]()

// bound is a bound, as numeric has the values that it bounds.
func (f *field) bound(text string, t reflect.Type) float64 {
	if t == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic(fmt.Sprintf("scenarios: bound of %s.%s: %v", f.owner, f.name, err)) // it is part of the program
		}
		return float64(d)
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(fmt.Sprintf("scenarios: bound of %s.%s: %v", f.owner, f.name, err))
	}
	return n
}

// stringKeys are the keys of a mapping.
func stringKeys(v reflect.Value) []string {
	var keys []string
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}
