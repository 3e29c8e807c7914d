package lint_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

// shop is a Deployment with its Service in which nothing is to be found.
const shop = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
        - name: app
          image: example.test/shop:1
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2}
          lifecycle: {preStop: {sleep: {seconds: 8}}}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: http}]
`

// kubeCase is shop with edits, each an old text and a new one, and more documents.
type kubeCase struct {
	name  string
	edits []string
	more  string
	want  []string // severity, rule and, after a colon, a part of the effect or the fix
}

func checkCases(t *testing.T, base string, cases []kubeCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			text := base
			for i := 0; i+1 < len(tt.edits); i += 2 {
				if strings.Count(text, tt.edits[i]) != 1 {
					t.Fatalf("%q is there %d times, want once", tt.edits[i], strings.Count(text, tt.edits[i]))
				}
				text = strings.Replace(text, tt.edits[i], tt.edits[i+1], 1)
			}
			if tt.more != "" {
				text += "---\n" + tt.more
			}
			report, err := lint.Check([]lint.File{{Name: "a.yaml", Data: []byte(text)}}, lint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, f := range report.Findings {
				said := string(f.Severity) + " " + f.Rule
				if i < len(tt.want) {
					if _, part, ok := strings.Cut(tt.want[i], ": "); ok && strings.Contains(f.Effect+" | "+f.Fix, part) {
						said += ": " + part
					}
				}
				got = append(got, said)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
				for _, f := range report.Findings {
					t.Log(line(f))
				}
			}
		})
	}
}

const (
	noProbe  = "          readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2}\n"
	noHook   = "          lifecycle: {preStop: {sleep: {seconds: 8}}}\n"
	noPorts  = "          ports: [{name: http, containerPort: 8080}]\n"
	theImage = "          image: example.test/shop:1\n"
	thePorts = "  ports: [{name: http, port: 80, targetPort: http}]"
)

// TestTakesNoRequests: nothing is lost where nobody answers requests.
func TestTakesNoRequests(t *testing.T) {
	noService := []string{"kind: Service", "kind: Ignored"}
	agent := append([]string{noPorts, "", noHook, "", "port: http}", "port: 8080}", "    spec:\n", "    spec:\n      terminationGracePeriodSeconds: 0\n"}, noService...)
	checkCases(t, shop, []kubeCase{
		{"as it is", nil, "", nil},
		{"an agent that is killed at once", agent, "", nil},
		{"an agent with hasty probes", append([]string{noPorts, "", noHook, "", noProbe, "          livenessProbe: {exec: {command: [check]}, failureThreshold: 1, timeoutSeconds: 60}\n          readinessProbe: {exec: {command: [check]}}\n"}, noService...), "", nil},
		{"a tool box behind a Service", []string{noPorts, "", noHook, "", noProbe, "          command: [/bin/sleep, infinity]\n", "targetPort: http", "targetPort: 8080", "    spec:\n", "    spec:\n      terminationGracePeriodSeconds: 0\n"}, "", nil},
		{"a loop of sleeps", []string{noHook, "", noProbe, "          command: [sh, -c, 'while true; do sleep 30; done']\n"}, "", nil},
		{"the image that pauses", []string{noHook, "", noProbe, "", theImage, "          image: registry.test/pause:3.10\n"}, "", nil},
		{"a sleep before the server", []string{noHook, "", noProbe, "          command: [sh, -c, 'sleep 5; exec serve']\n"}, "", []string{"error k8s-no-drain", "error k8s-no-readiness-probe"}},
		{"a Service for its metrics", []string{noHook, "", noPorts, "          ports: [{containerPort: 8080}]\n", "path: /readyz, port: http", "path: /readyz, port: 8081", thePorts, "  ports: [{name: metrics, port: 8080}]"}, "", nil},
		{"the same by its number alone", []string{noHook, "", noPorts, "          args: ['--metrics-bind-address=:8080']\n          ports: [{containerPort: 8080}]\n", "path: /readyz, port: http", "path: /readyz, port: 8081", thePorts, "  ports: [{port: 8080}]"}, "", nil},
		{"an exporter", []string{noHook, "", theImage, "          image: example.test/node-exporter:v1@sha256:0\n"}, "", nil},
		{"a port that metrics are taken from", []string{noHook, "", noPorts, "          ports: [{name: main, containerPort: 8080}]\n        - name: front\n          image: example.test/kube-rbac-proxy:1\n          args: ['--upstream=http://127.0.0.1:8080/']\n          ports: [{name: http, containerPort: 8443}]\n"}, "", nil},
		{"a metrics port beside one for requests", []string{noHook, "", noPorts, "          ports: [{containerPort: 8080}, {containerPort: 9090}]\n", "port: http}", "port: 8080}", thePorts, "  ports: [{name: metrics, port: 9090}]"}, "", []string{"warning k8s-no-drain"}},
	})
}

// TestProbesOfRequests: the same where requests arrive is a finding.
func TestProbesOfRequests(t *testing.T) {
	checkCases(t, shop, []kubeCase{
		{"liveness hangs longer than readiness", []string{noHook, noHook + "          livenessProbe: {httpGet: {path: /livez, port: http}, initialDelaySeconds: 60, periodSeconds: 10, timeoutSeconds: 30}\n"}, "", nil},
		{"readiness itself", []string{"periodSeconds: 2}", "periodSeconds: 2, timeoutSeconds: 4}"}, "", []string{"warning k8s-probe-timeout: keeps getting requests for 12s and not 6s: each readiness probe"}},
		{"grace of zero", []string{"    spec:\n", "    spec:\n      terminationGracePeriodSeconds: 0\n"}, "", []string{"error k8s-grace-too-short"}},
		{"a name that no port has", []string{"path: /readyz, port: http", "path: /readyz, port: web"}, "", []string{"error k8s-probe-port-unknown"}},
		{"a port for health alone, that no file names", []string{"path: /readyz, port: http", "path: /ready, port: 8181"}, "", nil},
		{"its digits misplaced", []string{"path: /readyz, port: http", "path: /readyz, port: 8008"}, "", []string{"warning k8s-probe-port-unknown: it has a port 8080"}},
		{"a digit too many", []string{"path: /readyz, port: http", "path: /readyz, port: 80800"}, "", []string{"warning k8s-probe-port-unknown: it has a port 8080"}},
		{"another than the other probe", []string{noHook, noHook + "          livenessProbe: {httpGet: {path: /livez, port: 9999}, initialDelaySeconds: 60}\n"}, "", []string{"warning k8s-probe-port-unknown: its readiness probe asks port http"}},
		{"another than the port for health", []string{"containerPort: 8080}", "containerPort: 8080}, {name: health, containerPort: 8081}", "path: /readyz, port: http", "path: /readyz, port: 9999"}, "", []string{"warning k8s-probe-port-unknown: it has a port health"}},
	})
}

// TestWhatAPodHolds: where two pods cannot hold the same, a surge is no advice.
func TestWhatAPodHolds(t *testing.T) {
	claim := func(mode string) string {
		return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [" + mode + "]}\n"
	}
	const replicas = "  replicas: 3\n"
	volume := []string{noHook, noHook + "      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]\n", replicas, "  replicas: 1\n  strategy: {type: Recreate}\n"}
	checkCases(t, shop, []kubeCase{
		{"nothing", volume[2:], "", []string{"error k8s-recreate: strategy: {type: RollingUpdate"}},
		{"a volume of one node", volume, claim("ReadWriteOnce"), []string{"warning k8s-recreate: the price of volume data, which one node alone can mount"}},
		{"a volume of one pod", volume, claim("ReadWriteOncePod"), []string{"warning k8s-recreate: which one pod alone can mount"}},
		{"a volume that is shared", volume, claim("ReadWriteMany"), []string{"error k8s-recreate"}},
		{"a volume of an unknown kind", volume, "", []string{"warning k8s-recreate: if one node alone can mount it (its claim is not in these files)"}},
		{"a port of the node", []string{replicas, volume[3], "containerPort: 8080}", "containerPort: 8080, hostPort: 80}"}, "", []string{"warning k8s-recreate: the price of port 80 of the node"}},
		{"the only replica goes first", []string{volume[0], volume[1], replicas, "  replicas: 1\n  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}\n"}, claim("ReadWriteOnce"), []string{"warning k8s-max-unavailable: no surge, which would wait for it"}},
		{"a StatefulSet with volumes", []string{"kind: Deployment", "kind: StatefulSet", replicas, "  replicas: 1\n  volumeClaimTemplates: [{metadata: {name: data}}]\n"}, "", []string{"warning k8s-statefulset-one-replica: a Deployment would not help"}},
		{"a DaemonSet with host ports", []string{"kind: Deployment", "kind: DaemonSet", replicas, "", "containerPort: 8080}", "containerPort: 8080, hostPort: 80}", "  selector: {app: shop}", "  internalTrafficPolicy: Local\n  selector: {app: shop}"}, "",
			[]string{"error k8s-daemonset-local-gap: a surge would wait for the host port"}},
	})
}

// TestConfigMapsBeside: what a ConfigMap of the same files says of the stop is known.
func TestConfigMapsBeside(t *testing.T) {
	mounted := []string{noHook, "      volumes: [{name: conf, configMap: {name: conf}}]\n"}
	conf := func(text string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: conf\ndata:\n  file: |\n    " + text + "\n"
	}
	const other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {a: {{ not YAML\n"
	checkCases(t, shop, []kubeCase{
		{"nothing of it", mounted, conf("a: b"), []string{"error k8s-no-drain"}},
		{"of CoreDNS", mounted, conf("health {\n      lameduck 10s\n    }"), nil},
		{"too long", mounted, conf("health {\n      lameduck 40s\n    }"), []string{"error k8s-grace-too-short: the drain takes 40s (lameduck)"}},
		{"of traefik", mounted, conf("[entryPoints.web.transport.lifeCycle]\n    requestAcceptGraceTimeout = \"5s\"\n    graceTimeOut = \"10s\""), nil},
		{"not mounted", []string{noHook, ""}, conf("lameduck 10s"), []string{"error k8s-no-drain"}},
		{"another name", mounted, strings.Replace(conf("lameduck 10s"), "name: conf", "name: config", 1), []string{"error k8s-no-drain"}},
		{"another namespace", mounted, strings.Replace(conf("lameduck 10s"), "name: conf", "name: conf\n  namespace: other", 1), []string{"error k8s-no-drain"}},
		{"not readable", mounted, other, []string{"error k8s-no-drain"}},
		{"projected", []string{noHook, "      volumes: [{name: conf, projected: {sources: [{configMap: {name: conf}}]}}]\n"}, conf("lameduck 10s"), nil},
		{"environment", []string{noHook, "          envFrom: [{configMapRef: {name: conf}}]\n"}, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {SHOP_LAME_DUCK: 5s}\n", nil},
		{"one variable", []string{noHook, "          env: [{name: GUNICORN_CMD_ARGS, valueFrom: {configMapKeyRef: {name: conf, key: args}}}]\n"}, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {args: --graceful-timeout 60, drain-delay: 5s}\n",
			[]string{"error k8s-grace-too-short: 1m0s", "error k8s-no-drain"}},
		{"in a List", mounted, "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: conf}\n  data: {file: lameduck 10s}\n", nil},
	})
}

// TestHooksThatGainNoTime: SIGTERM follows at once, or the hook itself ends the listener.
func TestHooksThatGainNoTime(t *testing.T) {
	hook := func(text string) []string {
		return []string{noHook, "          lifecycle: {preStop: {" + text + "}}\n"}
	}
	checkCases(t, shop, []kubeCase{
		{"a signal", hook("exec: {command: [kill, -TERM, '1']}"), "", []string{"error k8s-no-drain: kill -TERM 1 ends the listener at once"}},
		{"a note", hook("exec: {command: [sh, -c, 'echo stopping > /proc/1/fd/1']}"), "", []string{"error k8s-no-drain: returns at once"}},
		{"no sleep", hook("sleep: {seconds: 0}"), "", []string{"error k8s-no-drain: it sleeps for no time"}},
		{"no hook of that kind", hook("tcpSocket: {port: 8080}"), "", []string{"error k8s-no-drain: cannot be a tcpSocket"}},
		{"a signal too early", hook("exec: {command: [sh, -c, 'sleep 1; nginx -s quit; sleep 9']}"), "", []string{"warning k8s-drain-too-short: 1s after"}},
		{"a program with a lame duck", append(hook("exec: {command: [kill, -TERM, '1']}"), noPorts, noPorts+"          args: [--lame-duck=5s]\n"), "", nil},
		{"a request that may wait", hook("httpGet: {path: /drain, port: 8080}"), "", nil},
		{"killed while it waits", hook("exec: {command: [sh, -c, 'nginx -s quit; sleep 60']}"), "", []string{"error k8s-grace-too-short", "error k8s-no-drain"}},
	})
}

// TestWordsForAShell: a program that takes any words may work by chance.
func TestWordsForAShell(t *testing.T) {
	checkCases(t, shop, []kubeCase{
		{"one that refuses them", []string{noHook, "          lifecycle: {preStop: {exec: {command: [sleep, '5', '&&', leave]}}}\n"}, "", []string{"error k8s-exec-fails: && is an argument of sleep here"}},
		{"one that may take them", []string{"httpGet: {path: /readyz, port: http}", "exec: {command: [/app/check, '||', exit, '1']}"}, "", []string{"warning k8s-exec-fails: guessed: that check refuses arguments"}},
	})
}

// TestGuesses: what no Service shows, and replicas that a scaler sets, make warnings that
// say so.
func TestGuesses(t *testing.T) {
	scaler := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: shop}\nspec: {minReplicas: 1, scaleTargetRef: {kind: Deployment, name: shop}}\n"
	const replicas, none = "  replicas: 3\n", "  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}\n"
	checkCases(t, shop, []kubeCase{
		{"no Service", []string{"kind: Service", "kind: Ignored", noHook, ""}, "", []string{"warning k8s-no-drain: guessed: that requests come to its ports, to which no Service here leads"}},
		{"replicas", []string{replicas, replicas + none}, "", nil},
		{"one of them", []string{replicas, "  replicas: 1\n" + none}, "", []string{"error k8s-max-unavailable"}},
		{"replicas of nobody", []string{replicas, none}, "", []string{"warning k8s-max-unavailable: guessed: that no scaler elsewhere"}},
		{"replicas of a scaler", []string{replicas, none}, scaler, []string{"warning k8s-max-unavailable: guessed: that its scaler has it at its least"}},
	})
}

// TestLiveness: what it allows a start, and what it asks.
func TestLiveness(t *testing.T) {
	live := func(text string) []string {
		return []string{noHook, noHook + "          livenessProbe: {" + text + "}\n"}
	}
	checkCases(t, shop, []kubeCase{
		{"the defaults", live("httpGet: {path: /livez, port: http}"), "", []string{"warning k8s-liveness-kills-start: within 30s of its start"}},
		{"a second more", live("httpGet: {path: /livez, port: http}, initialDelaySeconds: 1"), "", nil},
		{"all of Spring", live("httpGet: {path: /actuator/health, port: http}, initialDelaySeconds: 60"), "", []string{"warning k8s-liveness-is-readiness: or /actuator/health/liveness"}},
		{"all of Spring below a path", live("httpGet: {path: /shop/actuator/health/, port: http}, initialDelaySeconds: 60"), "", []string{"warning k8s-liveness-is-readiness: or /shop/actuator/health/liveness"}},
		{"the instance alone", live("httpGet: {path: /actuator/health/liveness, port: http}, initialDelaySeconds: 60"), "", nil},
		{"all of Spring for both", append(live("httpGet: {path: /actuator/health, port: http}, initialDelaySeconds: 60"), "path: /readyz", "path: /actuator/health"), "", []string{"warning k8s-liveness-is-readiness: when it is not ready for 30s"}},
		{"hasty from the start is one finding", live("httpGet: {path: /livez, port: http}, periodSeconds: 3"), "", []string{"warning k8s-liveness-kills-start"}},
		{"one strike is one finding", live("httpGet: {path: /livez, port: http}, failureThreshold: 1, initialDelaySeconds: 60"), "", []string{"warning k8s-liveness-one-strike"}},
	})
}

// TestControllers: what makes pods is judged, whatever it is called.
func TestControllers(t *testing.T) {
	argo := []string{"apiVersion: apps/v1\nkind: Deployment", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout"}
	with := func(base []string, more ...string) []string { return append(append([]string{}, base...), more...) }
	const replicas, bare = "  replicas: 3\n", noProbe + noHook
	knative := []string{"apiVersion: apps/v1\nkind: Deployment", "apiVersion: serving.knative.dev/v1\nkind: Service", replicas, "", "  selector: {matchLabels: {app: shop}}\n", "",
		"kind: Service\nmetadata: {name: shop}\nspec:\n  selector", "kind: ConfigMap\nmetadata: {name: shop}\ndata:\n  selector"}
	checkCases(t, shop, []kubeCase{
		{"a Rollout", argo, "", nil},
		{"a Rollout that does not drain", with(argo, bare, ""), "", []string{"error k8s-no-drain", "error k8s-no-readiness-probe"}},
		{"a canary that takes all away", with(argo, replicas, "  replicas: 1\n  strategy: {canary: {maxSurge: 0, maxUnavailable: 1}}\n"), "", []string{"error k8s-max-unavailable"}},
		{"blue and green take none away", with(argo, replicas, "  replicas: 1\n  strategy: {blueGreen: {activeService: shop}}\n"), "", nil},
		{"a Rollout of a Deployment", nil, "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: canary}\nspec: {workloadRef: {kind: Deployment, name: shop}}\n", nil},
		{"a Rollout of somebody else", nil, "apiVersion: rollouts.kruise.io/v1beta1\nkind: Rollout\nmetadata: {name: shop}\nspec: {strategy: {canary: {steps: []}}}\n", nil},
		{"a ReplicaSet", []string{"kind: Deployment", "kind: ReplicaSet", bare, ""}, "", []string{"error k8s-no-drain", "error k8s-no-readiness-probe"}},
		{"a ReplicationController", []string{"apiVersion: apps/v1\nkind: Deployment", "apiVersion: v1\nkind: ReplicationController", "{matchLabels: {app: shop}}", "{app: front}"}, "", []string{"error k8s-selector-mismatch"}},
		{"a DeploymentConfig", []string{"apiVersion: apps/v1\nkind: Deployment", "apiVersion: apps.openshift.io/v1\nkind: DeploymentConfig", "{matchLabels: {app: shop}}", "{app: shop}", replicas, "  replicas: 1\n  strategy: {type: Rolling, rollingParams: {maxSurge: 0, maxUnavailable: 1}}\n"}, "",
			[]string{"error k8s-max-unavailable"}},
		{"a Service of Knative, which drains and probes by itself", with(knative, bare, ""), "", nil},
		{"its liveness is its own", with(knative, bare, "          livenessProbe: {httpGet: {path: /livez}, failureThreshold: 1, initialDelaySeconds: 60}\n"), "", []string{"warning k8s-liveness-one-strike"}},
	})
}

// TestExport: what a controller of the same export makes is judged once.
func TestExport(t *testing.T) {
	pod := func(owner string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: shop-1-a, labels: {app: shop}, ownerReferences: [{kind: ReplicaSet, name: " + owner + ", controller: true}]}\nspec: {containers: [{name: app, ports: [{containerPort: 8080, name: http}]}]}\n"
	}
	set := "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: shop-1, ownerReferences: [{kind: Deployment, name: shop, controller: true}]}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: shop}}\n" +
		"  template: {metadata: {labels: {app: shop}}, spec: {containers: [{name: app, ports: [{containerPort: 8080, name: http}]}]}}\n"
	checkCases(t, shop, []kubeCase{
		{"all of it", nil, set + "---\n" + pod("shop-1"), nil},
		{"a Pod without what makes it", nil, pod("shop-2"), []string{"error k8s-no-drain", "error k8s-no-readiness-probe"}},
	})
}

// TestTemplate: the objects of an OpenShift Template are judged with the values that its
// parameters have.
func TestTemplate(t *testing.T) {
	template := `apiVersion: template.openshift.io/v1
kind: Template
metadata:
  name: shop
  annotations: {rollout-lab.dev/drain: 5s}
objects:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: "${NAME}"}
    spec:
      replicas: ${{REPLICAS}}
      selector: {matchLabels: {app: "${NAME}"}}
      strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 2}}
      template:
        metadata: {labels: {app: "${NAME}"}}
        spec:
          terminationGracePeriodSeconds: ${{GRACE}}
          containers: [{name: app, ports: [{containerPort: 8080}]}]
  - apiVersion: v1
    kind: Service
    metadata: {name: shop}
    spec: {selector: {app: shop}, ports: [{port: 8080}]}
parameters:
  - {name: NAME, value: shop}
  - {name: REPLICAS, value: "2"}
  - {name: GRACE, required: true}
`
	checkCases(t, template, []kubeCase{
		{"with its values", nil, "", []string{"error k8s-max-unavailable: all 2 replicas", "error k8s-no-drain", "error k8s-no-readiness-probe"}},
		{"with others", []string{`value: "2"`, `value: "3"`}, "", []string{"error k8s-no-drain", "error k8s-no-readiness-probe"}},
		{"without", []string{"  - {name: NAME, value: shop}\n", "", "selector: {app: shop}", `selector: {app: "${NAME}"}`}, "", []string{"error k8s-max-unavailable", "error k8s-no-drain", "error k8s-no-readiness-probe"}},
	})
}

// TestServicesOfElsewhere: labels such as app: shop are those of many applications of one
// tree, so what a Service in another part of it selects is a guess.
func TestServicesOfElsewhere(t *testing.T) {
	workload, service, found := strings.Cut(strings.Replace(shop, noHook, "", 1), "---\n")
	if !found {
		t.Fatal("shop is one document")
	}
	for _, tt := range []struct{ workload, service, want string }{
		{"a.yaml", "b.yaml", "error k8s-no-drain"},
		{"-", "-", "error k8s-no-drain"},
		{"k8s/deployments/shop.yaml", "k8s/services/shop.yaml", "error k8s-no-drain"},
		{"k8s/overlays/live/shop.yaml", "k8s/base/shop.yaml", "error k8s-no-drain"},
		{"apps/shop/k8s/parts/shop.yaml", "apps/shop.yaml", "error k8s-no-drain"},
		{"apps/shop/k8s/shop.yaml", "apps/books/k8s/books.yaml", "warning k8s-no-drain: guessed: that Service shop of apps/books/k8s/books.yaml leads to it"},
		{`apps\shop\k8s\shop.yaml`, `apps\books\k8s\books.yaml`, "warning k8s-no-drain: guessed: that Service shop of "},
	} {
		report, err := lint.Check([]lint.File{{Name: tt.workload, Data: []byte(workload)}, {Name: tt.service, Data: []byte(service)}}, lint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range report.Findings {
			severity, part, _ := strings.Cut(tt.want, ": ")
			if got := string(f.Severity) + " " + f.Rule; got != severity || !strings.Contains(f.Effect, part) {
				t.Errorf("%s with %s: %s: %s, want %s", tt.workload, tt.service, got, f.Effect, tt.want)
			}
		}
		if len(report.Findings) != 1 {
			t.Errorf("%s with %s: %d findings", tt.workload, tt.service, len(report.Findings))
		}
	}
}
