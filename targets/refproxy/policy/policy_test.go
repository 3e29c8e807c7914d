package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

func TestCompileRefuses(t *testing.T) {
	app := policy.Route{Prefix: "/app/", Allow: []string{"staff"}}
	tests := []struct {
		name   string
		config policy.Config
		names  string // what the error must point at
	}{
		{"no generation", policy.Config{Routes: []policy.Route{app}}, "generation is 0"},
		{"no routes", policy.Config{Generation: 4}, "generation 4"},
		{"prefix does not begin with a slash", policy.Config{Generation: 4, Routes: []policy.Route{app, {Prefix: "x/"}}}, `"x/"`},
		{"prefix does not end with a slash", policy.Config{Generation: 4, Routes: []policy.Route{app, {Prefix: "/x"}}}, `"/x"`},
		{"empty prefix", policy.Config{Generation: 4, Routes: []policy.Route{{}}}, `""`},
		{"same prefix twice", policy.Config{Generation: 4, Routes: []policy.Route{app, app}}, `"/app/"`},
		{"nameless group", policy.Config{Generation: 4, Routes: []policy.Route{{Prefix: "/x/", Allow: []string{""}}}}, `"/x/"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.Compile(tt.config)
			if !errors.Is(err, policy.ErrInvalid) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error = %v, want ErrInvalid that names %s", err, tt.names)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	table, err := policy.Compile(policy.Config{Generation: 3, Routes: []policy.Route{
		{Prefix: "/app/", Allow: []string{"staff", "guests"}},
		{Prefix: "/app/admin/", Allow: []string{"staff"}},
		{Prefix: "/app/admin/keys/deep/"},
		{Prefix: "/forbidden/"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if table.Generation() != 3 || table.Len() != 4 {
		t.Errorf("generation %d with %d routes, want 3 with 4", table.Generation(), table.Len())
	}
	const allow, deny, none = policy.Allow, policy.Deny, policy.NoRoute
	tests := []struct {
		path                    string
		staff, guests, stranger policy.Verdict
		unknown                 policy.Verdict // of a session whose group is not known
	}{
		{"/app/", allow, allow, deny, allow},
		{"/app/items/7", allow, allow, deny, allow},
		{"/app", none, none, none, none},
		{"/apple/", none, none, none, none},
		{"/app/admin", allow, allow, deny, allow},
		{"/app/admin/", allow, deny, deny, allow},
		{"/app/admin/keys/x", allow, deny, deny, allow},
		{"/app/admin/keys/deep/", deny, deny, deny, deny},
		{"/app/admin/keys/deep/er/and/deeper", deny, deny, deny, deny},
		{"/forbidden/x", deny, deny, deny, deny},
		{"/", none, none, none, none},
		{"", none, none, none, none},
		{"x", none, none, none, none},
	}
	for _, tt := range tests {
		for group, want := range map[string]policy.Verdict{
			"staff": tt.staff, "guests": tt.guests, "stranger": tt.stranger,
		} {
			if got := table.Decide(tt.path, group); got != want {
				t.Errorf("Decide(%q, %q) = %v, want %v", tt.path, group, got, want)
			}
		}
		if got := table.DecideUnknown(tt.path); got != tt.unknown {
			t.Errorf("DecideUnknown(%q) = %v, want %v", tt.path, got, tt.unknown)
		}
	}
}

func TestRootRouteTakesTheRest(t *testing.T) {
	table, err := policy.Compile(policy.Config{Generation: 1, Routes: []policy.Route{
		{Prefix: "/", Allow: []string{"staff"}}, {Prefix: "/closed/"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]policy.Verdict{
		"/": policy.Allow, "/x/y/z": policy.Allow, "/closed/x": policy.Deny,
	} {
		if got := table.Decide(path, "staff"); got != want {
			t.Errorf("Decide(%q) = %v, want %v", path, got, want)
		}
	}
}
