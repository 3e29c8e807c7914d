package lab

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

const secretScenario = `
name: secret
vars: {token: none, user: none}
about: asks as ${user}
target:
  exec: /bin/service
  args: ["$${listen.data}", "--admin=${token}"]
  env: {TOKEN: "${token}"}
  request: {method: POST, path: "/x?key=${user}", probe: true, header: {Authorization: "Bearer ${token}"}, body: '{"t": "${token}"}', expect: {body: "hello ${user}"}}
replicas: 2
load: {rate: 50, timeout: 1s}
phases:
  baseline: {from: 100ms, to: 300ms}
  window: {from: 300ms, to: 900ms}
action: {kind: rollout, timeout: 5s}
designs: [{name: svc, signal: {kind: http, port: data, path: /x}}]
gates: [{design: svc, metric: failed, op: <=, limit: 0}]
`

// A secret is in no file of a run, whoever says it back: the server in its answers, the runtime in
// its events and in its errors.
func TestSecretsAreWrittenNowhere(t *testing.T) {
	t.Parallel()
	const token, user = `s3cr3t"t<k>n\$`, "alice-the-secret"
	s, err := scenarios.Parse("secret.yaml", []byte(secretScenario), scenarios.Options{
		Vars: map[string]string{"token": token, "user": user}, Secret: map[string]bool{"token": true, "user": true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	d := &memoryDriver{
		notes: []string{"deployed with --admin=" + token},
		handle: func(w http.ResponseWriter, r *http.Request, _ string) {
			if r.Header.Get("Authorization") == "Bearer "+token && r.URL.Query().Get("key") == user {
				sent.Add(1)
			}
			w.Header().Set("Rollout-Lab-Reason", "no access for "+user+" with "+token)
			w.WriteHeader(http.StatusForbidden)
		},
		actionErr: errors.New("the program --admin=" + token + " ended, and so did " + user),
	}
	dir, err := runLab(t, t.Context(), d, s)
	if err != nil {
		t.Log(err)
	}
	if sent.Load() == 0 {
		t.Fatal("the server was never sent the secrets")
	}
	judged := mustJudge(t, dir)
	texts := map[string]string{}
	for name, write := range map[string]func(io.Writer) error{
		"report.html":  func(w io.Writer) error { return reports.WriteHTML(w, judged) },
		"junit.xml":    func(w io.Writer) error { return reports.WriteJUnit(w, judged) },
		"results.json": func(w io.Writer) error { return reports.WriteJSON(w, reports.Results(judged)) },
		"terminal":     func(w io.Writer) error { return reports.WriteTerminal(w, judged, reports.TerminalOptions{Width: 100}) },
	} {
		var text strings.Builder
		if err := write(&text); err != nil {
			t.Fatal(err)
		}
		texts[name] = text.String()
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		texts[strings.TrimPrefix(path, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	masked := 0
	for name, text := range texts {
		masked += strings.Count(text, record.Masked)
		for _, part := range []string{token, user, "s3cr3t", "alice"} {
			if at := strings.Index(text, part); at >= 0 {
				t.Errorf("%s holds %q: ...%q", name, part, text[max(at-60, 0):min(at+60, len(text))])
			}
		}
	}
	if masked < 10 {
		t.Errorf("*** is in the files %d times: the secrets went nowhere near them", masked)
	}
	again, err := scenarios.Parse("secret.yaml", []byte(s.Source), scenarios.Options{})
	if err != nil || again.Vars["token"] != record.Masked {
		t.Errorf("its Source is no scenario: %v\n%s", err, s.Source)
	}
}
