package scenarios

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Patterns of texts in a scenario's file, in which ${name} may stand for a value or a part
// of one.
const (
	variablePattern = `\$\{[a-z][a-z0-9_]{0,39}\}`
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$|` + variablePattern
	percentPattern  = `^[0-9]+(\.[0-9]+)?%$|` + variablePattern
)

// Schema is the JSON Schema (draft 2020-12) of a scenario's file, for editors, made of the
// fields' declarations. It tells unknown keys, wrong types and wrong words; what takes
// several fields to see (phases that overlap, the unit of a limit) only Parse tells. Of the
// options it takes the names of drivers.
func Schema(o Options) ([]byte, error) {
	m := &schemas{decoder: newDecoder("", o, builtin), defs: schema{}}
	s := m.object(reflect.TypeFor[Scenario]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = "https://github.com/rollout-lab/rollout-lab/schemas/scenario-v1.json"
	s["title"] = "A rollout-lab scenario"
	s["description"] = "A target, a load, one action and the gates."
	s["$defs"] = m.defs
	// A design of what is found is its manifests or its command; every other one needs a signal.
	s["if"] = targetHas("url")
	s["then"] = schema{"properties": refused(address)}
	s["else"] = schema{
		"required":   []string{"replicas"},
		"properties": schema{"phases": schema{"required": []string{"window"}}},
		"if":         targetHas("deployment"),
		"then":       schema{"properties": refused(deployed)},
		"else": schema{"properties": schema{"designs": schema{"items": anyOf(
			schema{"type": "string"}, schema{"required": []string{"from"}}, schema{"required": []string{"signal"}},
		)}}},
	}
	return json.MarshalIndent(s, "", "  ")
}

type schema = map[string]any

// schemas makes the schemas of types, each type of struct once.
type schemas struct {
	*decoder // for the words of sets
	defs     schema
}

func anyOf(all ...any) schema { return schema{"anyOf": all} }

func targetHas(key string) schema {
	return schema{"properties": schema{"target": schema{"required": []string{key}}}}
}

// refused are the keys of a scenario, and of its designs, that mean nothing for such a target.
func refused(by found) schema {
	out := refusals[Scenario](by)
	out["designs"] = schema{"items": schema{"type": "object", "properties": refusals[Design](by)}}
	if phases := refusals[Phases](by); len(phases) > 0 {
		out["phases"] = schema{"properties": phases}
	}
	return out
}

// refusals are the keys of a type that mean nothing for such a target.
func refusals[T any](by found) schema {
	out := schema{}
	for _, f := range fieldsOf(reflect.TypeFor[T]()) {
		if f.refused[by] != "" {
			out[f.name] = false
		}
	}
	return out
}

// object is the schema of a struct.
func (m *schemas) object(t reflect.Type) schema {
	properties, required := schema{}, []string{}
	for _, f := range fieldsOf(t) {
		p := m.value(f, t.FieldByIndex(f.index).Type)
		p["description"] = f.doc
		properties[f.name] = p
		if f.required && f.kinds == nil && len(f.refused) == 0 { // what a kind decides is not always required
			required = append(required, f.name)
		}
	}
	out := schema{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	if t == reflect.TypeFor[Gate]() {
		limit, comparison := []string{"op", "limit"}, []string{"against"}
		out["oneOf"] = []any{schema{"required": limit, "not": schema{"required": comparison}}, schema{"required": comparison}}
		out["dependentRequired"] = map[string][]string{"margin": comparison}
	}
	if t == reflect.TypeFor[Target]() {
		var one []any
		for _, kind := range targetKinds {
			one = append(one, schema{"required": []string{kind}})
		}
		// Each driver or revision may have a service of its own, and then none need be shared.
		out["oneOf"] = append(one, schema{
			"anyOf": []any{schema{"required": []string{"on"}}, schema{"required": []string{"revisions"}}},
			"not":   anyOf(slices.Clone(one)...),
		})
		out["if"] = schema{"required": []string{"on"}}
		out["else"] = schema{"dependentRequired": map[string][]string{"deployment": {"service"}, "service": {"deployment"}, "port": {"deployment"}, "manifests": {"deployment"}}}
	}
	return out
}

// ref is a reference to the schema of a struct.
func (m *schemas) ref(t reflect.Type) schema {
	if _, known := m.defs[t.Name()]; !known {
		m.defs[t.Name()] = nil // until it is made: it may refer to itself
		m.defs[t.Name()] = m.object(t)
	}
	return schema{"$ref": "#/$defs/" + t.Name()}
}

// value is the schema of a value of the field.
func (m *schemas) value(f *field, t reflect.Type) schema {
	switch t {
	case durationType:
		return schema{"type": "string", "pattern": durationPattern}
	case reflect.TypeFor[record.TrialRange]():
		return anyOf(f.bounded("integer"), schema{"type": "string", "pattern": rangePattern + "|^" + variablePattern + "$"})
	case reflect.TypeFor[Limit]():
		return anyOf(schema{"type": "number", "minimum": 0}, schema{"type": "string", "pattern": percentPattern + "|" + durationPattern})
	}
	switch t {
	case reflect.TypeFor[Statuses]():
		one := anyOf(schema{"type": "integer", "minimum": 200, "maximum": 599}, schema{"type": "string", "pattern": statusForm.String() + "|" + variablePattern})
		return anyOf(one, schema{"type": "array", "items": one, "minItems": 1})
	case reflect.TypeFor[Requests]():
		return anyOf(schema{"type": "array", "items": m.ref(reflect.TypeFor[Request]()), "minItems": 1}, m.ref(t))
	}
	switch t.Kind() {
	case reflect.Pointer:
		return m.value(f, t.Elem())
	case reflect.Struct:
		out := m.ref(t)
		if f.min+f.max != "" { // of every number in it
			bounds := schema{}
			for _, inner := range fieldsOf(t) {
				bounds[inner.name] = anyOf(f.bounded("integer"), schema{"type": "string"})
			}
			out["properties"] = bounds
		}
		return out
	case reflect.Slice:
		out := schema{"type": "array", "items": m.item(f, t.Elem())}
		if f.required || f.name == "manifests" && f.owner == "design" {
			out["minItems"] = 1
		}
		return out
	case reflect.Map:
		return m.entries(f, t.Elem())
	case reflect.Bool:
		return orVariable(schema{"type": "boolean"})
	case reflect.Int:
		return orVariable(f.bounded("integer"))
	case reflect.Float64:
		if f.form == "share" {
			return anyOf(f.bounded("number"), schema{"type": "string", "pattern": percentPattern})
		}
		return orVariable(f.bounded("number"))
	default:
		return m.text(f)
	}
}

// item is the schema of an item of a list, which may be shorter than its type.
func (m *schemas) item(f *field, t reflect.Type) schema {
	of := m.value(f, t)
	switch t {
	case reflect.TypeFor[Design]():
		return anyOf(m.words("builtin design"), of)
	case reflect.TypeFor[Control]():
		return anyOf(schema{"type": "string"}, of)
	case reflect.TypeFor[drivers.Manifest]():
		return anyOf(schema{"type": "string", "minLength": 1, "description": "The path of a file, from the scenario's folder."}, of)
	}
	return of
}

// entries is the schema of a mapping whose keys are no fields.
func (m *schemas) entries(f *field, of reflect.Type) schema {
	out := schema{"type": "object"}
	if of.Kind() == reflect.String { // what is not of text may be written as it is
		out["additionalProperties"] = anyOf(schema{"type": "string"}, schema{"type": "number"}, schema{"type": "boolean"})
	} else {
		out["additionalProperties"] = m.value(f, of)
	}
	words, listed := f.keyWords()
	switch {
	case f.keys == "variable":
		out["propertyNames"] = schema{"pattern": variable.String()}
	case f.keys == "{driver}" && m.options.Drivers != nil:
		out["propertyNames"] = schema{"enum": m.options.Drivers}
	case listed:
		out["propertyNames"] = schema{"enum": words}
	}
	return out
}

func (m *schemas) text(f *field) schema {
	switch {
	case f.words != nil:
		return anyOf(schema{"enum": f.words}, schema{"type": "string", "pattern": variablePattern})
	case f.set != "":
		return m.words(f.set)
	case f.form == "slug":
		return schema{"type": "string", "pattern": slug.String() + "|" + variablePattern}
	case f.form == "instances":
		return anyOf(schema{"type": "integer", "minimum": 1}, schema{"type": "string", "pattern": `^(all|oldest|newest|first-new|[0-9.]+%|[0-9]+)$|` + variablePattern})
	case f.form == "port":
		return anyOf(schema{"type": "string"}, schema{"type": "integer", "minimum": 1, "maximum": maxPort})
	}
	return schema{"type": "string"}
}

// words is the schema of a word of a set.
func (m *schemas) words(set string) schema {
	words, known := m.decoder.words(set)
	if !known {
		return schema{"type": "string"}
	}
	return anyOf(schema{"enum": words}, schema{"type": "string", "pattern": variablePattern})
}

// bounded is the schema of a number within the field's bounds.
func (f *field) bounded(kind string) schema {
	out := schema{"type": kind}
	for name, bound := range map[string]string{"minimum": f.min, "maximum": f.max, "exclusiveMinimum": f.above} {
		if bound != "" {
			out[name] = json.Number(bound)
		}
	}
	return out
}

// orVariable lets ${name} stand for a value that is no text.
func orVariable(of schema) schema {
	return anyOf(of, schema{"type": "string", "pattern": "^" + variablePattern + "$"})
}
