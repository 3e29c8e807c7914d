package scenarios

import (
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// TestDeclarationsAreSound: a slip in a tag would be a rule that nobody keeps.
func TestDeclarationsAreSound(t *testing.T) {
	known := map[string][]string{
		"yaml": nil, "doc": nil, "default": nil, "words": nil, "keys": nil, "min": nil, "max": nil, "above": nil, "kinds": nil, "deployed": nil, "address": nil, "hint": nil,
		"form": {"slug", "prose", "path", "port", "instances", "address", "share", "method", "regexp"},
	}
	tag := regexp.MustCompile(`([a-z]+):("(?:[^"\\]|\\.)*")`)
	seen := map[reflect.Type]bool{}
	var visit func(t reflect.Type)
	visit = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || seen[of] || of == reflect.TypeFor[record.TrialRange]() { // a scalar in a scenario
			return
		}
		seen[of] = true
		for i := range of.NumField() {
			sf := of.Field(i)
			rest := tag.ReplaceAllStringFunc(string(sf.Tag), func(found string) string {
				name := tag.FindStringSubmatch(found)[1]
				values, ok := known[name]
				if value := sf.Tag.Get(name); !ok || values != nil && !slices.Contains(values, value) {
					t.Errorf("%s.%s: no tag is %s", of, sf.Name, found)
				}
				return ""
			})
			if regexp.MustCompile(`\S`).MatchString(rest) {
				t.Errorf("%s.%s: %q is no tag", of, sf.Name, rest)
			}
		}
		for _, f := range fieldsOf(of) {
			sf := of.FieldByIndex(f.index)
			if f.name == "" || f.doc == "" {
				t.Errorf("%s.%s has no name, or no doc", of, sf.Name)
			}
			if f.set != "" {
				newDecoder("", Options{}, builtin).words(f.set) // panics where there is none
			}
			for _, bound := range []string{f.min, f.max, f.above} {
				if inner := sf.Type; bound != "" && inner.Kind() != reflect.Struct && inner.Kind() != reflect.Map {
					f.bound(bound, inner)
				}
			}
			for _, kind := range f.kinds {
				if kinds := fieldIn(of, "kind"); kinds == nil || !slices.Contains(kinds.words, kind) {
					t.Errorf("%s.%s: there is no kind %s", of, sf.Name, kind)
				}
			}
			f.reset(reflect.New(sf.Type).Elem()) // panics where the default cannot be read
			visit(sf.Type)
		}
	}
	visit(reflect.TypeFor[Scenario]())
	if len(seen) < 12 {
		t.Errorf("%d types: the walk is broken", len(seen))
	}
}

func fieldIn(t reflect.Type, name string) *field {
	all := fieldsOf(t)
	if i := slices.IndexFunc(all, func(f *field) bool { return f.name == name }); i >= 0 {
		return all[i]
	}
	return nil
}
