package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestAmounts: percentages of replicas, rounded as the Deployment controller rounds
// maxUnavailable (down) and maxSurge (up).
func TestAmounts(t *testing.T) {
	for _, tt := range []struct {
		amount   amount
		total    int
		down, up int
	}{
		{amount{n: 25, percent: true}, 1, 0, 1},
		{amount{n: 25, percent: true}, 2, 0, 1},
		{amount{n: 25, percent: true}, 3, 0, 1},
		{amount{n: 25, percent: true}, 4, 1, 1},
		{amount{n: 25, percent: true}, 5, 1, 2},
		{amount{n: 50, percent: true}, 1, 0, 1},
		{amount{n: 100, percent: true}, 3, 3, 3},
		{amount{n: 0, percent: true}, 7, 0, 0},
		{amount{n: 2}, 1, 2, 2},
	} {
		if down, up := tt.amount.of(tt.total, false), tt.amount.of(tt.total, true); down != tt.down || up != tt.up {
			t.Errorf("%+v of %d: got %d down and %d up, want %d and %d", tt.amount, tt.total, down, up, tt.down, tt.up)
		}
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "5s": 5 * time.Second, "1min 30s": 90 * time.Second, "1min30s": 90 * time.Second, "2 h": 2 * time.Hour,
		"500ms": 500 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "infinity": forever, "0": 0, "9999999999999999999w": forever, "1d": 24 * time.Hour,
		"": -1, "soon": -1, "5 parsecs": -1, "-5s": -1, "5s!": -1,
	} {
		got, ok := span(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("span(%q): got %v, %v, want %v", text, got, ok, want)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for text, want := range map[string][]string{
		`a  b`:                {"a", "b"},
		`sh -c "a b 'c'" d`:   {"sh", "-c", "a b 'c'", "d"},
		`a\ b '' "x\"y" 'q\'`: {"a b", "", `x"y`, `q\`},
		"":                    nil,
		"   ":                 nil,
	} {
		if diff := cmp.Diff(want, splitWords(text)); diff != "" {
			t.Errorf("splitWords(%q) (-want +got):\n%s", text, diff)
		}
	}
}

func TestSleepOf(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"sleep 5":                          5 * time.Second,
		"/bin/sleep 5":                     5 * time.Second,
		"/bin/sh -c sleep 5":               5 * time.Second,
		"sh -c sleep 2; nginx -s quit":     2 * time.Second,
		"sh -c sleep 1m && sleep 0.5":      60*time.Second + 500*time.Millisecond,
		"nginx -s quit":                    0,
		"sh -c usleep 5":                   0,
		"sleep 99999999999999999999":       24 * time.Hour,
		"sleep infinity":                   0,
		`sh -c echo bye; sleep "$SECONDS"`: 0,
	} {
		if got := sleepOf(strings.Fields(text)); got != want {
			t.Errorf("sleepOf(%q): got %v, want %v", text, got, want)
		}
	}
}

func words(all ...string) *program {
	p := &program{}
	for _, w := range all {
		p.words = append(p.words, word{text: w})
	}
	return p
}

func TestKeepsShell(t *testing.T) {
	for _, tt := range []struct {
		program *program
		want    bool
	}{
		{words("/bin/sh", "-c", "a && b"), true},
		{words("dash", "-ec", "a; b"), true},
		{words("bash", "-ec", "a; b"), false}, // it replaces itself by the last command
		{words("bash", "-c", "a &&\nb\n"), false},
		{words("bash", "-lc", "a; b"), true},
		{words("bash", "-c", "a | b"), true},
		{words("bash", "-c", "a; if b; then c; fi"), true},
		{words("bash", "-c", "a & wait"), true},
		{words("sh", "-c", "a & wait\necho b"), true},
		{words("sh", "-c", "a; gosu b c"), true},
		{words("tini", "--", "sh", "-c", "a | b"), true},
		{words("sh", "-c", "a\nb\n"), true},
		{words("sh", "-c", "a"), false},
		{words("sh", "-c", "a;"), false},
		{words("sh", "-c", "a >/x 2>&1"), false},
		{words("sh", "-c", "a &> /x"), false},
		{words("sh", "-c", "a && exec b"), false},
		{words("sh", "-c", "trap x TERM; a & wait $!"), false},
		{words("sh", "/run.sh"), false},
		{words("/web", "--sh", "-c", "a; b"), false},
		{words(), false},
	} {
		if _, got := tt.program.keepsShell(); got != tt.want {
			t.Errorf("%+v: got %v, want %v", tt.program.words, got, tt.want)
		}
	}
}

func TestDrainOf(t *testing.T) {
	type want struct {
		lead, whole      time.Duration
		leadKnown, known bool
		from             string
		guess            guess
	}
	s := time.Second
	for _, tt := range []struct {
		name    string
		program *program
		want    want
	}{
		{"nothing", words("/web", "--listen=:80"), want{}},
		{"lame duck", words("/web", "--lame-duck=5s"), want{5 * s, 5 * s, true, true, "lame-duck", ""}},
		{"its value apart", words("/web", "-lame-duck", "5s"), want{5 * s, 5 * s, true, true, "lame-duck", ""}},
		{"sum", words("/web", "--lame-duck=5s", "--close-wait=2s"), want{5 * s, 7 * s, true, true, "lame-duck + close-wait", ""}},
		{"whole", words("/web", "--lame-duck=5s", "--close-wait=2s", "--stop-grace=20s"), want{5 * s, 20 * s, true, true, "stop-grace", ""}},
		{"whole below the parts", words("/web", "--lame-duck=5s", "--stop-grace=1s"), want{5 * s, 5 * s, true, true, "lame-duck + stop-grace", ""}},
		{"seconds", words("gunicorn", "--graceful-timeout", "40"), want{0, 40 * s, false, true, "graceful-timeout", ""}},
		{"many seconds", words("gunicorn", "--graceful-timeout", "300"), want{0, 300 * s, false, true, "graceful-timeout", ""}},
		{"in a script", words("sh", "-c", "exec /web --lame-duck 5s; b"), want{5 * s, 5 * s, true, true, "lame-duck", ""}},
		{"not a stop", words("envoy", "--drain-time-s", "600"), want{}},
		{"perhaps milliseconds", words("/web", "--shutdown-timeout=500"), want{}},
		{"surely milliseconds", words("/web", "--shutdown-timeout=30000"), want{}},
		{"environment", &program{env: []setting{{name: flagName("WEB_LAME_DUCK"), value: "3s"}}}, want{3 * s, 3 * s, true, true, "web-lame-duck", ""}},
		{"no duration", words("/web", "--lame-duck=long", "--drain"), want{}},
		{"none", words("/web", "--lame-duck=0s"), want{0, 0, true, true, "lame-duck", ""}},
		{"a name that may mean more", &program{env: []setting{{name: "web-shutdown-timeout", value: "15s"}}}, want{0, 15 * s, false, true, "web-shutdown-timeout", "that web-shutdown-timeout is how long its stop may take"}},
		{"Keycloak", &program{env: []setting{{name: "kc-shutdown-timeout", value: "30s"}, {name: "kc-shutdown-delay", value: "5s"}}}, want{5 * s, 30 * s, true, true, "kc-shutdown-timeout", ""}},
		{"a stop for want of work", &program{env: []setting{{name: "runner-auto-shutdown-timeout", value: "15"}, {name: "worker-idle-shutdown-timeout", value: "20"}}}, want{}},
		{"flags in a variable", &program{words: words("gunicorn", "shop.wsgi").words, env: []setting{{name: "gunicorn-cmd-args", value: "--workers 3 --graceful-timeout 60"}}}, want{0, 60 * s, false, true, "graceful-timeout", ""}},
		{"gunicorn says nothing", words("/usr/bin/env", "python3", "-m", "gunicorn", "shop.wsgi"), want{0, 30 * s, false, true, "the default of gunicorn", "that some requests take so long"}},
		{"Spring", &program{env: []setting{{name: flagName("SPRING_LIFECYCLE_TIMEOUT_PER_SHUTDOWN_PHASE"), value: "PT45S"}}}, want{0, 45 * s, false, true, "spring-lifecycle-timeout-per-shutdown-phase", ""}},
		{"Spring, a property", words("java", "-Dspring.lifecycle.timeout-per-shutdown-phase=45000", "-jar", "a.jar"), want{0, 45 * s, false, true, "spring.lifecycle.timeout-per-shutdown-phase", ""}},
		{"Spring says nothing", &program{env: []setting{{name: "server-shutdown", value: "graceful"}}}, want{0, 30 * s, false, true, "the default of Spring", "that some requests take so long"}},
		{"traefik", words("traefik", "--entryPoints.web.transport.lifeCycle.requestAcceptGraceTimeout=10", "--entryPoints.web.transport.lifeCycle.graceTimeOut=20s"),
			want{10 * s, 30 * s, true, true, "entrypoints.web.transport.lifecycle.requestacceptgracetimeout + entrypoints.web.transport.lifecycle.gracetimeout", ""}},
	} {
		d := drainOf(tt.program)
		if got := want(d); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestBoundToLoopback(t *testing.T) {
	env := func(pairs ...string) *program {
		p := &program{}
		for i := 0; i < len(pairs); i += 2 {
			p.env = append(p.env, setting{name: flagName(pairs[i]), value: pairs[i+1]})
		}
		return p
	}
	const no, guessed, sure = "no", "guessed", "sure"
	for _, tt := range []struct {
		name    string
		program *program
		want    string
	}{
		{"flag", words("/web", "--listen=127.0.0.1:8081"), sure},
		{"apart", words("/web", "--listen", "localhost:8081"), sure},
		{"six", words("/web", "--listen=[::1]:8081"), sure},
		{"all of 127/8", words("/web", "--listen=127.0.0.53:8081"), sure},
		{"with dots", words("/web", "--web.listen-address=127.0.0.1:8081"), sure},
		{"short", words("gunicorn", "-b", "127.0.0.1:8081"), sure},
		{"address", words("/web", "--addr=127.0.0.1:8081"), sure},
		{"host and port as flags", words("uvicorn", "--host", "127.0.0.1", "--port", "8081"), sure},
		{"a name as a flag", words("/web", "--host", "localhost", "--port", "8081"), guessed},
		{"another port", words("/web", "--listen=127.0.0.1:18081"), no},
		{"every address", words("/web", "--listen=:8081"), no},
		{"both", words("/web", "--listen=127.0.0.1:8081", "--listen=0.0.0.0:8081"), no},
		{"calls out", words("/web", "--upstream=127.0.0.1:8081"), no},
		{"a URL", words("/web", "--peer=http://127.0.0.1:8081"), no},
		{"words", words("/web", "127.0.0.1:8081"), no},
		{"variable", env("HEALTH_LISTEN", "127.0.0.1:8081"), sure},
		{"variable and port", env("WEB_LISTEN_ADDRESS", "127.0.0.1", "WEB_PORT", "8081"), sure},
		{"an address of something", env("METRICS_ADDR", "127.0.0.1:8081"), guessed},
		{"host and port", env("HEALTH_HOST", "127.0.0.1", "HEALTH_PORT", "8081"), guessed},
		{"host and port alone", env("HOST", "localhost", "PORT", "8081"), guessed},
		{"host and port of another", env("DB_HOST", "127.0.0.1", "HEALTH_PORT", "8081"), no},
		{"the name for others", env("SHOP_HOST", "localhost", "SHOP_PORT", "8081"), no},
		{"the name and port for others", env("SHOP_DOMAIN", "localhost:8081", "SITE", "localhost:8081"), no},
		{"bound elsewhere too", env("WEB_LISTEN_ADDRESS", "0.0.0.0", "WEB_HOST", "127.0.0.1", "WEB_PORT", "8081"), no},
	} {
		got := no
		if b, bound := tt.program.boundToLoopback("8081"); bound {
			if got = sure; b.guess != "" {
				got = guessed
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestHoldsNumber(t *testing.T) {
	for text, want := range map[string]bool{":8081": true, "18081": false, "80811": false, "18081 8081": true, "": false, "a8081b": true} {
		if got := holdsNumber(text, "8081"); got != want {
			t.Errorf("holdsNumber(%q): got %v, want %v", text, got, want)
		}
	}
}

// TestUnitParserAgrees compares with another parser of unit files, on the units of the
// test data. That one gives no positions, and keeps the backslash of a continued line.
func TestUnitParserAgrees(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join("testdata", "rules", "unit-*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"[Unit]\nA=b\n\n; c\n# d=e\n[Service]\n  F = g h \nF=\nG=i=j\n[X-Own]\nK=l"}
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			texts = append(texts, string(f.Data))
		}
	}
	if len(texts) < 20 {
		t.Fatalf("only %d units", len(texts))
	}
	for _, text := range texts {
		theirs, err := unit.DeserializeOptions(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		var want, got []string
		for _, o := range theirs {
			want = append(want, fmt.Sprintf("[%s] %s=%s", o.Section, o.Name, o.Value))
		}
		s := &source{name: "x.service", lines: strings.Split(text, "\n")}
		for _, o := range s.parseUnit() {
			got = append(got, fmt.Sprintf("[%s] %s=%s", o.section, o.name, o.value))
			if !strings.Contains(s.lines[o.at.line-1], o.name) {
				t.Errorf("%s is not in line %d of\n%s", o.name, o.at.line, text)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(s.problems) > 0 {
			t.Errorf("%v, (-theirs +ours):\n%s", s.problems, diff)
		}
	}
}

func TestUnitContinuation(t *testing.T) {
	text := "[Service]\nExecStart=/web \\\n  --a \\\n# not a part\n  --b\nType=notify \\\n\nRestart=no\\"
	s := &source{name: "x.service", lines: strings.Split(text, "\n")}
	got := s.parseUnit()
	want := []string{"2 ExecStart=/web --a --b", "6 Type=notify", "8 Restart=no"}
	var lines []string
	for _, o := range got {
		lines = append(lines, fmt.Sprintf("%d %s=%s", o.at.line, o.name, o.value))
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestInterpolate(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "${A:-5s}": "5s", "${A-5s}": "5s", "$$A": "$A", "a${B:-x}b": "axb",
		"${A:-${B:-5s}}": "5s", "${A-${B}}": "?", "${A:-a${B-b}c}d$$": "abcd$", "${A:-}": "", "5$": "5$", "${A": "?",
		"${A}": "?", "$A": "?", "${A:?missing}": "?", "${A:+set}": "?",
	} {
		n := &node{kind: scalar, value: text}
		(&source{}).interpolate(n)
		if want == "?" {
			if !n.unknown {
				t.Errorf("%q counts as %q, want unknown", text, n.value)
			}
		} else if n.value != want || n.unknown {
			t.Errorf("%q: got %q (unknown %v), want %q", text, n.value, n.unknown, want)
		}
	}
}

// TestHostile: files made to exhaust a parser are refused, soon. The bound on time is
// the test's own deadline; a bomb without bounds would take hours.
func TestHostile(t *testing.T) {
	head := "apiVersion: v1\nkind: Pod\n"
	var aliases strings.Builder
	aliases.WriteString("x0: &x0 [a, a, a, a, a, a, a, a, a]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&aliases, "x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 9), ", "))
	}
	var merges strings.Builder
	merges.WriteString("m0: &m0 {a: b}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&merges, "m%d: &m%d {<<: [*m%d, *m%d], k%d: c}\n", i, i, i-1, i-1, i)
	}
	for name, text := range map[string]string{
		"aliases":     head + aliases.String(),
		"merges":      head + merges.String(),
		"recursion":   head + "a: &a [*a]\n",
		"no anchor":   head + "a: *b\n",
		"flow":        head + "a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"mappings":    head + "a: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000),
		"block":       head + "a: " + strings.Repeat("- ", 5000) + "b",
		"tags":        head + "a: " + strings.Repeat("!t ", 5000) + "b",
		"many keys":   head + manyKeys(19_000) + manyKeys(19_000),
		"many docs":   strings.Repeat("---\n"+head+manyKeys(15_000), 30),
		"long line":   head + "a: " + strings.Repeat("x", maxLine),
		"long JSON":   "[" + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "]",
		"JSON twice":  `{"apiVersion": "v1", "kind": "Pod", "kind": "Pod"}`,
		"too large":   strings.Repeat(head, MaxFile/len(head)+1),
		"not text":    head + "\xff\xfe",
		"control":     head + "a: \x1b[31m\n",
		"not a pod":   "apiVersion: v1\nkind: Pod\nspec: [1]\n",
		"deep lists":  listOfLists(10),
		"twice":       head + "spec: {}\nspec: {}\n",
		"no mapping":  "- a\n- b\n",
		"nul in unit": "[Service]\nType=a\x00b\n",
		"unit junk":   "[Service]\nfoo bar\n",
		"unit alone":  "[Unit]\nDescription=x\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, err := Check([]File{{Name: "x", Data: []byte(text)}}, Options{})
			if err == nil && len(report.Skipped) == 0 {
				t.Errorf("accepted: %+v", report)
			}
			if len(fmt.Sprint(err)) > 4096 {
				t.Errorf("an error of %d bytes", len(fmt.Sprint(err)))
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	return b.String()
}

func listOfLists(depth int) string {
	text := "{apiVersion: v1, kind: Pod}"
	for range depth {
		text = "{apiVersion: v1, kind: List, items: [" + text + "]}"
	}
	return text
}

// FuzzCheck: whatever the text, Check neither panics nor passes over it in silence: it
// judged something, or it says why not; and every finding points into the file.
func FuzzCheck(f *testing.F) {
	archives, err := filepath.Glob(filepath.Join("testdata", "rules", "*.txtar"))
	if err != nil || len(archives) == 0 {
		f.Fatalf("%v, %v", archives, err)
	}
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	for _, name := range []string{"kubernetes.yaml", "web.service", "compose.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", "good", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{"", "[Service]\n", "services:\n  a: &a {ports: [80]}\n  b: *a\n", "services: {a: {<<: {}}}", "include: [a, {path: [b]}]\nservices: {a: {extends: {service: b}, ports: !override [80], environment: !reset null}, b: {extends: a, labels: [x], healthcheck: {test: [CMD]}}}",
		"[Container]\nImage=a\nPublishPort=80\nHealthCmd=[\"CMD\"]\nHealthOnFailure=kill\n", "[Service]\nExecStart=nginx\nExecStop=kill -s\nRestart=always\n", "%YAML 1.2\n---\n{}\n...\n", "apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n", "? a\n: b", "\t"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := Check([]File{{Name: "x.service", Data: data}}, Options{})
		if len(report.Checked) == 0 && len(report.Skipped) == 0 && err == nil {
			t.Fatal("nothing judged, and nothing said")
		}
		lines := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
		for _, finding := range append(report.Findings, report.Suppressed...) {
			if finding.Line < 1 || finding.Line > len(lines) || finding.Column < 1 {
				t.Fatalf("points nowhere: %+v", finding)
			}
		}
	})
}
