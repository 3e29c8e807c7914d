package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The service from its start to its end, asked as Docker asks it.
func TestServiceFromStartToEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	t.Setenv("NOTIFY_SOCKET", "")
	data, health := freeAddr(t), freeAddr(t)
	told, tell := context.WithCancel(ctx)
	var stdout, stderr bytes.Buffer
	exit := make(chan int, 1)
	go func() {
		exit <- run(told, []string{"--listen", data, "--health-listen", health, "--lame-duck", "1ms", "--stop-grace", "2s"}, &stdout, &stderr)
	}()
	ask := func() (int, string) {
		var out, errs bytes.Buffer
		code := run(ctx, []string{"healthcheck", "--addr", health}, &out, &errs)
		return code, out.String() + errs.String()
	}
	for {
		code, text := ask()
		if code == 0 {
			if text != "ready\n" && !strings.HasPrefix(text, "ready\n") {
				t.Errorf("got %q, want ready", text)
			}
			if strings.Contains(text, "[?]") {
				t.Errorf("a name meets nothing: %s", text)
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("not ready in time: %s", text)
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + data)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "served from ") {
		t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
	}
	tell()
	if code := <-exit; code != 0 {
		t.Errorf("got exit %d, %s", code, stderr.String())
	}
	if code, text := ask(); code != 1 || !strings.Contains(text, "no verdict") {
		t.Errorf("after the end: got exit %d, %q", code, text)
	}
}

// during replaces what the template leaves to others, for the length of a test.
func during(t *testing.T, ping_, fetch_ func(context.Context) error) {
	t.Helper()
	oldPing, oldFetch := ping, fetch
	ping, fetch = ping_, fetch_
	t.Cleanup(func() { ping, fetch = oldPing, oldFetch })
}

func fine(context.Context) error { return nil }

// hung returns a function that returns at the end of the test, whatever its context says,
// as drivers do that wait for an answer of a machine that is gone.
func hung(t *testing.T) func(context.Context) error {
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	return func(context.Context) error { <-end; return nil }
}

// within returns the exit code, or fails the test when none comes.
func within(t *testing.T, limit time.Duration, exit <-chan int) int {
	t.Helper()
	select {
	case code := <-exit:
		return code
	case <-time.After(limit):
		t.Fatalf("still running after %v", limit)
		return 0
	}
}

func TestPortInUse(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, check := range map[string]func(context.Context) error{"and all is well": fine, "and a check hangs": hung(t)} {
		t.Run(name, func(t *testing.T) {
			during(t, check, fine)
			var stdout, stderr bytes.Buffer
			exit := make(chan int, 1)
			go func() {
				exit <- run(t.Context(), []string{"--listen", taken.Addr().String(), "--health-listen", "127.0.0.1:0"}, &stdout, &stderr)
			}()
			if code := within(t, 10*time.Second, exit); code != 1 || !strings.Contains(stderr.String(), taken.Addr().String()) {
				t.Errorf("got exit %d, %q", code, stderr.String())
			}
		})
	}
}

// A check that hangs is named and left behind: the budget holds.
func TestHungCheckDoesNotHoldUpTheEnd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	during(t, hung(t), fine)
	health := freeAddr(t)
	told, tell := context.WithCancel(t.Context())
	defer tell()
	var stdout, stderr bytes.Buffer
	exit := make(chan int, 1)
	go func() {
		exit <- run(told, []string{"--listen", "127.0.0.1:0", "--health-listen", health, "--lame-duck", "1ms", "--stop-grace", "2s"}, &stdout, &stderr)
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		var out bytes.Buffer
		if run(t.Context(), []string{"healthcheck", "--addr", health, "--probe", "live"}, &out, &out) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not live: %s", out.String())
		}
	}
	tell()
	if code := within(t, 10*time.Second, exit); code != 1 || !strings.Contains(stderr.String(), "database") {
		t.Errorf("got exit %d, %q; want 1 and the check named", code, stderr.String())
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The README shows these files, so that what people copy is what is tested.
func TestREADMEShowsTheFiles(t *testing.T) {
	blocks := regexp.MustCompile("(?s)`examples/orders/([^`]+)`:\n\n```[a-z]*\n(.*?)```\n").FindAllStringSubmatch(read(t, filepath.Join("..", "..", "healthkit", "README.md")), -1)
	shown := map[string]bool{}
	for _, b := range blocks {
		shown[b[1]] = true
		if want := read(t, b[1]); b[2] != want {
			t.Errorf("README.md shows another %s than the file:\n%s", b[1], b[2])
		}
	}
	for _, name := range []string{"main.go", "Dockerfile", "compose.yaml", "kubernetes.yaml", "orders.service"} {
		if !shown[name] {
			t.Errorf("README.md does not show %s", name)
		}
	}
}

// The linter of this repository finds nothing in the manifests.
func TestManifestsLoseNoRequests(t *testing.T) {
	var files []lint.File
	for _, name := range []string{"compose.yaml", "kubernetes.yaml", "orders.service"} {
		files = append(files, lint.File{Name: name, Data: []byte(read(t, name))})
	}
	report, err := lint.Check(files, lint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("%s:%d: %s (%s): %s", f.File, f.Line, f.Rule, f.Severity, f.Effect)
	}
}

// What the manifests pass to the program is what the program takes.
func TestManifestsPassFlagsThatExist(t *testing.T) {
	taken := regexp.MustCompile(`flags\.\w+\("([a-z-]+)"`).FindAllStringSubmatch(read(t, "main.go"), -1)
	known := map[string]bool{"--addr": true, "--probe": true} // of the healthcheck
	for _, f := range taken {
		known["--"+f[1]] = true
	}
	if len(known) != 6 {
		t.Fatalf("got flags %v, want 4 and 2 of the healthcheck", known)
	}
	for name, least := range map[string]int{"compose.yaml": 5, "kubernetes.yaml": 4, "orders.service": 4} {
		passed := regexp.MustCompile(`[ \[](--[a-z-]+)[=,]`).FindAllStringSubmatch(read(t, name), -1)
		if len(passed) < least {
			t.Errorf("%s: found %d flags, want at least %d", name, len(passed), least)
		}
		for _, p := range passed {
			if !known[p[1]] {
				t.Errorf("%s passes %s, which the program does not take", name, p[1])
			}
		}
	}
	// The HEALTHCHECK of the image, run as Docker runs it: nobody listens there,
	// so the answer is no, and no misuse.
	command := regexp.MustCompile(`(?m)^  CMD (\[.*\])$`).FindStringSubmatch(read(t, "Dockerfile"))
	if command == nil {
		t.Fatal("the Dockerfile has no HEALTHCHECK in the exec form")
	}
	var args []string
	if err := json.Unmarshal([]byte(command[1]), &args); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		if a == "127.0.0.1:8081" {
			args[i] = freeAddr(t)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args[1:], &stdout, &stderr); code != 1 || stderr.Len() > 0 || !strings.Contains(stdout.String(), "no verdict") {
		t.Errorf("got exit %d, %q, %q", code, stdout.String(), stderr.String())
	}
}
