package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// field is a field of results.json.
type field struct {
	Key, About string
	Type       reflect.Type
	whole      bool // a float that is a whole number
}

// fieldsOf are the fields of a type of results.json: those of the struct, with their
// comments, and the metrics that it writes by the table.
func fieldsOf(t *testing.T, of reflect.Type) []field {
	t.Helper()
	var fields []field
	for f := range of.Fields() {
		if key := f.Tag.Get("json"); key != "-" {
			fields = append(fields, field{Key: key, About: comments(t)[of.Name()+"."+f.Name], Type: f.Type})
		}
	}
	switch of {
	case reflect.TypeFor[Trial]():
		for _, m := range trialMetrics() {
			fields = append(fields, field{Key: m.Key, About: sentence(m.About) + " Null: " + m.None + ".", Type: reflect.TypeFor[*float64](), whole: m.Unit == metric.Count})
		}
	case reflect.TypeFor[Summary]():
		for _, m := range metric.All() {
			switch {
			case estimated(m):
				fields = append(fields, field{Key: m.Key, About: "Over the valid trials: " + m.About + ".", Type: reflect.TypeFor[Estimate]()})
			case m.Pooling == metric.Sum:
				fields = append(fields, field{Key: m.Key, About: "Added up over the valid trials: " + m.About + ".", Type: reflect.TypeFor[uint64]()})
			}
		}
	}
	return fields
}

// comments are those of the fields of all types here, by type and field.
var comments = func() func(t *testing.T) map[string]string {
	var all map[string]string
	return func(t *testing.T) map[string]string {
		if all != nil {
			return all
		}
		t.Helper()
		files, err := filepath.Glob("*.go")
		if err != nil {
			t.Fatal(err)
		}
		all = make(map[string]string)
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				if s, ok := spec.Type.(*ast.StructType); ok {
					for _, f := range s.Fields.List {
						for _, name := range f.Names {
							all[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
						}
					}
				}
				return true
			})
		}
		return all
	}
}()

// schemaOf writes down the JSON Schema of a type of results.json. Unknown fields are
// allowed, because within v1 fields are added.
func schemaOf(t *testing.T, of reflect.Type) map[string]any {
	switch of {
	case reflect.TypeFor[Milliseconds]():
		return map[string]any{"type": "number"}
	case reflect.TypeFor[judge.Verdict]():
		return map[string]any{"enum": []string{"pass", "fail", "inconclusive"}}
	case reflect.TypeFor[GateVerdict]():
		return map[string]any{"enum": []string{"pass", "fail", "warn", "inconclusive"}}
	case reflect.TypeFor[judge.Survival]():
		return map[string]any{"enum": []string{"survives", "breaks", "unknown", "not_tested"}}
	case reflect.TypeFor[judge.Outcome]():
		return map[string]any{"enum": []string{"valid", "failed_by_target", "invalid"}}
	}
	switch of.Kind() {
	case reflect.Pointer:
		return map[string]any{"anyOf": []any{schemaOf(t, of.Elem()), map[string]any{"type": "null"}}}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t, of.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t, of.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Struct:
		properties, required := map[string]any{}, []string{}
		for _, f := range fieldsOf(t, of) {
			s := schemaOf(t, f.Type)
			if f.whole {
				s = schemaOf(t, reflect.TypeFor[*uint64]())
			}
			s["description"] = f.About
			properties[f.Key] = s
			required = append(required, f.Key)
		}
		return map[string]any{"type": "object", "properties": properties, "required": required}
	}
	panic("no schema for " + of.String())
}

// generated compares a file that is made of the types with what it must be, or writes it.
func generated(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not made of these types and comments (-want +got), run with -update:\n%s", file, diff)
	}
}

func TestSchemaIsTheOneOfTheTypes(t *testing.T) {
	s := schemaOf(t, reflect.TypeFor[Document]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = SchemaName
	s["description"] = "The result of a run. Times are milliseconds, rates 0..1; null means that the thing did not happen or that there is no data. Within v1 fields are only added."
	s["properties"].(map[string]any)["schema"] = map[string]any{"const": SchemaName, "description": comments(t)["Document.Schema"]}
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	generated(t, "results.schema.json", want.Bytes())
}

// documented are the types of results.json, each once, in the order in which they occur.
func documented(of reflect.Type, t *testing.T, seen []reflect.Type) []reflect.Type {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || slices.Contains(seen, of) {
		return seen
	}
	seen = append(seen, of)
	for _, f := range fieldsOf(t, of) {
		seen = documented(f.Type, t, seen)
	}
	return seen
}

// A number without a unit, or a null that nobody explains, is one that a program guesses at.
func TestEveryFieldIsDescribed(t *testing.T) {
	key := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for _, of := range documented(reflect.TypeFor[Document](), t, nil) {
		for _, f := range fieldsOf(t, of) {
			at := of.Name() + " " + f.Key
			if len(f.About) < 8 || !strings.HasSuffix(f.About, ".") {
				t.Errorf("%s: no description that is a sentence: %q", at, f.About)
			}
			if !key.MatchString(f.Key) {
				t.Errorf("%s: not a key in snake case", at)
			}
			if null := f.Type.Kind() == reflect.Pointer; null != strings.Contains(f.About, "Null: ") {
				t.Errorf("%s: can be null is %v, the description is %q", at, null, f.About)
			}
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner == reflect.TypeFor[float64]() && !f.whole && !strings.HasSuffix(f.Key, "_ms") &&
				!regexp.MustCompile(`0\.\.1|metric's unit|per second|1 is all|success_rate|planned in the window`).MatchString(f.About) {
				t.Errorf("%s: no unit in %q", at, f.About)
			}
			if inner == reflect.TypeFor[Milliseconds]() && of != reflect.TypeFor[Percentiles]() && !strings.HasSuffix(f.Key, "_ms") {
				t.Errorf("%s: milliseconds, and the key does not say so", at)
			}
		}
	}
}

// typeWords says what a field holds.
func typeWords(f field) string {
	of, suffix := f.Type, ""
	if of.Kind() == reflect.Pointer {
		of, suffix = of.Elem(), " or null"
	}
	link := func(t reflect.Type) string { return fmt.Sprintf("[%s](#%s)", t.Name(), strings.ToLower(t.Name())) }
	switch {
	case f.whole:
		return "integer" + suffix
	case of == reflect.TypeFor[Milliseconds](), strings.HasSuffix(f.Key, "_ms") && of.Kind() == reflect.Float64:
		return "ms" + suffix
	case of == reflect.TypeFor[judge.Verdict]():
		return "pass, fail or inconclusive"
	case of == reflect.TypeFor[GateVerdict]():
		return "pass, fail, warn or inconclusive"
	case of == reflect.TypeFor[judge.Outcome]():
		return "valid, failed_by_target or invalid"
	case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct:
		return "list of " + link(of.Elem())
	case of.Kind() == reflect.Slice:
		return "list of strings"
	case of.Kind() == reflect.Map:
		return "object of strings"
	case of.Kind() == reflect.Struct:
		return link(of) + suffix
	}
	switch of.Kind() {
	case reflect.Float64:
		return "number" + suffix
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer" + suffix
	case reflect.Bool:
		return "true or false"
	}
	return "string" + suffix
}

const fieldsFrom, fieldsTo = "<!-- fields: go test ./reports -update -->\n", "<!-- end of fields -->\n"

// The list of fields in docs/results.md is made of the same comments.
func TestFieldListInTheDocs(t *testing.T) {
	const file = "../docs/results.md"
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(old), fieldsFrom)
	_, after, ok2 := strings.Cut(rest, fieldsTo)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the list of fields", file)
	}
	var b strings.Builder
	b.WriteString(before + fieldsFrom)
	for _, of := range documented(reflect.TypeFor[Document](), t, nil) {
		fmt.Fprintf(&b, "\n### %s\n\n| field | type | |\n|---|---|---|\n", of.Name())
		for _, f := range fieldsOf(t, of) {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Key, typeWords(f), f.About)
		}
	}
	b.WriteString("\n## Metrics\n\nWhat a gate can name, and where a trial has it.\n\n| metric | in a trial | unit | better | over the trials of a cell |\n|---|---|---|---|---|\n")
	for _, m := range metric.All() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", m.Name, m.Key, m.Unit, m.Better, m.Pooling)
	}
	generated(t, file, []byte(b.String()+"\n"+fieldsTo+after))
}

// A document that is read back says the same.
func TestResultsAreReadBack(t *testing.T) {
	first := resultsJSON(t, fixtureRun())
	var doc Document
	if err := json.Unmarshal(first, &doc); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := WriteJSON(&again, doc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), again.String()); diff != "" {
		t.Errorf("read back (-first +again):\n%s", diff)
	}
	if got := doc.Cells[0].Trials[0].Metrics[metric.Downtime]; strconv.FormatFloat(got, 'f', -1, 64) != "2944" {
		t.Errorf("downtime %v", got)
	}
	for name, bad := range map[string]string{"a trial": `{"cells":[{"trials":[{"downtime_ms":"long"}]}]}`, "a summary": `{"cells":[{"summary":{"downtime_ms":3}}]}`} {
		if err := json.Unmarshal([]byte(bad), new(Document)); err == nil {
			t.Errorf("%s of the wrong type was accepted", name)
		}
	}
}
