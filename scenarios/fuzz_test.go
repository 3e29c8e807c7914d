package scenarios

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse: whatever the text, Parse says what is wrong or gives a scenario whose
// Source gives it again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good), "1000")
	for _, name := range Names() {
		text, err := Text(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "10")
	}
	for _, text := range []string{"", "a", "- a", "a: [", "a: &a *a", "? a", "a:\n\t- b", "{a: {b: c}}", "a: |\n  b\n", "a: !!binary b", "--- a\n--- b", "%YAML 1.2\n---\na: b", "a: ${", "\"\\x41\": b", "<<: a"} {
		f.Add([]byte(text), "x")
	}
	f.Fuzz(func(t *testing.T, data []byte, value string) {
		for _, o := range []Options{offered, {Vars: map[string]string{"rate": value}}} {
			s, err := Parse("fuzz.yaml", data, o)
			if (s == nil) == (err == nil) {
				t.Fatalf("got %v and %v", s, err)
			}
			if err != nil {
				if err.Error() == "" {
					t.Fatal("an error that says nothing")
				}
				continue
			}
			again, err := Parse("fuzz.yaml", []byte(s.Source), Options{})
			if err != nil {
				t.Fatalf("its Source: %v\n%s", err, s.Source)
			}
			if diff := cmp.Diff(s, again); diff != "" {
				t.Fatalf("its Source gives another scenario (-want +got):\n%s", diff)
			}
		}
	})
}
