package scenarios

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// TestErrorsGolden pins how problems look to the person who made them.
func TestErrorsGolden(t *testing.T) {
	const file = "testdata/errors.golden"
	text := strings.NewReplacer(
		"replicas: 3", "replcas: 3",
		"sessions: 30000", "sessions: -30000",
		"  timeout: 1s", "  timeout: 5",
		"from: stack-aware", "from: stackaware",
		"limit: 99.9%", "limit: 99.9 per cent",
		"{from: 4s, to: 24s}", "{from: 4s, to: 24}",
	).Replace(good)
	_, err := Parse("bad.yaml", []byte(text), Options{Vars: map[string]string{"rate": "fast"}, Drivers: offered.Drivers})
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error() + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSharesAreExact(t *testing.T) {
	for text, want := range map[string]float64{"99.9%": 0.999, "99.99%": 0.9999, "0.1%": 0.001, "5%": 0.05, "1e1%": 0.1, "0.01%": 0.0001, "0.999": 0.999} {
		s, err := Load("rollout", offered)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(s.Source, "limit: 0.999", "limit: "+text, 1)
		if s, err = Parse("x.yaml", []byte(changed), offered); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := float64(*s.Gates[0].Limit); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}

func TestParseRefusesWhatIsNoScenarioAtAll(t *testing.T) {
	billion := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		p := string(c - 1)
		billion += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+p+", ", 8) + "*" + p + "]\n"
	}
	tests := []struct {
		name, text    string
		line          int
		message, hint string
	}{
		{"empty", "", 1, "the file is empty", "begin with: name:"},
		{"blank", "\n  \n", 1, "the file is empty", "begin with: name:"},
		{"comments", "# nothing\n", 1, "the file is empty", "begin with: name:"},
		{"separators", "---\n", 1, "the file is empty", "begin with: name:"},
		{"null", "~\n", 1, "the file is empty", "begin with: name:"},
		{"text", "quickstart\n", 1, "a scenario is a mapping, this is text", "begin with: name:"},
		{"list", "- name: a\n", 1, "a scenario is a mapping, this is a list", "begin with: name:"},
		{"not UTF-8", "name: a\nabout: \xff\xfe\n", 2, "not UTF-8", "save it as UTF-8"},
		{"UTF-16", "n\x00a\x00m\x00e\x00", 1, "control character", ""},
		{"carriage returns alone", "name: a\rabout: b\r", 1, "control character", ""},
		{"text direction override", "name: a # \u202e\n", 1, `control character '\u202e'`, ""},
		{"huge", strings.Repeat("# filler\n", maxFile/9+1), 0, "more than a scenario may have", "right file"},
		{"long line", "about: " + strings.Repeat("x", maxLine) + "\n", 1, "the line has 4103 bytes", "right file"},
		{"deep in brackets", "a: " + strings.Repeat("[", 2000) + "\n", 1, "nested deeper than 20", "right file"},
		{"deep in braces", "a: " + strings.Repeat("{a: ", 1000) + "\n", 1, "nested deeper than 20", "right file"},
		{"deep in dashes", strings.Repeat("- ", 2000) + "x\n", 1, "nested deeper than 20", "right file"},
		{"deep in question marks", strings.Repeat("? ", 2000) + "x\n", 1, "nested deeper than 20", "right file"},
		{"deep in tags", "a: " + strings.Repeat("!a ", 1000) + "\n", 1, "nested deeper than 20", "right file"},
		{"deep in indentation", deepIndentation(900), 0, "nested deeper than 20", "right file"},
		{"too many entries", strings.Repeat("a: b\n", 100_000), 3334, "more than 10000 words", "right file"},
		{"billion laughs", billion, 1, "anchors and aliases are not supported", "write the value out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse("bad.yaml", []byte(tt.text), offered)
			var first *Error
			if !errors.As(err, &first) || s != nil {
				t.Fatalf("got %v, %v", s, err)
			}
			if tt.line > 0 && first.Line != tt.line {
				t.Errorf("got line %d, want %d", first.Line, tt.line)
			}
			if !strings.Contains(first.Message, tt.message) || !strings.Contains(first.Hint, tt.hint) {
				t.Errorf("got message %q and hint %q, want pieces %q and %q", first.Message, first.Hint, tt.message, tt.hint)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := Parse("bad.yaml", []byte(strings.Repeat("a: b\n", 1000)), offered)
	var problems Errors
	if !errors.As(err, &problems) || len(problems) != maxProblems+1 {
		t.Fatalf("got %d problems, want %d and a last one that counts the others", len(problems), maxProblems)
	}
	if got, want := problems[maxProblems].Message, "and 949 more problems"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func deepIndentation(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestParseReadsWhatOtherEditorsWrite(t *testing.T) {
	want, err := Parse("a.yaml", []byte(good), offered)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"CRLF":            strings.ReplaceAll(good, "\n", "\r\n"),
		"byte order mark": "\ufeff" + good,
		"one document":    "---\n" + good + "...\n",
		"comments":        "# one\n" + strings.ReplaceAll(good, "replicas: 3\n", "replicas: 3 # three\n\n  # and more\n"),
	} {
		got, err := Parse("a.yaml", []byte(text), offered)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestVariablesStayInsideTheirScalar(t *testing.T) {
	text := strings.Replace(good, "about: A scenario to spoil.", "about: ${about} and $${literally}", 1)
	text = strings.Replace(text, "vars:\n", "vars:\n  about: ''\n", 1)
	plain, err := Parse("a.yaml", []byte(text), Options{Vars: map[string]string{"about": "x"}, Drivers: offered.Drivers})
	if err != nil {
		t.Fatal(err)
	}
	for _, hostile := range []string{
		"x\nreplicas: 99", "a: b", "{a: b}", "[1, 2]", "- a", "&a *a", "!!int 3", "'", `"`, `\`, "# gone", "|", "> x", "---", "${", "%", "~", "",
	} {
		s, err := Parse("a.yaml", []byte(text), Options{Vars: map[string]string{"about": hostile}, Drivers: offered.Drivers})
		if hostile == "${" {
			if err == nil {
				t.Errorf("a variable that refers to others was taken: %q", s.About)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", hostile, err)
			continue
		}
		want := *plain
		want.About = hostile + " and ${literally}"
		want.Vars = map[string]string{"about": hostile, "rate": "1000"}
		want.Source = s.Source // held to the scenario below
		if diff := cmp.Diff(&want, s); diff != "" {
			t.Errorf("%q changes more than its scalar (-want +got):\n%s", hostile, diff)
		}
		again, err := Parse("a.yaml", []byte(s.Source), offered)
		if err != nil {
			t.Errorf("%q: its Source: %v\n%s", hostile, err, s.Source)
		} else if diff := cmp.Diff(s, again); diff != "" {
			t.Errorf("%q: its Source gives another scenario (-want +got):\n%s", hostile, diff)
		}
	}
}

func TestVariablesFillInEveryKindOfValue(t *testing.T) {
	text := strings.NewReplacer(
		"  rate: 1000\n", "  rate: 1000\n  n: 4\n  d: 2s\n  share: 1%\n  word: http\n  design: naive\n  yes: true\n",
		"replicas: 3", "replicas: ${n}",
		"timeout: 1s", "timeout: ${d}",
		"deny: 2%", "deny: ${share}",
		"to: 24s}", `to: "2${n}s"}`,
		"      interval: 500ms", "      kind: ${word}",
		"    lame_duck: 2s", "    fail_open: ${yes}",
		"  - naive\n", "  - ${design}\n",
	).Replace(good)
	s, err := Parse("a.yaml", []byte(text), Options{Vars: map[string]string{"rate": "250.5"}, Drivers: offered.Drivers})
	if err != nil {
		t.Fatal(err)
	}
	type values struct {
		Rate, Deny  float64
		Replicas    int
		Timeout, To time.Duration
		Design      string
		FailOpen    bool
	}
	got := values{s.Load.Rate, s.Load.Deny, s.Replicas, s.Load.Timeout, s.Phases.Window.To, s.Designs[0].Name, s.Designs[1].FailOpen}
	want := values{250.5, 0.01, 4, 2 * time.Second, 24 * time.Second, "naive", true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := s.Vars["rate"]; got != "250.5" {
		t.Errorf("Vars[rate] is %q, want the value given", got)
	}
}

func TestVarThatIsNotDeclared(t *testing.T) {
	_, err := Parse("a.yaml", []byte(good), Options{Vars: map[string]string{"rat": "5"}, Drivers: offered.Drivers})
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "no variable rat") || e.Hint != "did you mean rate?" {
		t.Errorf("got %v", err)
	}
	_, err = Parse("a.yaml", []byte(good), Options{Vars: map[string]string{"rate": "\x1b[2J"}, Drivers: offered.Drivers})
	if !errors.As(err, &e) || !strings.Contains(e.Message, "cannot be printed") {
		t.Errorf("got %v", err)
	}
	// A wrong value is reported where it is used.
	_, err = Parse("a.yaml", []byte(good), Options{Vars: map[string]string{"rate": "-5"}, Drivers: offered.Drivers})
	if !errors.As(err, &e) || e.Line != 13 || !strings.Contains(e.Message, "must be more than 0, not -5") {
		t.Errorf("got %v", err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(path, []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path, Options{Vars: map[string]string{"rate": "500"}, Drivers: offered.Drivers})
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "base" || s.File != path || s.Load.Rate != 500 {
		t.Errorf("got %s from %s at %v/s", s.Name, s.File, s.Load.Rate)
	}

	var e *Error
	if _, err := Load("quikstart", offered); !errors.As(err, &e) || e.Hint != "did you mean quickstart?" {
		t.Errorf("a near name: %v", err)
	}
	if _, err := Load("zzz", offered); !errors.As(err, &e) || !strings.Contains(e.Hint, "the catalogue has: bad-config, ") {
		t.Errorf("a far name: %v", err)
	}
	if _, err := Load("designs", offered); !errors.As(err, &e) {
		t.Errorf("the designs are no scenario: %v", err)
	}
	if _, err := Load("./quickstart", offered); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load(t.TempDir()+"/", offered); err == nil {
		t.Error("a folder was read")
	}
}

func TestBuiltinDesigns(t *testing.T) {
	if diff := cmp.Diff([]string{"none", "naive", "pull", "stack-aware", "fail-open", "shallow", "deep-readiness", "deep-liveness"}, namesOf(builtin())); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	naive, _ := BuiltinDesign("naive")
	asked := Signal{Kind: "http", Port: "health", Path: "/readyz", Interval: 200 * time.Millisecond, Timeout: time.Second, Rise: 1, Fall: 2}
	want := Design{Name: "naive", About: naive.About, Settings: Settings{
		Health: "naive", Signal: asked, StopGrace: 5 * time.Second,
		Liveness: Signal{Kind: "http", Port: "health", Path: "/livez", Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
	}}
	if diff := cmp.Diff(want, naive.For("process")); diff != "" {
		t.Errorf("naive (-want +got):\n%s", diff)
	}
	aware, _ := BuiltinDesign("stack-aware")
	want.Name, want.About, want.Health = "stack-aware", aware.About, "stack-aware"
	want.FailClosed = true
	want.LameDuck, want.CloseWait, want.Notify, want.Watchdog = time.Second, 400*time.Millisecond, true, 10*time.Second
	want.Startup = Signal{Kind: "http", Port: "health", Path: "/startupz", Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 60}
	if diff := cmp.Diff(want, aware.For("process")); diff != "" {
		t.Errorf("stack-aware (-want +got):\n%s", diff)
	}
	open, _ := BuiltinDesign("fail-open")
	naive.Name, naive.About, naive.FailOpen = "fail-open", open.About, true
	for driver, settings := range naive.On {
		settings.FailOpen = true
		naive.On[driver] = settings
	}
	if diff := cmp.Diff(naive, open); diff != "" {
		t.Errorf("fail-open (-want +got):\n%s", diff)
	}
	if again, _ := BuiltinDesign("naive"); again.On["docker"].FailOpen {
		t.Error("a builtin design can be changed through what BuiltinDesign returned")
	}
	none, _ := BuiltinDesign("none")
	if diff := cmp.Diff(Design{Name: "none", About: none.About, Settings: Settings{Health: "none", Signal: Signal{Kind: "none"}, StopGrace: 5 * time.Second}}, none); diff != "" {
		t.Errorf("none (-want +got):\n%s", diff)
	}
	if _, ok := BuiltinDesign("stackaware"); ok {
		t.Error("a design was found by a name that it has not")
	}
}

func TestDesignFromAnother(t *testing.T) {
	text := strings.Replace(good, "      interval: 500ms\n", "      kind: tcp\n", 1)
	s, err := Parse("a.yaml", []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := BuiltinDesign("stack-aware")
	want.Name, want.LameDuck = "own", 2*time.Second
	want.Signal.Kind, want.Signal.Path = "tcp", ""
	if diff := cmp.Diff(want.For("process"), s.Designs[1].For("process")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What it changes holds on every driver, over what is inherited for one.
	got := s.Designs[1].For("docker")
	if got.Signal.Kind != "tcp" || got.Signal.Interval != 400*time.Millisecond || got.LameDuck != 2*time.Second {
		t.Errorf("on docker: %+v", got)
	}
}

func TestADesignDiffersByDriver(t *testing.T) {
	text := strings.Replace(good, "    lame_duck: 2s\n", `    lame_duck: 2s
    env: {}
    on:
      docker:
        notify: false
        watchdog: 0s
        signal: {kind: none}
      systemd: {socket: true, pre_stop: 1s}
`, 1)
	s, err := Parse("a.yaml", []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	d := s.Designs[1]
	if got := d.For("docker"); got.Notify || got.Signal.Kind != "none" || got.On != nil || got.LameDuck != 2*time.Second {
		t.Errorf("on docker: %+v", got)
	}
	if got := d.For("systemd"); !got.Socket || got.PreStop != time.Second || !got.Notify {
		t.Errorf("on systemd: %+v", got)
	}
	if got := d.For("process"); got.Socket || !got.Notify || got.Signal.Kind != "http" {
		t.Errorf("on process: %+v", got)
	}
	again, err := Parse("b.yaml", []byte(s.Source), offered)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Designs, again.Designs); diff != "" {
		t.Errorf("its Source says something else (-want +got):\n%s", diff)
	}
}

// TestAnotherKindOfSignalHasItsDefaults: what has begun to mean something is not zero, and
// what means nothing any more is.
func TestAnotherKindOfSignalHasItsDefaults(t *testing.T) {
	text := strings.Replace(own, "    signal: {kind: image}\n", "    signal: {kind: image}\n    on: {docker: {signal: {kind: http, port: data}}}\n", 1)
	s, err := Parse("a.yaml", []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	want := Signal{Kind: "http", Port: "data", Path: "/readyz", Interval: 200 * time.Millisecond, Timeout: time.Second, Rise: 1, Fall: 2}
	if diff := cmp.Diff(want, s.Designs[2].For("docker").Signal); diff != "" {
		t.Errorf("on docker (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Signal{Kind: "image"}, s.Designs[2].For("process").Signal); diff != "" {
		t.Errorf("on process (-want +got):\n%s", diff)
	}
}

// TestWhatIsMissingIsSaidOnce: not again of each driver on which it is not said either.
func TestWhatIsMissingIsSaidOnce(t *testing.T) {
	for old, new := range map[string]string{
		"    signal: {kind: image}\n":                            "    signal: {interval: 1s}\n    on: {docker: {signal: {interval: 2s}}, kind: {signal: {fall: 3}}}\n",
		"command: [/bin/check, \"--brief\"], interval: 300ms}\n": "interval: 300ms}\n    on: {docker: {signal: {interval: 2s}}}\n",
		"    signal: {kind: http, port: health, path: /ready}\n": "    signal: {kind: http, port: health, path: ready}\n    on: {docker: {signal: {interval: 2s}}}\n",
	} {
		if !strings.Contains(own, old) {
			t.Fatalf("the scenario has no %q", old)
		}
		_, err := Parse("a.yaml", []byte(strings.Replace(own, old, new, 1)), offered)
		var problems Errors
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%d problems for one mistake:\n%v", len(problems), err)
		}
	}
}

func TestAPositiveControlOfSomeDrivers(t *testing.T) {
	text := strings.Replace(good, "[naive]", "[{design: naive, on: [process, docker]}, own]", 1)
	s, err := Parse("a.yaml", []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	want := []Control{{Design: "naive", On: []string{"process", "docker"}}, {Design: "own"}}
	if diff := cmp.Diff(want, s.PositiveControls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := Parse("a.yaml", []byte(s.Source), offered)
	if err != nil {
		t.Fatalf("its Source: %v\n%s", err, s.Source)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("its Source says something else (-want +got):\n%s", diff)
	}
}

// TestDriversThatNobodyLists: without a list of drivers every name will do, and the catalogue
// may speak of drivers that a program has not.
func TestDriversThatNobodyLists(t *testing.T) {
	text := strings.Replace(good, "[naive]", "[{design: naive, on: [mine]}]", 1)
	hostile := strings.Replace(text, "    lame_duck: 2s\n", "    on: {\"a: b\\n#\": {lame_duck: 1s}}\n", 1)
	for _, text := range []string{text, hostile} {
		s, err := Parse("a.yaml", []byte(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("a.yaml", []byte(s.Source), Options{})
		if err != nil {
			t.Fatalf("its Source: %v\n%s", err, s.Source)
		}
		if diff := cmp.Diff(s, again); diff != "" {
			t.Errorf("its Source says something else (-want +got):\n%s", diff)
		}
	}
	if _, err := Parse("a.yaml", []byte(text), Options{Drivers: []string{"mine"}}); err != nil {
		t.Error(err)
	}
	if _, err := Load("scale-in", Options{Drivers: []string{"mine"}}); err != nil {
		t.Error(err)
	}
}

const own = `name: own-image
target:
  image: registry.example/web:1
  args: ["--listen=$${listen.data}", "--id", "$${instance}"]
  env: {PORT: 8080, DEBUG: true}
  ports: {data: 8080, health: 8081}
  request: {path: /hello?x=1, header: {Host: example.org}, expect: {status: 204, body: hi}}
limits: {cpus: 0.5, memory: 256}
replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs:
  - name: asked
    args: ["--drain"]
    signal: {kind: http, port: health, path: /ready}
    stop_grace: 10s
  - name: inside
    signal: {kind: command, command: [/bin/check, "--brief"], interval: 300ms}
  - name: its-own
    signal: {kind: image}
`

func TestATargetOfYourOwn(t *testing.T) {
	s, err := Parse("own.yaml", []byte(own), offered)
	if err != nil {
		t.Fatal(err)
	}
	want := Target{
		Workload: Workload{
			Image: "registry.example/web:1", Args: []string{"--listen=${listen.data}", "--id", "${instance}"},
			Env: map[string]string{"PORT": "8080", "DEBUG": "true"}, Ports: Ports{Data: 8080, Health: ptr(8081)},
		},
		Request: &Request{
			Method: "GET", Path: "/hello?x=1", Header: map[string]string{"Host": "example.org"}, Weight: 1,
			Expect: Expect{Status: Statuses{"204"}, Body: "hi"},
		},
	}
	if diff := cmp.Diff(want, s.Target); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
	if s.Load.Deny != 0 || !maps.Equal(s.Load.Streams, map[string]int{"keepalive": 80, "newconn": 20}) || s.Limits != (Limits{CPUs: 0.5, Memory: 256}) {
		t.Errorf("load %+v, limits %+v", s.Load, s.Limits)
	}
	if got := s.Designs[1].Signal; got.Kind != "command" || len(got.Command) != 2 || got.Port != "" {
		t.Errorf("signal inside: %+v", got)
	}
	again, err := Parse("b.yaml", []byte(s.Source), offered)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Target, again.Target); diff != "" {
		t.Errorf("its Source says something else (-want +got):\n%s", diff)
	}
	if again.Source != s.Source {
		t.Error("rendering is not stable")
	}
}

func TestParseRefusesBadTargets(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"two services", "  image: registry.example/web:1", "  image: registry.example/web:1\n  exec: /bin/web", "two services: image and exec"},
		{"no service", "  image: registry.example/web:1\n", "", "names no service"},
		{"port out of range", "data: 8080", "data: 80800", "target.ports.data must be 0..65535"},
		{"the same port twice", "health: 8081", "health: 8080", "are both 8080"},
		{"bad status", "status: 204", "status: 20", "own.yaml:7:77: target.request.expect.status must be a status"},
		{"bad path", "path: /hello?x=1", "path: hello", "target.request.path must begin with /"},
		{"denials", "load: {rate: 100}", "load: {rate: 100, deny: 2%}", "load.deny is for refproxy"},
		{"no health port", ", health: 8081", "", "asks port health"},
		{"refproxy's drain", "    stop_grace: 10s", "    lame_duck: 2s", "lame_duck and close_wait are refproxy's"},
		{"refproxy's health", "    stop_grace: 10s", "    health: stack-aware", "own.yaml:17:13: designs[0].health is refproxy's"},
		{"refproxy's health on a driver", "    stop_grace: 10s", "    on: {docker: {health: naive}}", "own.yaml:17:27: designs[0].on.docker.health is refproxy's"},
		{"refproxy's maximum age", "    stop_grace: 10s", "    fail_closed: true", "own.yaml:17:18: designs[0].fail_closed is refproxy's"},
		{"refproxy's way to fail", "    stop_grace: 10s", "    fail_open: true", "own.yaml:17:16: designs[0].fail_open is refproxy's"},
		{"unknown placeholder", `"$${instance}"`, `"$${instnce}"`, "own.yaml:4:46: target.args[2]: no placeholder instnce"},
		{"what there is", `"$${instance}"`, `"$${port}"`, "there are $${instance}, $${revision}, $${listen.data} and $${listen.health}"},
		{"unknown port", `"--listen=$${listen.data}"`, `"--listen=$${listen.admin}"`, "own.yaml:4:10: target.args[0]: no placeholder listen.admin"},
		{"address of nobody", "DEBUG: true", `PEER: "$${instance}-$${addr.db.data}"`, "own.yaml:5:27: target.env.PEER: no placeholder addr.db.data"},
		{"unclosed placeholder", `"--drain"`, `"$${instance"`, "own.yaml:15:12: designs[0].args[0]: ${ without its }"},
		{"unknown placeholder of a design", "    stop_grace: 10s", `    env: {A: "$${b}"}`, "own.yaml:17:14: designs[0].env.A: no placeholder b"},
		{"unknown placeholder on a driver", "    stop_grace: 10s", `    on: {docker: {args: ["$${b}"]}}`, "own.yaml:17:26: designs[0].on.docker.args[0]: no placeholder b"},
		{"unknown placeholder of a signal", `"--brief"`, `"$${b}"`, "own.yaml:19:51: designs[1].signal.command[1]: no placeholder b"},
		{"no command", "command: [/bin/check, \"--brief\"], ", "", "command is missing"},
		{"interval of an image's check", "{kind: image}", "{kind: image, interval: 1s}", "means nothing with kind: image"},
		{"health check of a program", "image: registry.example/web:1", "exec: /bin/web", "the health check of an image"},
		{"too little grace", "    stop_grace: 10s", "    stop_grace: 0s", "killed while draining"},
		{"watchdog of one that is silent", "    stop_grace: 10s", "    watchdog: 5s", "needs notify: true"},
		{"unknown driver", "    stop_grace: 10s", "    on: {doker: {}}", "unknown key doker"},
		{"limits", "cpus: 0.5", "cpus: -1", "limits.cpus"},
		{"liveness of an image", "    stop_grace: 10s", "    liveness: {kind: image}", "is a signal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(own, tt.old) {
				t.Fatalf("the scenario has no %q", tt.old)
			}
			_, err := Parse("own.yaml", []byte(strings.Replace(own, tt.old, tt.new, 1)), offered)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestBadDesignsAreNotScenarioErrors: what the lab is for must be legal to write.
func TestBadDesignsAreNotScenarioErrors(t *testing.T) {
	for name, change := range map[string][2]string{
		"a drain shorter than the signal takes": {"    lame_duck: 2s", "    lame_duck: 1ms"},
		"a short window":                        {"to: 24s}", "to: 7s}"},
		"an action longer than the window":      {"timeout: 60s", "timeout: 1h"},
		"scale to none":                         {"kind: rollout", "kind: scale\n  to: 0"},
		"no gates":                              {"gates:\n  - design: own\n    metric: success_rate\n    op: \">=\"\n    limit: 99.9%\n", ""},
	} {
		text, _, _ := spoil(t, change[0], change[1])
		if _, err := Parse("a.yaml", []byte(text), offered); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOverride(t *testing.T) {
	load := func() *Scenario {
		s, err := Load("quickstart", offered)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := load()
	sum := s.SHA256()
	if err := s.Override(Overrides{}); err != nil || s.SHA256() != sum {
		t.Errorf("nothing overridden: %v, %s became %s", err, sum, s.SHA256())
	}
	if err := s.Override(Overrides{Rate: ptr(500.0), Window: ptr(10 * time.Second), Trials: &record.TrialRange{Least: 5, Most: 8}}); err != nil {
		t.Fatal(err)
	}
	if s.Load.Rate != 500 || s.Phases.Window != (Phase{4 * time.Second, 14 * time.Second}) || s.Trials.String() != "5..8" || s.Length() != 15*time.Second || s.Planned() != 7499 {
		t.Errorf("got %v/s, window %v, %v trials, %v, %d requests", s.Load.Rate, s.Phases.Window, s.Trials, s.Length(), s.Planned())
	}
	if s.SHA256() == sum {
		t.Error("another experiment has the same digest")
	}
	for _, tt := range []struct {
		name    string
		o       Overrides
		message string
	}{
		{"negative rate", Overrides{Rate: ptr(-1.0)}, "load.rate must be more than 0, not -1"},
		{"no number", Overrides{Rate: ptr(math.NaN())}, "load.rate must be a finite number"},
		{"infinite rate", Overrides{Rate: ptr(math.Inf(1))}, "load.rate must be a finite number"},
		{"high rate", Overrides{Rate: ptr(100_001.0)}, "load.rate must be at most 100000"},
		{"no window", Overrides{Window: ptr(time.Duration(0))}, "the window must be longer than 0s"},
		{"endless window", Overrides{Window: ptr(time.Duration(math.MaxInt64))}, "the window must be longer than 0s and at most 24h"},
		{"no trials", Overrides{Trials: &record.TrialRange{}}, "trials must be 1..100, not 0"},
		{"too many requests", Overrides{Rate: ptr(100_000.0), Window: ptr(time.Hour)}, "more than 100000000"},
	} {
		s := load()
		err := s.Override(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.message)
		}
		if diff := cmp.Diff(load(), s); diff != "" {
			t.Errorf("%s was refused and changed the scenario (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestWithDesigns(t *testing.T) {
	s, err := Parse("a.yaml", []byte(good), offered)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WithDesigns([]string{"pull", "own"}); err != nil {
		t.Fatal(err)
	}
	if len(s.Designs) != 2 || s.Designs[0].Health != "pull" || s.Designs[1].LameDuck != 2*time.Second {
		t.Errorf("got %+v", s.Designs)
	}
	if len(s.Gates) != 1 || len(s.PositiveControls) != 0 {
		t.Errorf("got gates %v and controls %v, want those of own alone", s.Gates, s.PositiveControls)
	}
	if _, err := Parse("a.yaml", []byte(s.Source), offered); err != nil {
		t.Errorf("its Source: %v", err)
	}
	for name, choice := range map[string][]string{
		"no design":               nil,
		"no design niave":         {"niave"},
		"naive is chosen twice":   {"naive", "naive"},
		`no design "\x1b[31mred"`: {"\x1b[31mred"},
	} {
		before := s.Source
		if err := s.WithDesigns(choice); err == nil || !strings.Contains(err.Error(), name) || s.Source != before {
			t.Errorf("%q: got %v, want %q", choice, err, name)
		}
	}
}

func TestHits(t *testing.T) {
	for _, tt := range []struct {
		rate   float64
		length time.Duration
		want   uint64
	}{
		{1000, 24 * time.Second, 23999}, // the hit at 24 s lies behind the end
		{30, 100 * time.Millisecond, 2},
		{30, 101 * time.Millisecond, 3},
		{1, time.Second, 0},
		{1, time.Second + 1, 1},
		{100_000, 1000 * time.Second, 99_999_999},
		{3, time.Second, 2}, // the third is due at 1 s
		{7, 3 * time.Second, 20},
		{1, 1500 * time.Millisecond, 1},
		{0.1, 15 * time.Second, 1},
		{1000, 0, 0},
	} {
		if got := hits(tt.rate, tt.length); got != tt.want {
			t.Errorf("%v/s for %v: got %d, want %d", tt.rate, tt.length, got, tt.want)
		}
	}
}

// TestSourceIsStable pins what a run's files are compared by. A change here means that
// no run compares with any before it.
func TestKeptConnections(t *testing.T) {
	const kept, all = "keepalive", "{keepalive: 40, newconn: 60}"
	for _, tt := range []struct {
		name, load, replicas, action string
		stream                       string
		want                         int
	}{
		{"for few replicas", "rate: 1000, streams: " + all, "3", "{kind: rollout}", kept, 32},
		{"for many", "rate: 1000, streams: " + all, "5", "{kind: rollout}", kept, 50},
		{"for as many as there will be", "rate: 1000, streams: " + all, "2", "{kind: scale, to: 6}", kept, 60},
		{"for as many as there were", "rate: 1000, streams: " + all, "6", "{kind: scale, to: 2}", kept, 60},
		{"as the scenario says", "rate: 1000, connections: 5, streams: " + all, "6", "{kind: rollout}", kept, 5},
		{"none for new ones", "rate: 1000, connections: 5, streams: " + all, "6", "{kind: rollout}", "newconn", 0},
		{"no more than are used", "rate: 10, streams: " + all, "3", "{kind: rollout}", kept, 8},
		{"at least one", "rate: 1, streams: " + all, "3", "{kind: rollout}", kept, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.NewReplacer("rate: 100", tt.load, "replicas: 2", "replicas: "+tt.replicas, "action: {kind: rollout}", "action: "+tt.action).Replace(own)
			s, err := Parse("own.yaml", []byte(text), offered)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Connections(tt.stream); got != tt.want {
				t.Errorf("%d connections, want %d", got, tt.want)
			}
			again, err := Parse("again.yaml", []byte(s.Source), offered)
			if err != nil || again.Connections(tt.stream) != tt.want {
				t.Errorf("the scenario written out has %v, %v", again, err)
			}
		})
	}
}

func TestSourceIsStable(t *testing.T) {
	s, err := Parse("a.yaml", []byte(good), offered)
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/source.golden"
	if *update {
		if err := os.WriteFile(file, []byte(s.Source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), s.Source); diff != "" {
		t.Errorf("Source (-want +got):\n%s", diff)
	}
	commented, err := Parse("b.yaml", bytes.ReplaceAll([]byte(good), []byte("replicas: 3\n"), []byte("replicas:   3 # three\n")), offered)
	if err != nil {
		t.Fatal(err)
	}
	if s.SHA256() != commented.SHA256() {
		t.Error("a comment makes another experiment of it")
	}
	other, err := Parse("c.yaml", []byte(good), Options{Vars: map[string]string{"rate": "999"}, Drivers: offered.Drivers})
	if err != nil {
		t.Fatal(err)
	}
	if s.SHA256() == other.SHA256() {
		t.Error("another rate is the same experiment")
	}
}

// Only what is a secret has to be long enough to be masked.
func TestAVariableThatIsNoSecretMayBeShort(t *testing.T) {
	text := strings.Replace(own, "name: ", "vars: {rate: 100}\nname: ", 1)
	for secret, wrong := range map[bool]bool{false: false, true: true} {
		_, err := Parse("mine.yaml", []byte(text), Options{Vars: map[string]string{"rate": "7"}, Secret: map[string]bool{"rate": secret}, Drivers: offered.Drivers})
		if (err != nil && strings.Contains(err.Error(), "cannot be masked")) != wrong {
			t.Errorf("secret %t: got %v", secret, err)
		}
	}
}
