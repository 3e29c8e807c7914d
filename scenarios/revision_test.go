package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const revisionScenario = `name: shop
target:
  args: [--listen, "$${listen.data}"]
  env: {MODE: live, LEVEL: info}
  revisions:
    before: {exec: /opt/shop-1}
    after: {name: "2.0", exec: /opt/shop-2, args: [--new], env: {LEVEL: debug}}
  request: {path: /orders}
replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 9s}}
action: {kind: rollout, then: rollback}
designs: [{name: bare, signal: {kind: none}}]
`

func TestRevisions(t *testing.T) {
	s, err := Parse("shop.yaml", []byte(revisionScenario), offered)
	if err != nil {
		t.Fatal(err)
	}
	if before, after := s.Target.RevisionNames(); before != "v1" || after != "2.0" {
		t.Errorf("called %q and %q", before, after)
	}
	want := drivers.Variation{Exec: "/opt/shop-2", Args: []string{"--listen", "${listen.data}", "--new"}, Env: map[string]string{"MODE": "live", "LEVEL": "debug"}}
	if diff := cmp.Diff(want, s.Target.At(s.Target.Revisions.After)); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	if s.ActionName() != "rollout-rollback" || !s.Target.RevisionsDiffer() {
		t.Errorf("action %s, differ %v", s.ActionName(), s.Target.RevisionsDiffer())
	}
	again, err := Parse("shop.yaml", []byte(s.Source), offered)
	if err != nil {
		t.Fatalf("its Source: %v\n%s", err, s.Source)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("its Source says something else (-want +got):\n%s", diff)
	}
	sch := compiled(t)
	for what, text := range map[string]string{"as written": revisionScenario, "rendered": s.Source} {
		if err := sch.Validate(asJSON(t, []byte(text))); err != nil {
			t.Errorf("schema, %s: %v", what, err)
		}
	}
}

// TestRevisionsThatAreTheSame: what a revision takes from the target makes no difference.
func TestRevisionsThatAreTheSame(t *testing.T) {
	for _, tt := range []struct {
		name, revisions string
		differ          bool
	}{
		{"nothing", "", false},
		{"empty", "  revisions: {before: {}, after: {}}\n", false},
		{"said and taken", "  revisions: {before: {}, after: {exec: /opt/shop, env: {A: '1'}}}\n", false},
		{"another name", "  revisions: {before: {}, after: {name: other}}\n", false},
		{"an argument", "  revisions: {before: {}, after: {args: [--x]}}\n", true},
		{"a variable", "  revisions: {before: {}, after: {env: {A: '2'}}}\n", true},
		{"a program", "  revisions: {before: {}, after: {exec: /opt/other}}\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := strings.Index(revisionScenario, "  args:"), strings.Index(revisionScenario, "  request:")
			text := revisionScenario[:a] + "  exec: /opt/shop\n  env: {A: '1'}\n" + tt.revisions + revisionScenario[b:]
			s, err := Parse("shop.yaml", []byte(text), offered)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Target.RevisionsDiffer(); got != tt.differ {
				t.Errorf("differ is %v, want %v", got, tt.differ)
			}
		})
	}
}

func TestBadRevisions(t *testing.T) {
	for _, tt := range []struct{ name, old, new, message, hint string }{
		{"one without a program", "before: {exec: /opt/shop-1}", "before: {}", "target names no service", ""},
		{"two programs", "exec: /opt/shop-2", "exec: /opt/shop-2, image: 'shop:2'", "target.revisions.after names two programs", "one of them"},
		{"one missing", "    before: {exec: /opt/shop-1}\n", "  exec: /opt/shop\n  revisions:\n", "", ""},
		{"manifests of a program", "exec: /opt/shop-2", "exec: /opt/shop-2, manifests: [shop.yaml]", "shop.yaml", ""},
		{"the same name", `"2.0"`, "v1", "both revisions are called v1", "another name"},
		{"a bad name", `"2.0"`, `"a b"`, "bad name of a revision", "letters"},
		{"a placeholder", "[--new]", `["$${nonsense}"]`, `target.revisions.after.args[0]: no placeholder nonsense`, ""},
		{"another action", "{kind: rollout, then: rollback}", "{kind: restart}", "target.revisions is for a rollout", "kind: rollout"},
		{"then what", "then: rollback", "then: rollbck", "action.then must be one of rollback", "rollback"},
		{"then of a restart", "{kind: rollout, then: rollback}", "{kind: restart, then: rollback}", "action.then is for kind: rollout", ""},
		{"the reference proxy", "  args: [--listen, \"$${listen.data}\"]\n  env: {MODE: live, LEVEL: info}\n", "  refproxy: {sessions: 1, sync_rate: 1}\n", "target.revisions is for a custom target", ""},
		{"an image's check of a program", "{kind: none}", "{kind: image}", "health check of an image", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(revisionScenario, tt.old) {
				t.Fatalf("the scenario has no %q", tt.old)
			}
			_, err := Parse("shop.yaml", []byte(strings.Replace(revisionScenario, tt.old, tt.new, 1)), offered)
			var problems Errors
			if !errors.As(err, &problems) || !strings.Contains(err.Error(), tt.message) || !strings.Contains(err.Error(), tt.hint) {
				t.Fatalf("got %v, want %q with a hint of %q", err, tt.message, tt.hint)
			}
			if problems[0].Line == 0 {
				t.Errorf("it is said of no line: %v", err)
			}
		})
	}
}

// TestRevisionsOfADeployment: each revision is its manifests, files or a folder of them, and
// every problem in one is said with its file.
func TestRevisionsOfADeployment(t *testing.T) {
	const with = "  manifests: [web.yaml, deploy/config.yaml]\n  revisions: {before: {}, after: {manifests: [next]}}\n"
	write := func(t *testing.T, next string, change ...string) string {
		path := writeDeployed(t, "web.scenario.yaml", "  manifests: [web.yaml, deploy/config.yaml]\n", with)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scenario := strings.Replace(string(text), "  - name: drained\n    about: With a probe and a wait.\n    manifests: [drained.yaml]\n", "", 1)
		if len(change) > 0 {
			scenario = strings.Replace(scenario, change[0], change[1], 1)
		}
		folder := filepath.Join(filepath.Dir(path), "next")
		service, deployment, _ := strings.Cut(next, "---\napiVersion: apps/v1")
		for name, content := range map[string]string{"../web.scenario.yaml": scenario, "b.yaml": "apiVersion: apps/v1" + deployment, "a.yml": service, "notes.txt": "no manifest"} {
			if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	t.Run("good", func(t *testing.T) {
		s, err := Load(write(t, strings.Replace(webManifest, "web:1", "web:2", 1)), offered)
		if err != nil {
			t.Fatal(err)
		}
		after := s.ManifestsAt(s.Designs[0], s.Target.Revisions.After)
		if len(after) != 2 || after[0].File != "next/a.yml" || after[1].File != "next/b.yaml" || !strings.Contains(after[1].Text, "web:2") {
			t.Errorf("after is %+v", after)
		}
		if before := s.ManifestsAt(s.Designs[0], s.Target.Revisions.Before); len(before) != 2 || before[0].File != "web.yaml" {
			t.Errorf("before is %+v", before)
		}
		if !s.Target.RevisionsDiffer() {
			t.Error("they are taken for the same")
		}
	})
	for _, tt := range []struct{ name, next, old, new, message string }{
		{"without its Deployment", strings.Replace(webManifest, "kind: Deployment", "kind: StatefulSet", 1), "", "", "no Deployment web in"},
		{"with other labels", strings.Replace(webManifest, "labels: {app: web", "labels: {app: other", 1), "", "", "and pods of Deployment"},
		{"with a program", webManifest, "{manifests: [next]}", "{manifests: [next], image: 'web:2'}", "image means nothing for a target that is a deployment"},
		{"of what exists", webManifest, "  manifests: [web.yaml, deploy/config.yaml]\n", "", "target.revisions.before has no manifests"},
		{"beside those of a design", webManifest, "  - name: bare\n", "  - {name: bare, manifests: [web.yaml]}\n", "are both to be applied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Load(write(t, tt.next, tt.old, tt.new), offered); err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("got %v, want %q", err, tt.message)
			}
		})
	}
}
