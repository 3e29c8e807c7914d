package refproxy_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/targets/refproxy"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/admin"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func noEnv(string) string { return "" }

// freeAddr is an address that nobody listens at, most likely still when it is used.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return l.Addr().String()
}

// program is a run of Main that goes on.
type program struct {
	stop  context.CancelFunc
	ended chan int

	mu     sync.Mutex
	stderr bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

// start runs Main until the test ends or it is told to stop, and wants it to exit with 0.
func start(t *testing.T, getenv func(string) string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{stop: cancel, ended: make(chan int, 1)}
	go func() { p.ended <- refproxy.Main(ctx, args, getenv, io.Discard, p) }()
	t.Cleanup(func() { p.wait(t, args[0]) })
	return p
}

// wait stops the program and waits until it has ended.
func (p *program) wait(t *testing.T, name string) {
	t.Helper()
	p.stop()
	select {
	case code := <-p.ended:
		p.ended <- code
		if code != 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Errorf("%s exits with %d: %s", name, code, &p.stderr)
		}
	case <-time.After(patience):
		t.Fatalf("%s does not stop", name)
	}
}

// healthy waits until the healthcheck command says so.
func healthy(t *testing.T, addr, probe string) {
	t.Helper()
	var said bytes.Buffer
	for begun := time.Now(); time.Since(begun) < patience; {
		said.Reset()
		args := []string{"healthcheck", "--addr", addr, "--probe", probe, "--timeout", "1s"}
		if refproxy.Main(t.Context(), args, noEnv, &said, &said) == 0 {
			return
		}
	}
	t.Fatalf("never %s: %s", probe, &said)
}

// operator is the token of the tests' operator.
const operator = "the token of the operator"

func TestWholeProgram(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, credential.SeedSize)
	getenv := func(name string) string {
		return map[string]string{
			refproxy.SeedVariable: hex.EncodeToString(seed), admin.TokenVariable: operator,
		}[name]
	}
	streams, operated, behind := freeAddr(t), freeAddr(t), freeAddr(t)
	data, health := freeAddr(t), freeAddr(t)
	between, trouble := freeAddr(t), freeAddr(t)

	// The proxy comes first: that its control plane is not there yet is no reason to end.
	proxy := start(t, noEnv, "proxy", "--instance", "a", "--revision", "r1", "--listen", data,
		"--health-listen", health, "--control", "http://"+streams, "--upstream", "http://"+between,
		"--health", "stack-aware", "--lame-duck", "10ms", "--close-wait", "10ms")
	healthy(t, health, "live")
	start(t, noEnv, "upstream", "--listen", behind)
	start(t, getenv, "relay", "--admin-listen", trouble, "--link", "upstream="+between+">"+behind)
	start(t, getenv, "control", "--listen", streams, "--admin-listen", operated,
		"--sessions", "200", "--sync-rate", "10000", "--routes", "3")
	healthy(t, "http://"+health, "ready")
	healthy(t, health, "startup")

	// Somebody who shares the seed has minted this before anything ran.
	issuer, err := credential.NewIssuer(seed)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(n int) (status int, body string) {
		token, err := issuer.Token(credential.SessionID(n), time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+data+"/app/items/7", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	status, body := ask(1)
	if want := upstream.Answer("GET", "/app/items/7", nil); status != 200 || body != want {
		t.Errorf("active session gets %d %q, want 200 %q", status, body, want)
	}
	if status, _ := ask(49); status != 403 {
		t.Errorf("revoked session gets %d, want 403", status)
	}
	for _, tt := range []struct {
		do   string
		want int
	}{{"trouble?link=upstream&kind=refuse", 502}, {"heal?link=upstream", 200}} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+trouble+"/v1/"+tt.do, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", admin.Authorization(operator))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %s, %v", tt.do, resp.Status, err)
		}
		if status, _ := ask(1); status != tt.want {
			t.Errorf("after %s an active session gets %d, want %d", tt.do, status, tt.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	proxy.wait(t, "proxy")
	if conn, err := net.Dial("tcp", data); err == nil {
		t.Errorf("data port still listens after the stop: %v", conn.Close())
	}
}

// TestNoOperatorWithoutAToken: whoever reaches a port for operators could spoil a trial, so there
// is none without a token.
func TestNoOperatorWithoutAToken(t *testing.T) {
	for _, args := range [][]string{
		{"control", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--sessions=1", "--sync-rate=1"},
		{"relay", "--admin-listen=127.0.0.1:0", "--link=a=127.0.0.1:0>127.0.0.1:1"},
	} {
		for _, token := range []string{"", "too-short"} {
			getenv := func(name string) string { return map[string]string{admin.TokenVariable: token}[name] }
			var said bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			code := refproxy.Main(ctx, args, getenv, &said, &said)
			cancel()
			if code != 2 || !strings.Contains(said.String(), admin.TokenVariable) || strings.Contains(said.String(), "too-short") {
				t.Errorf("%s with %q exits with %d and says %q", args[0], token, code, &said)
			}
		}
	}
}

func TestRefusesWhatMakesNoSense(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	proxy := func(more ...string) []string {
		return append([]string{"proxy", "--instance=a", "--revision=r", "--listen=127.0.0.1:0",
			"--health-listen=127.0.0.1:0", "--control=http://127.0.0.1:1", "--upstream=http://127.0.0.1:1",
			"--health=naive"}, more...)
	}
	control := func(more ...string) []string {
		return append([]string{"control", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0",
			"--sessions=1", "--sync-rate=1"}, more...)
	}
	for _, tt := range []struct {
		name string
		args []string
		seed string
		code int
		says string
	}{
		{"no command", nil, "", 2, "hint: use proxy"},
		{"unknown command", []string{"serve"}, "", 2, `no such command: "serve"`},
		{"unknown flag", proxy("--retries=3"), "", 2, "hint: refproxy proxy --help"},
		{"flag missing", []string{"proxy", "--instance=a"}, "", 2, "flag --revision is missing"},
		{"argument", proxy("now"), "", 2, `unexpected argument "now"`},
		{"unknown mode", proxy("--health=good"), "", 2, `health is "good"`},
		{"no duration", proxy("--lame-duck=long"), "", 2, "lame-duck"},
		{"no room to finish", proxy("--health=stack-aware", "--stop-grace=1s"), "", 2, "stop grace is 1s"},
		{"staleness too short", proxy("--stale-after=1s"), "", 2, "stale-after is 1s"},
		{"unknown misbehaviour", proxy("--misbehave=late"), "", 2, `misbehaviour is "late"`},
		{"crash at start", proxy("--misbehave=crash-at-start"), "", refproxy.ExitCrash, "crashed, as it was told to"},
		{"link to nowhere", []string{"relay", "--admin-listen=127.0.0.1:0", "--link=a=127.0.0.1:0"}, "", 2, "want NAME=HOST:PORT>HOST:PORT"},
		{"link's port taken", []string{"relay", "--admin-listen=127.0.0.1:0", "--link=a=" + taken.Addr().String() + ">127.0.0.1:1"}, "", 1, "another process has the port"},
		{"control no URL", proxy("--control=127.0.0.1:1"), "", 2, `want a URL like http://`},
		{"port taken", proxy("--listen=" + taken.Addr().String()), "", 1, "hint: another process has the port"},
		{"health port taken", proxy("--health-listen=" + taken.Addr().String()), "", 1, "health port: listen tcp"},
		{"no such port", proxy("--listen=127.0.0.1:99999"), "", 1, "hint: give --listen"},
		{"no sessions", control("--sessions=0"), "", 2, "sessions is 0"},
		{"no rate", control("--sync-rate=0"), "", 2, "sync rate is 0"},
		{"seed no hexadecimal", control(), "secret", 2, "REFPROXY_SEED: seed is not hexadecimal"},
		{"seed too short", control(), "0f0f", 2, "hint: give it 64 hexadecimal digits"},
		{"control's port taken", control("--listen=" + taken.Addr().String()), "", 1, "streams port: listen tcp"},
		{"admin port taken", control("--admin-listen=" + taken.Addr().String()), "", 1, "admin port: listen tcp"},
		{"negative latency", []string{"upstream", "--listen=127.0.0.1:0", "--latency=-1s"}, "", 2, "latency is -1s"},
		{"upstream's port taken", []string{"upstream", "--listen=" + taken.Addr().String()}, "", 1, "requests port: listen tcp"},
		{"unknown probe", []string{"healthcheck", "--probe=well"}, "", 1, "unknown probe"},
		{"nobody to ask", []string{"healthcheck", "--addr=127.0.0.1:1", "--timeout=1s"}, "", 1, "no verdict"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			getenv := func(name string) string {
				return map[string]string{refproxy.SeedVariable: tt.seed, admin.TokenVariable: operator}[name]
			}
			var said bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			code := refproxy.Main(ctx, tt.args, getenv, &said, &said)
			if code != tt.code || !strings.Contains(said.String(), tt.says) {
				t.Errorf("exits with %d and says %q, want %d and %q", code, &said, tt.code, tt.says)
			}
			if tt.seed != "" && tt.seed != "0f0f" && strings.Contains(said.String(), tt.seed) {
				t.Errorf("says the seed: %q", &said)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for args, want := range map[string]string{
		"--help": "usage: refproxy COMMAND", "help": "healthcheck", "proxy --help": "-lame-duck", "control -h": "-sync-rate",
	} {
		var stdout, stderr bytes.Buffer
		code := refproxy.Main(t.Context(), strings.Fields(args), noEnv, &stdout, &stderr)
		if code != 0 || !strings.Contains(stdout.String(), want) || stderr.Len() != 0 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", args, code, &stdout, &stderr)
		}
	}
}

// ExampleMain shows what a wrong call looks like.
func ExampleMain() {
	var stderr bytes.Buffer
	code := refproxy.Main(context.Background(), []string{"porxy"}, noEnv, io.Discard, &stderr)
	fmt.Print(code, "\n", stderr.String())
	// Output:
	// 2
	// refproxy: no such command: "porxy"
	// hint: use proxy, control, upstream, relay or healthcheck
}
