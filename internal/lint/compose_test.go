package lint_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

// checked is a healthcheck in which nothing is to be found.
const checked = "healthcheck: {test: [CMD, /web, health], interval: 5s, timeout: 3s, start_period: 30s}"

// TestComposeFilesTogether: files that Compose reads as one are judged as one.
func TestComposeFilesTogether(t *testing.T) {
	const base = "-- compose.yaml --\nservices:\n  web:\n    image: web\n    ports: [\"80:80\"]\n"
	const bare = "compose.yaml:2:3 warning compose-no-healthcheck"
	restart := func(file string, line, column int) string {
		return fmt.Sprintf("%s:%d:%d warning compose-restart", file, line, column)
	}
	for _, tt := range []struct {
		name, files string
		want        []string
		checked     int
	}{
		{"base alone", base, []string{bare, restart("compose.yaml", 2, 3)}, 1},
		{"with its override", base + "-- compose.override.yaml --\nservices:\n  web:\n    restart: always\n    " + checked + "\n", nil, 1},
		{"of another name", strings.Replace(base, "compose.yaml", "a/docker-compose.test.yml", 1) + "-- a/docker-compose.test.override.yml --\nservices:\n  web:\n    restart: always\n    " + checked + "\n", nil, 1},
		{"in another folder", base + "-- a/compose.override.yaml --\nservices:\n  web:\n    restart: always\n    " + checked + "\n", []string{bare, restart("compose.yaml", 2, 3)}, 2},
		{"the override is at fault", base + "-- compose.override.yaml --\nservices:\n  web:\n    restart: \"no\"\n    healthcheck: {test: [CMD, a], interval: 40s, timeout: 3s}\n",
			[]string{restart("compose.override.yaml", 3, 5), "compose.override.yaml:4:35 warning compose-health-slow"}, 1},
		{"two cases of one base", base + "-- compose.a.yaml --\nservices:\n  web:\n    restart: always\n    " + checked + "\n-- compose.b.yaml --\nservices:\n  web:\n    " + checked + "\n  more: {image: more}\n",
			[]string{restart("compose.yaml", 2, 3)}, 3},
		{"a part alone", "-- compose.prod.yaml --\nservices:\n  web:\n    ports: [\"80:80\"]\n", nil, 1},
		{"a file that stands alone", base + "-- compose.dev.yaml --\nservices:\n  web:\n    image: dev\n    ports: [\"80:80\"]\n    restart: always\n    " + checked + "\n", []string{bare, restart("compose.yaml", 2, 3)}, 2},
		{"the command is replaced, lists are not", base + "    command: [/web, --listen=127.0.0.1:81]\n    environment: {LISTEN: \":80\"}\n-- compose.override.yaml --\nservices:\n  web:\n    command: [/web]\n    environment: [LISTEN=127.0.0.1:80]\n    ports: [\"81:81\"]\n    restart: always\n    " + checked + "\n",
			[]string{"compose.override.yaml:4:19 error compose-published-on-loopback"}, 1},
		{"reset and override", base + "    stop_grace_period: 0s\n    restart: always\n-- compose.override.yaml --\nservices:\n  web:\n    stop_grace_period: !reset null\n    environment: !reset null\n    ports: !override [\"8080:8080\"]\n    " + checked + "\n", nil, 1},
		{"ignored in the override", base + "    " + checked + "\n-- compose.override.yaml --\nservices:\n  web:\n    restart: \"no\" # rollout-lab:ignore compose-restart a test\n", nil, 1},
		{"a drain comment of each", base + "    restart: always\n    " + checked + "\n-- compose.override.yaml --\nservices:\n  web:\n    # rollout-lab:drain 20s\n    init: true\n",
			[]string{"compose.yaml:2:3 error compose-stop-grace"}, 1},
		{"extends here", "-- compose.yaml --\nservices:\n  base:\n    image: web\n    restart: always\n  web:\n    extends: {service: base}\n    ports: [\"80:80\"]\n    " + checked + "\n", nil, 2},
		{"extends there", "-- compose.yaml --\nservices:\n  web:\n    extends: {file: lib/common.yaml, service: base}\n    ports: [\"80:80\"]\n    " + checked + "\n-- lib/common.yaml --\nservices:\n  base:\n    image: web\n    stop_grace_period: 0s\n    restart: always\n",
			[]string{"lib/common.yaml:4:5 error compose-stop-grace"}, 2},
		{"extends what nobody named", "-- compose.yaml --\nservices:\n  web:\n    extends: {file: common.yaml, service: base}\n    ports: [\"80:80\"]\n", nil, 1},
		{"extends in a circle", "-- compose.yaml --\nservices:\n  a: {extends: b, ports: [\"80:80\"]}\n  b: {extends: a}\n", nil, 2},
		{"include", "-- compose.yaml --\ninclude: [db/compose.yaml]\nservices:\n  web:\n    image: web\n    depends_on: {db: {condition: service_healthy}}\n-- db/compose.yaml --\nservices:\n  db: {image: db}\n",
			[]string{"db/compose.yaml:2:3 warning compose-no-healthcheck"}, 2},
		{"include alone", "-- compose.yaml --\ninclude:\n  - path: [web.yaml]\n-- web.yaml --\nservices:\n  web:\n    image: web\n    ports: [\"80:80\"]\n    " + checked + "\n", []string{restart("web.yaml", 2, 3)}, 1},
		{"services with names of keys", base + "    restart: always\n    " + checked + "\n  test: {image: a}\n-- compose.override.yaml --\nservices:\n  test: {command: [b]}\n", nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var files []lint.File
			for _, f := range txtar.Parse([]byte(tt.files)).Files {
				files = append(files, lint.File{Name: f.Name, Data: f.Data})
			}
			report, err := lint.Check(files, lint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, found(report)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(report.Checked) != tt.checked {
				t.Errorf("checked %v, want %d services", report.Checked, tt.checked)
			}
		})
	}
}

// TestIncludeOfNothing: what is included and not named is said, not passed over.
func TestIncludeOfNothing(t *testing.T) {
	_, err := lint.Check([]lint.File{{Name: "a/compose.yaml", Data: []byte("include: [../b/web.yaml]\n")}}, lint.Options{})
	if err == nil || !strings.Contains(err.Error(), "a/compose.yaml: it has no service of its own") {
		t.Errorf("got %v", err)
	}
}

// TestComposeVariables: what depends on a variable without a default is not judged.
func TestComposeVariables(t *testing.T) {
	text := `services:
  web:
    image: web
    ports: ["80:80"]
    restart: $POLICY
    stop_grace_period: ${GRACE}
    healthcheck: {test: [CMD, /web, health], interval: "$EVERY", timeout: $TIMEOUT, retries: $TIMES}
    environment: {WEB_LAME_DUCK: 20s}
`
	report, err := lint.Check([]lint.File{{Name: "a", Data: []byte(text)}}, lint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := found(report); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// TestUnseenUnits: that the rules for servers were passed over is said.
func TestUnseenUnits(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       int
	}{
		{"nothing shows it", "[Service]\nExecStart=/opt/hub --config /etc/hub\n", 1},
		{"a port", "[Service]\nType=notify\nExecStart=/opt/hub --server.port=8080\nRestart=always\nRestartSec=2\n", 0},
		{"a job", "[Service]\nType=oneshot\nExecStart=/opt/hub\n", 0},
	} {
		report, err := lint.Check([]lint.File{{Name: "hub.service", Data: []byte(tt.text)}}, lint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := found(report); len(got) > 0 || len(report.Skipped) != tt.want {
			t.Errorf("%s: got %v, passed over %+v, want %d", tt.name, got, report.Skipped, tt.want)
		}
	}
}
