package healthkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidateSaysWhichNamesMeetNothing(t *testing.T) {
	parts := func(t *testing.T, cfg Config, more ...func(r *Registry)) *Registry {
		r := New(cfg)
		mustRegister(t, r, "database", Options{}).Ready()
		mustRegister(t, r, "cache", Options{Optional: true}).Ready()
		for _, do := range more {
			do(r)
		}
		return r
	}
	orders := func(o Options) func(*Registry) {
		return func(r *Registry) {
			c, err := r.Register("orders", o)
			if err != nil {
				t.Fatal(err)
			}
			c.Ready()
		}
	}
	for _, tt := range []struct {
		name    string
		config  Config
		more    []func(*Registry)
		errs    []string // of Validate, one a line
		is      error
		verbose []string
	}{
		{name: "all meet", config: Config{Expect: []string{"cache"}}, more: []func(*Registry){
			orders(Options{DependsOn: []string{"database", "cache"}}),
			func(r *Registry) {
				if _, err := r.RegisterGroup("replicas", GroupOptions{AtLeast: 1, Optional: true}); err != nil {
					t.Fatal(err)
				}
				mustRegister(t, r, "replica-1", Options{Group: "replicas"}).Ready()
			},
		}},
		{
			name: "a dependency", more: []func(*Registry){orders(Options{DependsOn: []string{"databse"}})}, is: ErrUnknown,
			errs:    []string{"databse, dependency of orders: name meets nothing (is it database?)"},
			verbose: []string{"[?]databse meets nothing: dependency of orders (is it database?)"},
		},
		{
			name: "a group that is not there", more: []func(*Registry){orders(Options{Group: "replicas"})}, is: ErrUnknown,
			errs:    []string{"replicas, group of orders: name meets nothing"},
			verbose: []string{"[?]replicas meets nothing: group of orders"},
		},
		{
			name: "a group that is none", more: []func(*Registry){orders(Options{Group: "cache"})}, is: ErrUnknown,
			errs:    []string{"cache, group of orders: name meets nothing"},
			verbose: []string{"[?]cache meets nothing: group of orders"},
		},
		{
			name: "what was expected", config: Config{Expect: []string{"cahce"}}, is: ErrUnknown,
			errs:    []string{"expected cahce: name meets nothing (is it cache?)"},
			verbose: []string{"[-]cahce expected, not registered (is it cache?)"},
		},
		{
			name: "expected and depended on is said once", config: Config{Expect: []string{"queue"}}, is: ErrUnknown,
			more: []func(*Registry){orders(Options{DependsOn: []string{"queue"}})},
			errs: []string{"expected queue: name meets nothing"}, verbose: []string{"[-]queue expected, not registered"},
		},
		{
			name: "what no component can be called", config: Config{Expect: []string{"my database"}}, is: ErrName,
			errs:    []string{`expected "my database": invalid name (is it database?)`},
			verbose: []string{`[-]"my database" expected, but no component can have this name (is it database?)`},
		},
		{
			name: "what others go by", is: ErrUnknown, more: []func(*Registry){func(r *Registry) {
				if err := errors.Join(r.Mention("gRPC service b", "databases", "cache"), r.Mention("gRPC service a\n[+]forged", "databases")); err != nil {
					t.Fatal(err)
				}
			}},
			errs:    []string{"databases, gRPC service a\n[+]forged, gRPC service b: name meets nothing (is it database?)"},
			verbose: []string{"[?]databases meets nothing: gRPC service a [+]forged, gRPC service b (is it database?)"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := parts(t, tt.config, tt.more...)
			err := r.Validate()
			if got, want := fmt.Sprint(err), strings.Join(tt.errs, "\n"); (err != nil || want != "") && got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if !errors.Is(err, tt.is) {
				t.Errorf("%v does not wrap %v", err, tt.is)
			}
			_, body := get(t, r.Handler(), http.MethodGet, "/readyz?verbose")
			for _, line := range tt.verbose {
				if !strings.Contains(body, "\n"+line+"\n") {
					t.Errorf("?verbose lacks %q:\n%s", line, body)
				}
			}
			if got := strings.Count(body, "[?]") + strings.Count(body, "[-]"); got != len(tt.verbose) {
				t.Errorf("?verbose names %d things, want %d:\n%s", got, len(tt.verbose), body)
			}
		})
	}
}

func TestNamesMeetAndPart(t *testing.T) {
	r := New(Config{})
	mustRegister(t, r, "orders", Options{DependsOn: []string{"queue"}})
	queue := mustRegister(t, r, "queue", Options{})
	if err := r.Validate(); err != nil {
		t.Errorf("all are registered, got %v", err)
	}
	queue.Retract()
	if err := r.Validate(); !errors.Is(err, ErrUnknown) {
		t.Errorf("one was retracted, got %v", err)
	}
}

func TestNamesThatNoComponentCanHave(t *testing.T) {
	r := New(Config{})
	for _, name := range []string{"", "a b", "a\n", "é", "\xff"} {
		if _, err := r.Register("a", Options{DependsOn: []string{name}}); !errors.Is(err, ErrName) {
			t.Errorf("dependency %q: got %v, want ErrName", name, err)
		}
		if err := r.Mention("somebody", name); !errors.Is(err, ErrName) {
			t.Errorf("mention of %q: got %v, want ErrName", name, err)
		}
	}
}

// Whatever the service and its configuration hold, each line of ?verbose is the registry's own.
func TestNothingForgesALine(t *testing.T) {
	const forged = "x\n[+]forged ready\r[+]forged\u2028[+]forged\u0085[+]forged\x1b[2J\u009b2J\u202e[+]\xff"
	r := New(Config{Expect: []string{forged, "b", "\xff"}})
	mustRegister(t, r, "failed", Options{LivenessOverride: true}).Failed(errors.New(forged))
	flapping := mustRegister(t, r, "flapping", Options{Hysteresis: Hysteresis{FailCount: 2}})
	flapping.Ready()
	flapping.Failed(errors.New(forged))
	if err := r.Mention(forged, "missed"); err != nil {
		t.Fatal(err)
	}
	if err := r.Advance(PhaseLameDuck, forged); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/readyz?verbose", "/livez?verbose", "/startupz?verbose", "/readyz?verbose&exclude=x%0A[%2B]forged"} {
		_, body := get(t, r.Handler(), http.MethodGet, target)
		if strings.Contains(body, "\n[+]forged") || strings.ContainsAny(body, "\r\x1b\u2028\u0085\u009b\u202e") {
			t.Errorf("%s has a forged line or a control character: %q", target, body)
		}
		if !utf8.ValidString(body) {
			t.Errorf("%s is not UTF-8: %q", target, body)
		}
	}
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, asked(http.MethodGet, "/statusz", "127.0.0.1:1"))
	if !utf8.Valid(rec.Body.Bytes()) || !json.Valid(rec.Body.Bytes()) {
		t.Errorf("/statusz is no JSON in UTF-8: %q", rec.Body)
	}
	for _, name := range r.Snapshot().Missing {
		for _, c := range name {
			if c < ' ' || c > '~' {
				t.Errorf("missing name %q is not printable ASCII", name)
			}
		}
	}
}

func TestHintsAreBounded(t *testing.T) {
	r := New(Config{})
	var names []string
	for i := range 26 {
		names = append(names, "databas"+string(rune('A'+i)))
	}
	mustRegister(t, r, "database", Options{DependsOn: names}).Ready()
	_, body := get(t, r.Handler(), http.MethodGet, "/readyz?verbose")
	if got := strings.Count(body, "[?]"); got != 26 {
		t.Errorf("got %d names, want all 26", got)
	}
	if got := strings.Count(body, "is it database?"); got != hints {
		t.Errorf("got %d hints, want %d", got, hints)
	}
}

func TestDistance(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "a", 0}, {"database", "databse", 1}, {"database", "datbaase", 1}, {"database", "databases", 1},
		{"cache", "catch", 2}, {"queue", "store", 4}, {"ab", "abcde", 5}, {long, long[1:], 65},
		{long[:64], long[:63], 1},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("%q, %q: got %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
