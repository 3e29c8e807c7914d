package scenarios

import (
	"bytes"
	"encoding/json"
	"flag"
	"testing"

	"github.com/goccy/go-yaml"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the golden files anew")

func ptr[T any](v T) *T { return &v }

// compiled is the schema, ready to validate.
func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	raw, err := Schema(offered)
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
		s, err := Parse(name, text, offered)
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
		Properties map[string]struct{ Description string }
	}
	raw, err := Schema(offered)
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
			if p.Description == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
}
