package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const perDriver = `name: everywhere
target:
  args: ["--listen", "$${listen.data}"]
  ports: {data: 8080}
  request: {path: /hello}
  on:
    process: {exec: ./shop, ports: {data: 0}}
    docker: {image: "shop:1", env: {PORT: "$${port.data}"}}
    kind:
      image: shop:2
      args: []
replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs:
  - name: asked
    signal: {kind: http, port: data, path: /ready}
`

func TestATargetOnEachDriver(t *testing.T) {
	s, err := Parse("dir/everywhere.yaml", []byte(perDriver), offered)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--listen", "${listen.data}"}
	for driver, want := range map[string]Workload{
		"process": {Exec: "./shop", Args: args},
		"docker":  {Image: "shop:1", Args: args, Env: map[string]string{"PORT": "${port.data}"}, Ports: Ports{Data: 8080}},
		"kind":    {Image: "shop:2", Ports: Ports{Data: 8080}},
	} {
		is, err := s.For(driver)
		if err != nil {
			t.Errorf("%s: %v", driver, err)
			continue
		}
		if diff := cmp.Diff(want, is.Target.Workload); diff != "" {
			t.Errorf("%s (-want +got):\n%s", driver, diff)
		}
		if is.Target.Request.Path != "/hello" || is.Target.On != nil {
			t.Errorf("%s: what is shared got lost: %+v", driver, is.Target)
		}
	}
	again, err := Parse("dir/everywhere.yaml", []byte(s.Source), offered)
	if err != nil {
		t.Fatalf("its Source: %v\n%s", err, s.Source)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("its Source says something else (-want +got):\n%s", diff)
	}
	for what, text := range map[string]string{"as written": perDriver, "rendered": s.Source} {
		if err := compiled(t).Validate(asJSON(t, []byte(text))); err != nil {
			t.Errorf("the schema refuses it %s: %v", what, err)
		}
	}

	_, err = s.For("systemd")
	var problem *Error
	if !errors.As(err, &problem) || problem.Line != 7 || !strings.Contains(problem.Message, "no entry for driver systemd") || !strings.Contains(problem.Hint, "docker, kind, process") {
		t.Errorf("without an entry: %v, want file, line and the list", err)
	}
}

// A service that is shared is that of every driver without an entry of its own.
func TestWhatIsSharedIsTheRest(t *testing.T) {
	s, err := Parse("a.yaml", []byte(strings.Replace(perDriver, "  request:", "  image: shop:0\n  request:", 1)), offered)
	if err != nil {
		t.Fatal(err)
	}
	for driver, want := range map[string]string{"systemd": "image shop:0 ", "docker": "image shop:1 ", "process": "exec  ./shop"} {
		is, err := s.For(driver)
		if err != nil {
			t.Fatal(err)
		}
		if got := is.Target.kind() + " " + is.Target.Image + " " + is.Target.Exec; got != want {
			t.Errorf("%s: %q, want %q", driver, got, want)
		}
	}
}

func TestParseRefusesBadEntriesOfDrivers(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"two services", "{exec: ./shop, ports: {data: 0}}", "{exec: ./shop, image: a}", "a.yaml:7:21: target.on.process names two services: image and exec"},
		{"no service", "{exec: ./shop, ports: {data: 0}}", "{args: []}", "a.yaml:7:14: target.on.process names no service"},
		{"an unknown driver", "    docker: {", "    doker: {", "a.yaml:8:5: unknown key doker in target.on"},
		{"the reference proxy", "{exec: ./shop, ports: {data: 0}}", "{refproxy: {}}", "unknown key refproxy in target.on.process"},
		{"an empty entry", "{exec: ./shop, ports: {data: 0}}", "", "a.yaml:7:5: target.on.process has no value"},
		{"a deployment among programs", "image: shop:2", "deployment: shop", "a.yaml:"},
		{"no port for health", "port: data", "port: health", "asks port health"},
		{"a placeholder", "$${port.data}", "$${port.health}", "a.yaml:8:43: target.on.docker.env.PORT: no placeholder port.health"},
		{"the same port twice", "{exec: ./shop, ports: {data: 0}}", "{exec: ./shop, ports: {health: 8080}}", "a.yaml:7:45: target.on.process.ports: data and health are both 8080"},
		{"the check of an image", "{kind: http, port: data, path: /ready}", "{kind: image}", "designs[0].signal is the health check of an image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(perDriver, tt.old) {
				t.Fatalf("the scenario has no %q", tt.old)
			}
			_, err := Parse("a.yaml", []byte(strings.Replace(perDriver, tt.old, tt.new, 1)), offered)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			var problems Errors
			if errors.As(err, &problems) && len(problems) != 1 && tt.name != "a deployment among programs" {
				t.Errorf("%d problems for one mistake:\n%v", len(problems), err)
			}
		})
	}
}

// A program is named from the folder of the scenario's file, whoever reads it from where.
func TestPathsOfPrograms(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	s := &Scenario{File: filepath.Join(dir, "sub", "a.yaml")}
	for name, want := range map[string]string{
		"./shop": filepath.Join(dir, "sub", "shop"), "../bin/shop": filepath.Join(dir, "bin", "shop"),
		"bin/shop": filepath.Join(dir, "sub", "bin", "shop"), "/bin/shop": "/bin/shop", "shop": "shop", "": "",
	} {
		if got := s.Path(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s.File = "a.yaml"
	if got, want := s.Path("./shop"), filepath.Join(here, "shop"); got != want {
		t.Errorf("beside a file of this folder: %q, want %q", got, want)
	}
}

var targetBlock = regexp.MustCompile(`(?m)^target:\n(?:  .*\n)+`)

// A copy of a scenario of the catalogue with another target has one problem for each cause,
// however many designs, probes and drivers it shows in.
func TestACopyWithAnotherTargetHasOneProblemForEachCause(t *testing.T) {
	const (
		builtins = "say how refproxy behaves"
		builtin  = "says how refproxy behaves"
		deny     = "load.deny is for refproxy"
	)
	for _, name := range Names() {
		text, err := Text(name)
		if err != nil {
			t.Fatal(err)
		}
		for kind, target := range map[string]string{
			"exec":       "target: {exec: ./shop, args: [\"$${listen.data}\"]}\n",
			"image":      "target: {image: shop, ports: {data: 8080}}\n",
			"on":         "target: {on: {process: {exec: ./shop}, docker: {image: shop}}}\n",
			"deployment": "target: {deployment: web, service: web}\n",
		} {
			if !targetBlock.Match(text) {
				t.Fatalf("%s has no target to swap", name)
			}
			_, err := Parse(name+".yaml", targetBlock.ReplaceAllLiteral(text, []byte(target)), offered)
			var problems Errors
			if !errors.As(err, &problems) {
				t.Errorf("%s with %s: %v, want what is the matter with its designs", name, kind, err)
				continue
			}
			causes := map[string]int{}
			for _, p := range problems {
				cause := p.Message
				switch {
				case strings.Contains(p.Message, builtin), strings.Contains(p.Message, builtins):
					cause = builtin
				case strings.Contains(p.Message, deny):
					cause = deny
				}
				causes[cause]++
				if p.Line == 0 || p.Hint == "" {
					t.Errorf("%s with %s: without a line or a hint: %v", name, kind, p)
				}
			}
			for cause, n := range causes {
				if n > 1 {
					t.Errorf("%s with %s: %d times: %s", name, kind, n, cause)
				}
			}
			if causes[builtin] != 1 {
				t.Errorf("%s with %s: nothing about its designs: %v", name, kind, err)
			}
			most := 3 // and the denials, and the streams
			if kind == "deployment" {
				most = 5 // rolling and balancer are keys of their own
			}
			if len(problems) > most {
				t.Errorf("%s with %s: %d problems, want %d at most:\n%v", name, kind, len(problems), most, err)
			}
		}
	}
}

// What several designs have wrong in the same way is one problem that names the others.
func TestDesignsShareAProblem(t *testing.T) {
	text := strings.Replace(perDriver, "  - name: asked\n    signal: {kind: http, port: data, path: /ready}\n", `  - name: a
    signal: {kind: http, path: /ready}
    liveness: {kind: tcp}
  - name: b
    signal: {kind: tcp}
    on: {docker: {signal: {interval: 1s}}, kind: {signal: {interval: 1s}}}
`, 1)
	_, err := Parse("a.yaml", []byte(text), offered)
	var problems Errors
	if !errors.As(err, &problems) || len(problems) != 1 {
		t.Fatalf("got %v, want one problem", err)
	}
	want := "designs[0].signal asks port health, and the target has none (the same at designs[0].liveness, designs[1].signal and 2 more)"
	if problems[0].Message != want || problems[0].Line != 18 {
		t.Errorf("got line %d, %s\nwant line 18, %s", problems[0].Line, problems[0].Message, want)
	}
}
