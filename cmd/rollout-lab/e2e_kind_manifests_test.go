//go:build e2e && linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/cli"
)

// httpbinManifest is the server as it is run by somebody who knows no lab.
const httpbinManifest = `apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec:
  selector: {app: httpbin}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin}
spec:
  replicas: 3
  selector: {matchLabels: {app: httpbin}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: httpbin}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
        - name: httpbin
          image: IMAGE
          imagePullPolicy: Never
          args: [-host, 0.0.0.0, -port, "8080"]
          ports: [{name: http, containerPort: 8080}]
`

const httpbinDrained = `          readinessProbe: {httpGet: {path: /status/200, port: http}, periodSeconds: 1, failureThreshold: 2}
          lifecycle: {preStop: {sleep: {seconds: 4}}}
`

const httpbinDeployment = `name: httpbin-manifests
about: A server that nobody here wrote, deployed by YAML that nobody here wrote.
target:
  deployment: httpbin
  service: httpbin
  port: http
  manifests: [bare.yaml]
  request: {path: /status/204, expect: {status: 204}}
replicas: 3
# Kept connections hide what new ones meet: 13 of 7,500 failed with the usual streams.
load: {rate: 300, streams: {keepalive: 1, newconn: 2}}
phases:
  baseline: {from: 1s, to: 4s}
  window: {from: 4s, to: 29s}
action: {kind: rollout, timeout: 60s}
trials: 1
designs:
  - name: bare
    about: No probe, no wait before the stop.
  - name: drained
    about: A readiness probe, and 4 s between the endpoint's end and SIGTERM. What is lost is
      on connections that the server closes at its end without having said so.
    manifests: [drained.yaml]
gates:
  - {design: drained, metric: success_rate, op: ">=", limit: 99.5%}
positive_controls: [bare]
`

func TestE2EKindManifestsThirdPartyServer(t *testing.T) {
	needDriver(t, "kind")
	image := httpbinImage(t)
	dir := t.TempDir()
	bare := strings.Replace(httpbinManifest, "IMAGE", image, 1)
	for name, text := range map[string]string{"httpbin.yaml": httpbinDeployment, "bare.yaml": bare, "drained.yaml": bare + httpbinDrained} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, flags := filepath.Join(dir, "httpbin.yaml"), []string{"--kind-cluster", kindCluster, "--kind-keep"}
	t.Run("validate", func(t *testing.T) {
		if out, err := exec.Command(labBinary(t), "validate", file).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("another runtime refuses it", func(t *testing.T) {
		cmd := exec.Command(labBinary(t), "run", file, "--driver", "process", "--out", filepath.Join(t.TempDir(), "run"))
		out, _ := cmd.CombinedOutput() // its exit code is what counts
		if code := cmd.ProcessState.ExitCode(); code != cli.ExitUsage || !strings.Contains(string(out), "refused on process") {
			t.Errorf("exit code %d, want %d, and the reason:\n%s", code, cli.ExitUsage, out)
		}
	})
	code, _, doc := runLabBinary(t, labBinary(t), append([]string{"run", file, "--driver", "kind"}, flags...)...)
	if code != cli.ExitPass {
		t.Errorf("exit code %d, verdict %s: %v", code, doc.Verdict, doc.Reasons)
	}
	for _, c := range doc.Cells {
		for _, tr := range validTrials(t, c, 1) {
			t.Logf("%s: %d of %d failed, %v", c.Design, failures(t, tr), tr.Planned, tr.Errors)
			for _, s := range tr.Streams {
				t.Logf("  %s: %d of %d failed", s.Name, s.Planned-s.OK, s.Planned)
			}
		}
	}
	// The tests before it, whose cluster this is too, have left nothing either.
	if left := labNamespaces(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// labNamespaces asks the node itself for the namespaces of labs, so that nothing depends on
// the driver.
func labNamespaces(t *testing.T) []string {
	t.Helper()
	out := dockerCommand(t, "exec", kindCluster+"-control-plane", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf",
		"get", "namespaces", "--selector", "rollout-lab/run", "--output", "name")
	return slices.DeleteFunc(strings.Split(out, "\n"), func(s string) bool { return s == "" })
}
