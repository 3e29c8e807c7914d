package scenarios

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	generator "github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	packagePath     = "github.com/rollout-lab/rollout-lab/scenarios"
	variablePattern = `\$\{[a-z][a-z0-9_]{0,39}\}`
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$|` + variablePattern
	percentPattern  = `^[0-9]+(\.[0-9]+)?%$|` + variablePattern
	slugPattern     = `^[a-z0-9][a-z0-9-]{0,39}$|` + variablePattern
)

// generate makes the schema from the types, their comments, and the words and bounds
// that the checks use.
func generate(t *testing.T) []byte {
	t.Helper()
	r := &generator.Reflector{
		FieldNameTag: "yaml", ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		BaseSchemaID: "https://github.com/rollout-lab/rollout-lab/schemas",
		Mapper: func(typ reflect.Type) *generator.Schema {
			switch typ {
			case reflect.TypeFor[time.Duration]():
				return &generator.Schema{Type: "string", Pattern: durationPattern}
			case reflect.TypeFor[Limit]():
				return &generator.Schema{AnyOf: []*generator.Schema{
					{Type: "number", Minimum: "0"},
					{Type: "string", Pattern: percentPattern + "|" + durationPattern},
				}}
			}
			return nil
		},
	}
	if err := r.AddGoComments(packagePath, "."); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&Scenario{})
	s.ID = "https://github.com/rollout-lab/rollout-lab/schemas/scenario-v1.json"
	s.Title = "A rollout-lab scenario"
	defs := s.Definitions
	field := func(of *generator.Schema, name string) *generator.Schema {
		t.Helper()
		p, ok := of.Properties.Get(name)
		if !ok {
			t.Fatalf("the types have no field %s", name)
		}
		return p
	}
	words := func(of *generator.Schema, name string, words ...string) {
		p := field(of, name)
		p.AnyOf = []*generator.Schema{{Enum: anys(words)}, {Type: "string", Pattern: variablePattern}}
		p.Type, p.Ref = "", ""
	}
	bounds := func(of *generator.Schema, name string, low, high int) {
		p := field(of, name)
		p.Minimum, p.Maximum = number64(low), number64(high)
	}

	s.Required = []string{"name", "target", "replicas", "load", "phases", "action", "designs"}
	field(s, "name").Pattern = slugPattern
	field(s, "vars").AdditionalProperties = &generator.Schema{Type: "", AnyOf: []*generator.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
	field(s, "vars").PropertyNames = &generator.Schema{Pattern: variable.String()}
	bounds(s, "replicas", 1, maxReplicas)
	bounds(s, "trials", 1, maxTrials)
	field(s, "controls_on").Items = &generator.Schema{Enum: anys(driverNames)}
	field(s, "designs").MinItems = ptr(uint64(1))
	field(s, "designs").Items = &generator.Schema{AnyOf: []*generator.Schema{
		{Type: "string", Description: "The name of a builtin design.", AnyOf: []*generator.Schema{{Enum: anys(builtinNames())}, {Pattern: variablePattern}}},
		{Ref: "#/$defs/Design"},
	}}
	path := &generator.Schema{Type: "string", MinLength: ptr(uint64(1)), Description: "The path of a file, from the scenario's folder."}
	defs["Manifest"].Required = []string{"file", "text"}
	for _, def := range []string{"Target", "Design"} {
		field(defs[def], "manifests").Items = &generator.Schema{AnyOf: []*generator.Schema{path, {Ref: "#/$defs/Manifest"}}}
	}
	field(defs["Design"], "manifests").MinItems = ptr(uint64(1))
	port := field(defs["Target"], "port")
	port.AnyOf, port.Type = []*generator.Schema{{Type: "string"}, {Type: "integer", Minimum: "1", Maximum: number64(maxPort)}}, ""
	defs["Target"].DependentRequired = map[string][]string{"deployment": {"service"}, "service": {"deployment"}, "port": {"deployment"}, "manifests": {"deployment"}}
	for _, name := range targetKinds {
		defs["Target"].OneOf = append(defs["Target"].OneOf, &generator.Schema{Required: []string{name}})
	}
	bounds(defs["Ports"], "data", 0, maxPort)
	bounds(defs["Ports"], "health", 0, maxPort)
	bounds(defs["Request"], "status", 100, 599)
	bounds(defs["Limits"], "memory", 0, maxMemory)
	field(defs["Limits"], "cpus").Minimum, field(defs["Limits"], "cpus").Maximum = "0", number64(maxCPUs)
	proxy := defs["Refproxy"]
	proxy.Required = []string{"sessions", "sync_rate"}
	bounds(proxy, "sessions", 1, maxSessions)
	bounds(proxy, "routes", 1, maxRoutes)
	field(proxy, "sync_rate").ExclusiveMinimum = "0"
	load := defs["Traffic"]
	load.Required = []string{"rate"}
	field(load, "rate").ExclusiveMinimum, field(load, "rate").Maximum = "0", number64(maxRate)
	streams := field(load, "streams")
	streams.PropertyNames = &generator.Schema{Enum: anys(streamNames)}
	streams.AdditionalProperties = &generator.Schema{Type: "integer", Minimum: "0", Maximum: number64(maxRoutes)}
	deny := field(load, "deny")
	deny.AnyOf = []*generator.Schema{{Type: "number", Minimum: "0", Maximum: "0.5"}, {Type: "string", Pattern: percentPattern}}
	deny.Type = ""
	defs["Phases"].Required = []string{"baseline", "window"}
	defs["Phase"].Required = []string{"from", "to"}
	defs["Action"].Required = []string{"kind"}
	words(defs["Action"], "kind", actionKinds...)
	delete(defs, "ActionKind")
	bounds(defs["Action"], "to", 0, maxReplicas)
	bounds(defs["Rolling"], "max_surge", 0, maxReplicas)
	bounds(defs["Rolling"], "max_unavailable", 0, maxReplicas)
	words(defs["Balancer"], "policy", policies...)
	design := defs["Design"]
	design.Required = []string{"name"}
	// A design of a Deployment is its manifests; every other one needs a signal.
	within := func(name string, of *generator.Schema) *generator.Schema {
		out := &generator.Schema{Properties: generator.NewProperties()}
		out.Properties.Set(name, of)
		return out
	}
	s.If = within("target", &generator.Schema{Required: []string{"deployment"}})
	s.Then = within("designs", &generator.Schema{Items: &generator.Schema{Type: "object", PropertyNames: &generator.Schema{Enum: anys([]string{"name", "about", "manifests"})}}})
	s.Else = within("designs", &generator.Schema{Items: &generator.Schema{AnyOf: []*generator.Schema{
		{Type: "string"}, {Required: []string{"from"}}, {Required: []string{"signal"}},
	}}})
	field(design, "on").PropertyNames = &generator.Schema{Enum: anys(driverNames)}
	field(design, "name").Pattern = slugPattern
	words(design, "health", healthModes...)
	words(defs["Settings"], "health", healthModes...)
	// What is not of text may be written as it is.
	scalars := []*generator.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}
	for of, name := range map[*generator.Schema]string{design: "env", defs["Settings"]: "env", defs["Target"]: "env", defs["Request"]: "header"} {
		field(of, name).AdditionalProperties = &generator.Schema{AnyOf: scalars}
	}
	design.Properties.Set("from", &generator.Schema{
		Type: "string", Description: "The name of a builtin design to start from; the other keys come on top of it.",
		AnyOf: []*generator.Schema{{Enum: anys(builtinNames())}, {Pattern: variablePattern}},
	})
	signal := defs["Signal"]
	words(signal, "kind", signalKinds...)
	words(signal, "port", signalPorts...)
	bounds(signal, "rise", 1, maxCount)
	bounds(signal, "fall", 1, maxCount)
	gate := defs["Gate"]
	gate.Required = []string{"design", "metric", "op", "limit"}
	words(gate, "metric", metric.Names()...)
	words(gate, "op", operators...)

	allowVariables(s)
	for _, def := range defs {
		allowVariables(def)
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// allowVariables lets ${name} stand for every number and boolean.
func allowVariables(s *generator.Schema) {
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		p := pair.Value
		switch p.Type {
		case "integer", "number", "boolean":
			own := *p
			own.Description = ""
			*p = generator.Schema{Description: p.Description, AnyOf: []*generator.Schema{&own, {Type: "string", Pattern: "^" + variablePattern + "$"}}}
		}
	}
}

func anys(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

func number64(v int) json.Number {
	b, _ := json.Marshal(v) // an int always marshals
	return json.Number(b)
}

func ptr[T any](v T) *T { return &v }

func TestSchemaIsGeneratedFromTheTypes(t *testing.T) {
	want := generate(t)
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("schema.json is not what the types say; run go test ./scenarios -run TestSchema -update (-want +got):\n%s", diff)
	}
}

// compiled is the embedded schema, ready to validate.
func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	sch, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	return sch
}

// asJSON is a YAML text as the validator takes it.
func asJSON(t *testing.T, text []byte) any {
	t.Helper()
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return v
}

func TestSchemaAcceptsTheCatalogue(t *testing.T) {
	sch := compiled(t)
	for _, name := range Names() {
		text, err := Text(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(name, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string][]byte{"as written": text, "rendered": []byte(s.Source)} {
			if err := sch.Validate(asJSON(t, text)); err != nil {
				t.Errorf("%s %s: %v", name, what, err)
			}
		}
	}
}

// TestSchemaDescribesEveryField holds the schema to being of use in an editor.
func TestSchemaDescribesEveryField(t *testing.T) {
	type object struct {
		Description string
		Properties  map[string]struct {
			Description string
			Ref         string `json:"$ref"`
		}
	}
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	doc.Defs["Scenario"] = doc.object
	for name, def := range doc.Defs {
		for field, p := range def.Properties {
			if p.Description == "" && p.Ref == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
		if def.Description == "" {
			t.Errorf("%s has no description", name)
		}
	}
}
