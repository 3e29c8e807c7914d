//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/certtest"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// example is a block of code in the manual.
type example struct {
	file     string
	line     int
	language string // behind the three backquotes
	text     string
}

func (e example) String() string { return fmt.Sprintf("%s:%d", e.file, e.line) }

// examples are all blocks of the README and of the manual.
func examples(t *testing.T) []example {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	var all []example
	for _, file := range append(files, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range block.FindAllSubmatchIndex(text, -1) {
			all = append(all, example{
				file: filepath.Base(file), line: 1 + bytes.Count(text[:at[0]], []byte("\n")),
				language: string(text[at[2]:at[3]]), text: string(text[at[4]:at[5]]),
			})
		}
	}
	return all
}

// manual is a folder with all the files that examples name.
func manual(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	service := filepath.Join(dir, "my-service")
	build := exec.Command("go", "build", "-o", service, ".")
	build.Dir = filepath.Join("testdata", "manual", "service")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"shop", "svc", "shop-1.9", "shop-2.0", "orders", "restart.sh", "one-by-one.sh", "rollout-lab"} {
		if err := os.Symlink(service, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "manual", "files"))); err != nil {
		t.Fatal(err)
	}
	https := filepath.Join(dir, "examples", "https")
	if err := os.CopyFS(https, os.DirFS("../../examples/https")); err != nil {
		t.Fatal(err)
	}
	// What a reader makes there; one who tests may have made it already.
	if err := os.RemoveAll(filepath.Join(https, "server")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(service, filepath.Join(https, "server")); err != nil {
		t.Fatal(err)
	}
	ca := certtest.New(t)
	certtest.Write(t, https, map[string][]byte{"cert.pem": ca.PEM})
	client := ca.Issue(certtest.Options{})
	certtest.Write(t, dir, map[string][]byte{"ca.pem": ca.PEM, "client.pem": client.PEM, "client-key.pem": client.Key})
	return dir
}

// inThisProcess runs the program in this process.
func inThisProcess(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = cli.Main(context.WithoutCancel(t.Context()), args, cli.Streams{In: strings.NewReader(""), Out: &b, Err: &b}, builtin()...)
	return code, b.String()
}

// rest is what a part of a scenario is completed with.
var rest = []struct{ key, text string }{
	{"name", "name: part\n"},
	{"target", "target: {exec: ./my-service, args: [\"--addr\", \"$${listen.data}\"]}\n"},
	{"replicas", "replicas: 3\n"},
	{"load", "load: {rate: 100}\n"},
	{"phases", "phases: {baseline: {from: 1s, to: 4s}, window: {from: 4s, to: 24s}}\n"},
	{"action", "action: {kind: rollout}\n"},
	{"designs", "designs: [{name: as-it-is, signal: {kind: http, port: data, path: /healthz, interval: 400ms}}]\n"},
}

// TestTheScenariosOfTheManual: every YAML block is a scenario, or a part of one, that the drivers
// it is for can honour; with the files and programs that it names beside it.
func TestTheScenariosOfTheManual(t *testing.T) {
	all := examples(t)
	t.Chdir(manual(t))
	n := 0
	for _, e := range all {
		if e.language != "yaml" {
			continue
		}
		n++
		text := e.text
		for _, r := range rest {
			if !strings.HasPrefix(e.text, "name:") && !regexp.MustCompile(`(?m)^`+r.key+`:`).MatchString(text) {
				text += r.text
			}
		}
		file := fmt.Sprintf("example-%d.yaml", n)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"validate", file}
		if on := driversFor(t, file); on != "" {
			args = append(args, "--driver", on)
		}
		if code, out := inThisProcess(t, args...); code != cli.ExitPass {
			t.Errorf("%v: %s: exit code %d\n%s\n%s", e, strings.Join(args, " "), code, out, text)
		}
	}
	if n < 6 {
		t.Errorf("%d scenarios in the manual: are they still found?", n)
	}
}

// driversFor are the drivers that an example has to run on.
func driversFor(t *testing.T, file string) string {
	t.Helper()
	s, err := scenarios.Load(file, scenarios.Options{})
	if err != nil {
		return "" // validate says it
	}
	switch {
	case s.Target.Address():
		return ""
	case len(s.Target.On) > 0:
		return strings.Join(slices.Sorted(maps.Keys(s.Target.On)), ",")
	}
	// The first driver that runs such a target, as a reader would take it.
	feature := drivers.Feature("exec")
	if s.Target.Image != "" {
		feature = "image"
	} else if s.Target.Deployed() {
		feature = "deployment"
	}
	names, all := supports(t)
	for i, a := range all {
		if a[feature].How != drivers.Refused {
			return names[i]
		}
	}
	return ""
}

// really are the commands that are quick and change nothing: they are run as they stand.
var really = []string{"list", "validate", "schema", "version", "show", "lint", "init"}

// pipelines is the page whose commands are run as they stand: TestE2ERolloutGate does.
const pipelines = "ci.md"

// others are commands of other programs that examples use, and what is known of them.
var others = map[string]func(t *testing.T, e example, words []string){
	"make": func(t *testing.T, e example, words []string) {
		makefile, err := os.ReadFile("../../Makefile")
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(words[1]) + `:`).Match(makefile) {
			t.Errorf("%v: the Makefile has no target %s", e, words[1])
		}
	},
	"go": func(t *testing.T, e example, words []string) {
		if got := strings.Join(words[1:], " "); got != "test work" {
			t.Errorf("%v: go %s: only go run ./cmd/rollout-lab and go test work are known here", e, got)
		}
	},
	"jq": func(*testing.T, example, []string) {}, // what is in results.json is held to its schema elsewhere
}

// TestTheCommandsOfTheManual: every command in a block is one that the program takes, with its
// flags, and the scenarios that it names are valid for the drivers that it names. Those that are
// quick are run.
func TestTheCommandsOfTheManual(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := manual(t)
	n := 0
	for _, e := range examples(t) {
		if e.language != "" && e.language != "sh" || e.file == pipelines {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimSpace(e.text), " ")
		if first != "rollout-lab" && others[first] == nil {
			continue // what a program prints
		}
		for line := range strings.Lines(e.text) {
			words := shellWords(t, e, line)
			switch {
			case len(words) == 0:
				continue
			case len(words) > 2 && words[0] == "go" && words[1] == "run" && words[2] == "./cmd/rollout-lab":
				words = words[2:]
			case words[0] != "rollout-lab":
				other := others[words[0]]
				if other == nil {
					t.Errorf("%v: nobody knows the program %s", e, words[0])
					continue
				}
				t.Chdir(here)
				other(t, e, words)
				continue
			}
			n++
			t.Chdir(dir)
			checkCommand(t, e, words[1:])
		}
	}
	if n < 10 {
		t.Errorf("%d commands in the manual: are they still found?", n)
	}
}

// checkCommand runs a command, or has it read and not run, and validates the scenarios in it.
func checkCommand(t *testing.T, e example, args []string) {
	t.Helper()
	if slices.Contains(really, args[0]) {
		if code, out := inThisProcess(t, args...); code != cli.ExitPass && args[0] != "lint" {
			t.Errorf("%v: rollout-lab %s: exit code %d\n%s", e, strings.Join(args, " "), code, out)
		}
		return
	}
	flags := args
	if i := slices.Index(args, "--"); i >= 0 {
		flags = args[:i]
	}
	if code, out := inThisProcess(t, append(slices.Clone(flags), "--help")...); code != cli.ExitPass || !strings.Contains(out, "Usage:") {
		t.Errorf("%v: rollout-lab %s: exit code %d\n%s", e, strings.Join(args, " "), code, out)
	}
	if args[0] != "run" {
		return
	}
	check := []string{"validate"}
	for i := 1; i < len(flags); i++ {
		switch a := flags[i]; {
		case a == "--driver" || a == "--var":
			check = append(check, a, flags[i+1])
			i++
		case a == "--kind-keep" || a == "--json" || a == "--keep":
		case strings.HasPrefix(a, "--"):
			i++
		default:
			check = append(check, a)
		}
	}
	if code, out := inThisProcess(t, check...); code != cli.ExitPass {
		t.Errorf("%v: rollout-lab %s: exit code %d\n%s", e, strings.Join(check, " "), code, out)
	}
}

// shellWords splits a line as a shell does, without what it would fill in.
func shellWords(t *testing.T, e example, line string) (words []string) {
	t.Helper()
	word, open, quote := "", false, rune(0)
	for _, r := range strings.TrimSpace(line) {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ':
			if open {
				words, word, open = append(words, word), "", false
			}
		case r == '#' && !open:
			return words
		default:
			word, open = word+string(r), true
		}
	}
	if quote != 0 {
		t.Fatalf("%v: a quote that does not end: %s", e, line)
	}
	if open {
		words = append(words, word)
	}
	return words
}

// TestALinkOfTheManualLeadsSomewhere: a file that a page links to is there.
func TestALinkOfTheManualLeadsSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && d.Name() != "." || d.Name() == "testdata") {
			if d != nil && d.IsDir() && err == nil && path != "../.." {
				return filepath.SkipDir
			}
			return err
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
