package lint_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

func check(t *testing.T, name, text string) ([]lint.File, *lint.Report) {
	t.Helper()
	files := []lint.File{{Name: name, Data: []byte(text)}}
	report, err := lint.Check(files, lint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return files, report
}

// TestOneFindingPerCause: services that share a line by an anchor are one finding.
func TestOneFindingPerCause(t *testing.T) {
	_, r := check(t, "a", `x-all: &all
  depends_on: [db, queue]
services:
  a: {<<: *all, image: a}
  b: {<<: *all, image: b}
  c: {<<: *all, image: c}
  d: {image: d, depends_on: [db]}
  db: {image: db, ports: ["5432"]}
  queue: {image: queue, ports: ["5672"]}
`)
	var got [][]string
	for _, f := range r.Findings {
		if f.Rule != "compose-depends-on" {
			continue
		}
		got = append(got, append([]string{f.Subject}, f.Others...))
	}
	want := [][]string{{"service a", "service b", "service c"}, {"service d"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBaseline: what is known does not count, wherever it has moved to; what is new, one more
// of a kind, or graver does.
func TestBaseline(t *testing.T) {
	files, r := check(t, "./k8s/a.yaml", pod)
	data, err := json.Marshal(lint.NewBaseline(r))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, file, text string
		want             []string
		known, gone      int
	}{
		{"as it was", "k8s/a.yaml", pod, nil, 1, 0},
		{"moved", "k8s/a.yaml", "# a comment\n---\n" + pod, nil, 1, 0},
		{"in another file", "k8s/b.yaml", pod, []string{"k8s/b.yaml:6:7 warning k8s-no-drain"}, 0, 0},
		{"graver", "k8s/a.yaml", pod + "---\n" + service, []string{"k8s/a.yaml:6:7 error k8s-no-drain"}, 0, 1},
		{"another subject", "k8s/a.yaml", strings.Replace(pod, "name: web", "name: api", 1), []string{"k8s/a.yaml:6:7 warning k8s-no-drain"}, 0, 1},
		{"one more of a kind", "k8s/a.yaml", pod + "    - {name: b, ports: [{containerPort: 80}], readinessProbe: {grpc: {port: 80}}}\n", []string{"k8s/a.yaml:9:7 warning k8s-no-drain"}, 1, 0},
		{"mended", "k8s/a.yaml", strings.Replace(pod, "name: app", "args: [--lame-duck=5s]\n      name: app", 1), nil, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			baseline, err := lint.ParseBaseline(data)
			if err != nil {
				t.Fatal(err)
			}
			files, r = check(t, tt.file, tt.text)
			gone := r.Compare(baseline, files)
			if diff := cmp.Diff(tt.want, found(r)); diff != "" || len(r.Known) != tt.known || gone != tt.gone {
				t.Errorf("%d known, %d gone, want %d and %d; (-want +got):\n%s", len(r.Known), gone, tt.known, tt.gone, diff)
			}
		})
	}
	for _, text := range []string{"", "[]", "{}", `{"version": 2, "findings": []}`, `{"version": 1}`} {
		if b, err := lint.ParseBaseline([]byte(text)); err == nil {
			t.Errorf("%s: passed for a baseline: %+v", text, b)
		}
	}
}

// TestBaselineOfAnAnchor: a finding of several subjects is known when any of them is.
func TestBaselineOfAnAnchor(t *testing.T) {
	const text = "x-all: &all\n  depends_on: [db]\nservices:\n  b: {<<: *all, image: b}\n  db: {image: db}\n"
	_, r := check(t, "a", text)
	baseline := lint.NewBaseline(r)
	files, r := check(t, "a", strings.Replace(text, "  b:", "  a: {<<: *all, image: a}\n  b:", 1))
	if gone := r.Compare(baseline, files); gone != 0 || len(r.Known) != 1 || len(r.Findings) != 0 {
		t.Errorf("%d gone, got %+v", gone, r)
	}
}

// TestSARIF: the log has what code scanning wants of it: the rules that the results are of,
// places with a path from the root of the repository, and what is taken back as suppressed.
func TestSARIF(t *testing.T) {
	const ignored = "apiVersion: v1\nkind: Pod\nmetadata: {name: b, annotations: {rollout-lab.dev/ignore: k8s-no-drain a test}}\nspec: {containers: [{name: b, ports: [{containerPort: 80}], readinessProbe: {grpc: {port: 80}}}]}\n"
	r, err := lint.Check([]lint.File{{Name: "./k8s/my pod.yaml", Data: []byte(pod + "---\n" + ignored)}, {Name: "broken", Data: []byte("a: [\n")}}, lint.Options{})
	if err == nil {
		t.Fatal("a broken file passed")
	}
	data, err := json.Marshal(lint.SARIF(r, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	type location struct {
		PhysicalLocation struct {
			ArtifactLocation struct{ URI string }
			Region           struct{ StartLine, StartColumn int }
		}
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Invocations []struct {
				ExecutionSuccessful        bool
				ToolExecutionNotifications []struct{ Locations []location }
			}
			Results []struct {
				RuleID, Level string
				Message       struct{ Text string }
				Locations     []location
				Suppressions  []struct{ Kind, Justification string }
			}
		}
	}
	if err := json.Unmarshal(data, &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if log.Version != "2.1.0" || len(run.Tool.Driver.Rules) != len(lint.Rules()) || len(run.Results) != 2 {
		t.Fatalf("got %s", data)
	}
	first, second := run.Results[0], run.Results[1]
	at := first.Locations[0].PhysicalLocation
	if first.RuleID != "k8s-no-drain" || first.Level != "warning" || !strings.Contains(first.Message.Text, "fix: ") || at.ArtifactLocation.URI != "k8s/my%20pod.yaml" || at.Region.StartLine != 6 || at.Region.StartColumn != 7 {
		t.Errorf("got %+v", first)
	}
	if len(first.Suppressions) != 0 || len(second.Suppressions) != 1 || second.Suppressions[0].Kind != "inSource" || second.Suppressions[0].Justification != "a test" {
		t.Errorf("got %+v", second)
	}
	if run.Invocations[0].ExecutionSuccessful || run.Invocations[0].ToolExecutionNotifications[0].Locations[0].PhysicalLocation.ArtifactLocation.URI != "broken" {
		t.Errorf("got %+v", run.Invocations)
	}
}
