package drivers

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func stackOfRevisions() Stack {
	s := validStack()
	s.Revision = "v1"
	s.Revisions = map[string]Variation{
		"v1": {Exec: "/bin/one", Args: []string{"${listen.data}"}, Env: map[string]string{"A": "1"}},
		"v2": {Image: "two:2"},
	}
	return s
}

func TestAt(t *testing.T) {
	s := stackOfRevisions()
	one, err := s.At("v1")
	if err != nil || one.Subject.Exec != "/bin/one" || one.Subject.Env["A"] != "1" || !slices.Equal(one.Subject.Args, []string{"${listen.data}"}) {
		t.Errorf("v1 is %+v, %v", one.Subject, err)
	}
	two, err := s.At("v2")
	if err != nil || two.Revision != "v2" || two.Subject.Image != "two:2" || two.Subject.Exec != "" || two.Subject.Args != nil || two.Subject.Env != nil {
		t.Errorf("v2 is %+v, %v; want nothing of the subject's own", two.Subject, err)
	}
	if two.Subject.Name != "proxy" || two.Subject.Signal.Kind != s.Subject.Signal.Kind || len(s.Subject.Args) != 3 {
		t.Errorf("v2 is %+v of %+v", two.Subject, s.Subject)
	}
	if _, err := s.At("v3"); !errors.Is(err, ErrNoRevision) || !strings.Contains(err.Error(), "v3") {
		t.Errorf("v3: %v", err)
	}
	same := validStack()
	if at, err := same.At("anything"); err != nil || !slices.Equal(at.Subject.Args, same.Subject.Args) {
		t.Errorf("without revisions: %+v, %v", at.Subject, err)
	}
}

func TestAtManifests(t *testing.T) {
	var s Stack
	objects(func(s *Stack) {
		s.Objects.Manifests = nil
		s.Revisions = map[string]Variation{"v1": {Manifests: []Manifest{{File: "1", Text: "a"}}}, "v2": {Manifests: []Manifest{{File: "2", Text: "b"}}}}
	})(&s)
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	at, err := s.At("v2")
	if err != nil || len(at.Objects.Manifests) != 1 || at.Objects.Manifests[0].File != "2" || s.Objects.Manifests != nil {
		t.Errorf("%+v, %v; the stack's own %+v", at.Objects, err, s.Objects)
	}
}

func TestServices(t *testing.T) {
	var got []string
	for _, s := range stackOfRevisions().Services() {
		got = append(got, s.Name+s.Exec+s.Image)
	}
	if want := []string{"upstream", "control", "proxy/bin/one", "proxytwo:2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := len(validStack().Services()); n != 3 {
		t.Errorf("%d services without revisions, want 3", n)
	}
}

func TestValidateRevisions(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		mutate     func(map[string]Variation)
	}{
		{"as it is", "", func(map[string]Variation) {}},
		{"the first is missing", `no revision "v1"`, func(r map[string]Variation) { delete(r, "v1") }},
		{"image and program", "revision v2: service proxy: both image", func(r map[string]Variation) { r["v2"] = Variation{Image: "a", Exec: "b"} }},
		{"placeholder", "revision v2: ", func(r map[string]Variation) { r["v2"] = Variation{Args: []string{"${nonsense}"}} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stackOfRevisions()
			tt.mutate(s.Revisions)
			switch err := s.Validate(); {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestSupportOfRevisions: a Deployment whose manifests are those of its revisions is no adopted one.
func TestSupportOfRevisions(t *testing.T) {
	var s Stack
	objects(func(s *Stack) {
		s.Objects.Manifests = nil
		s.Revisions = map[string]Variation{"v1": {Manifests: []Manifest{{File: "1", Text: "a"}}}}
	})(&s)
	refused := Support{"deployment=adopted": Answer{How: Refused, Why: "no", Hint: "no"}}
	if err := refused.Refuse("it", s); err != nil {
		t.Error(err)
	}
}
