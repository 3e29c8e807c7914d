package lint

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Rule is one thing that loses requests, and how to see it in a file. Its ID never
// changes: ignore comments and scripts hold it.
type Rule struct {
	ID       string   `json:"id"`
	Runtime  string   `json:"runtime"`  // kubernetes, systemd, compose or any
	Severity Severity `json:"severity"` // the gravest that it reports
	What     string   `json:"what"`     // when it reports
	Why      string   `json:"why"`      // how requests are lost
	Fix      string   `json:"fix"`

	objects func(*kubeObjects, *reporter) // sets the subject
	pods    func(*workload, *reporter)
	unit    func(*unitFile, *reporter)
	compose func(*composeService, *reporter)
}

// commentRule reports comments to the linter that have no effect.
const commentRule = "lint-comment"

var rules = slices.Concat(kubeRules, objectRules, probeRules, keyRules, unitRules, composeRules, []Rule{{
	ID: commentRule, Runtime: "any", Severity: Error,
	What: "A comment or an annotation to the linter that it cannot follow: an ignore without a reason, a rule or a verb that does not exist, a drain that is no duration.",
	Why:  "One that does nothing looks as if the matter had been settled.",
	Fix:  "`# rollout-lab:ignore RULE reason`, or `# rollout-lab:drain 5s`.",
}})

// Rules lists the rules, in the order of the documentation.
func Rules() []Rule { return slices.Clone(rules) }

// RuleByID is the rule with an ID.
func RuleByID(id string) (Rule, bool) {
	for _, r := range rules {
		if r.ID == id {
			return r, true
		}
	}
	return Rule{}, false
}

// runtimes orders and names the chapters of the documentation.
var runtimes = []struct{ name, title string }{
	{"kubernetes", "Kubernetes"}, {"systemd", "systemd"}, {"compose", "Compose"}, {"any", "Every file"},
}

// intro is what docs/lint.md says before the rules.
const intro = `# rollout-lab lint

` + "`rollout-lab lint FILE|FOLDER...`" + ` reads Kubernetes manifests (several documents, and Lists), systemd
unit files with their sockets and drop-ins, containers of Podman (Quadlets), and compose files, recognises each by what is
in it, and says what will lose requests. ` + "`-`" + ` reads standard input.

    rollout-lab lint k8s/
    helm template . | rollout-lab lint -
    kubectl kustomize overlays/production | rollout-lab lint -
    rollout-lab lint deploy.yaml service.yaml
    rollout-lab lint --drain 5s web.service web.socket

Of Kubernetes it judges what makes pods: Deployment, StatefulSet, DaemonSet, ReplicaSet and
Pod, Rollouts of Argo, Services of Knative, DeploymentConfigs and the objects of Templates of
OpenShift; with them Services, Ingresses, budgets, scalers, claims and ConfigMaps.

All files of one call are judged together: a Service selects the pods of another file, a
socket activates the unit of another. Compose files that belong together are merged: an override with
its base, a file that has services without an image with the compose.yaml beside it, what
is included and extended. A value with a variable that has no default is not judged.

**Severity.** An *error* loses requests as the files stand. A *warning* loses them under a
condition that the files do not show, or rests on a guess, which it names.

**A folder** stands for the manifests, units and compose files below it; folders whose names
begin with a dot are left out, and what ` + "`.rolloutlabignore`" + ` in it names, in the form of
` + "`.dockerignore`" + `. What is there and not judged (ConfigMaps, patches of a Kustomization,
templates, values of a chart) is counted in one line, and no error.

**Exit codes.** 0: no error (warnings are printed). 1: errors. 3: a file is broken, or in none
was anything recognised; that never passes silently. ` + "`--json`" + ` has the reasons.

**How the program drains** is read from its flags and environment where they are known:
` + "`--lame-duck`, `--close-wait`, `--stop-grace`, `--shutdown-delay`, `--shutdown-timeout`,\n`--graceful-timeout`, `--drain-timeout`" + ` and their like, in a script and in the environment too
(` + "`WEB_LAME_DUCK`" + `); for gunicorn, Spring, Keycloak, Quarkus and traefik by their own names. Where it is in the code, say so: with ` + "`--drain 5s`" + ` for all
files, or with a comment in the document, the unit or the compose service:

    # rollout-lab:drain 5s

It is how long the program goes on serving after SIGTERM. 0s says that it does not.

**To take a finding back**, put a comment on its line or on the line above. The reason is
required, and the finding stays in the JSON report with it:

    # rollout-lab:ignore k8s-recreate the database file allows one writer

Comments do not survive kustomize, nor the cluster. Annotations of an object, or of its pod
template, do; they hold for the whole object, and several rules take a line each:

    metadata:
      annotations:
        rollout-lab.dev/drain: 5s
        rollout-lab.dev/ignore: |
          k8s-recreate the database file allows one writer
          k8s-no-readiness-probe its only client asks again

**Files with many findings** need not be mended at once. ` + "`--write-baseline known.json`" + ` writes
down what is known, without line numbers; with ` + "`--baseline known.json`" + ` only what is new, or has
become an error, is told and counts. ` + "`--fail-on error|warning|never`" + ` says what makes the exit
code 1.

**In pipelines.** On GitHub Actions the findings are annotations of their lines. ` + "`--sarif FILE`" + `
writes them as SARIF 2.1.0, for code scanning and editors:

    - run: rollout-lab lint --sarif lint.sarif k8s/
    - uses: github/codeql-action/upload-sarif@v3
      if: always()
      with: {sarif_file: lint.sarif}

What one line causes in several services, by an anchor, is one finding that names them.
` + "`--json`" + ` prints the report, ` + "`--rules`" + ` the rules below.
`

// WriteDocs writes the documentation of the rules as Markdown.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString(intro)
	for _, rt := range runtimes {
		fmt.Fprintf(&b, "\n## %s\n", rt.title)
		for _, r := range rules {
			if r.Runtime == rt.name {
				fmt.Fprintf(&b, "\n### %s\n\n%s. %s\n\n*Why:* %s\n\n*Fix:* %s\n", r.ID, strings.ToUpper(string(r.Severity[:1]))+string(r.Severity[1:]), r.What, r.Why, r.Fix)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
