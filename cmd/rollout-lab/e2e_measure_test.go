//go:build e2e && linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/cli"
	"github.com/rollout-lab/rollout-lab/reports"
)

// plainServer is a server as anybody writes one: it listens, and closes everything at SIGTERM.
// It keeps a log of when it did, by the machine's clock.
const plainServer = `package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func say(what string) {
	f, err := os.OpenFile(os.Args[2], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(f, what, time.Now().UnixNano())
	f.Close()
}

func main() {
	time.Sleep(400 * time.Millisecond) // what a program does before it listens
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	say("open")
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go s.Serve(l)
	<-ctx.Done()
	say("close")
	s.Close()
}
`

// buildPlainServer builds it, static, in a folder of its own.
func buildPlainServer(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"main.go": plainServer, "go.mod": "module plain\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", "server", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// measure runs the program around a command.
func measure(t *testing.T, flags []string, command ...string) (code int, dir string, trial reports.Trial) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "run")
	cmd := exec.Command(labBinary(t), append(append([]string{"measure", "--out", dir}, flags...), append([]string{"--"}, command...)...)...)
	cmd.Stderr = testLog{t}
	out, _ := cmd.Output() // its exit code tells more
	t.Logf("%s\n%s", strings.Join(cmd.Args[1:], " "), out)
	doc := readResults(t, dir)
	if len(doc.Cells) != 1 || len(doc.Cells[0].Trials) != 1 {
		t.Fatalf("%d cells, want one with one trial", len(doc.Cells))
	}
	return cmd.ProcessState.ExitCode(), dir, doc.Cells[0].Trials[0]
}

// TestE2EMeasureARestartInPlace: what is measured around a script that restarts a server is the
// time for which nobody listened, by the server's own log.
func TestE2EMeasureARestartInPlace(t *testing.T) {
	const rate = 200
	dir := buildPlainServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	start := fmt.Sprintf("setsid ./server %s log > /dev/null 2>&1 & echo $! > pid\nuntil [ $(grep -c open log) = $1 ]; do sleep 0.02; done\n", addr)
	for name, text := range map[string]string{
		"start.sh":   "#!/bin/sh\ncd " + dir + "\ntouch log\n" + start,
		"restart.sh": "#!/bin/sh\ncd " + dir + "\nkill $(cat pid)\nuntil grep -q close log; do sleep 0.02; done\n" + start + "echo restarted\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(filepath.Join(dir, "start.sh"), "1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if pid, err := os.ReadFile(filepath.Join(dir, "pid")); err == nil {
			exec.Command("kill", strings.TrimSpace(string(pid))).Run()
		}
	})
	code, _, trial := measure(t, []string{"--url", "http://" + addr + "/", "--rate", fmt.Sprint(rate), "--baseline", "3s", "--settle", "6s"}, filepath.Join(dir, "restart.sh"), "2")
	if code != cli.ExitFail || !trial.Valid {
		t.Fatalf("exit code %d, valid %v %v", code, trial.Valid, trial.InvalidReasons)
	}
	down := downtimeOf(t, filepath.Join(dir, "log"))
	got := ms(trial.LongestOutage.ToMS - trial.LongestOutage.FromMS)
	t.Logf("nobody listened for %v, and the outage was %v", down, got)
	if slack := 2 * time.Second / rate; got < down-slack || got > down+slack {
		t.Errorf("an outage of %v, and nobody listened for %v", got, down)
	}
	if resp, err := exec.Command("sh", "-c", "kill -0 $(cat "+dir+"/pid)").CombinedOutput(); err != nil {
		t.Errorf("the server that the script has started ended with the measurement: %v %s", err, resp)
	}
}

// downtimeOf is the time from the one close to the open behind it.
func downtimeOf(t *testing.T, log string) time.Duration {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var closed, open int64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		what, when, _ := strings.Cut(lines.Text(), " ")
		at, err := strconv.ParseInt(when, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if what == "close" {
			closed = at
		} else {
			open = at
		}
	}
	return time.Duration(open - closed)
}

// plainImage is an image of the server, which is removed when the test ends.
func plainImage(t *testing.T) string {
	t.Helper()
	dir := buildPlainServer(t)
	recipe := "FROM scratch\nCOPY server /server\nENTRYPOINT [\"/server\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	tag := fmt.Sprintf("rollout-lab-e2e-plain:%d", os.Getpid())
	dockerCommand(t, "build", "--quiet", "--tag", tag, dir)
	t.Cleanup(func() { dockerCommand(t, "image", "rm", tag) })
	return tag
}

// TestE2EMeasureAContainerReplaced: the old container goes and the new one comes on the same
// port, as compose up -d does it; the runtime's word on both is in the record.
func TestE2EMeasureAContainerReplaced(t *testing.T) {
	needDriver(t, "docker")
	image := plainImage(t)
	name := fmt.Sprintf("rollout-lab-e2e-web-%d", os.Getpid())
	remove := func(n int) { exec.Command("docker", "rm", "--force", fmt.Sprint(name, "-", n)).Run() }
	t.Cleanup(func() { remove(1); remove(2) })
	run := "docker run --detach --name %s-%d --publish %s:8080 " + image + " 0.0.0.0:8080 /log"
	dockerCommand(t, strings.Fields(fmt.Sprintf(run, name, 1, "127.0.0.1:0"))[1:]...)
	addr := strings.TrimSpace(dockerCommand(t, "port", name+"-1", "8080/tcp"))
	awaitAnswer(t, addr)
	swap := fmt.Sprintf("set -e; docker stop --time 5 %s-1; docker rm %s-1; "+run, name, name, name, 2, addr)
	code, folder, trial := measure(t, []string{"--url", "http://" + addr + "/", "--baseline", "3s", "--settle", "6s", "--watch-docker", name}, "sh", "-c", swap)
	if code != cli.ExitFail || !trial.Valid || failures(t, trial) == 0 {
		t.Fatalf("exit code %d, valid %v %v, lost %d; want that it lost something", code, trial.Valid, trial.InvalidReasons, failures(t, trial))
	}
	said := regexp.MustCompile(`"kind":"(\w+)","instance":"` + name + `-(\d)@`)
	var got []string
	for _, m := range said.FindAllStringSubmatch(eventsOf(t, folder, trial), -1) {
		got = append(got, m[2]+" "+m[1])
	}
	if want := "1 started, 1 ready, 1 terminating, 1 unready, 1 gone, 2 started, 2 ready"; strings.Join(got, ", ") != want {
		t.Errorf("the runtime said %q, want %q", strings.Join(got, ", "), want)
	}
}

// eventsOf are those of a trial, as they were recorded.
func eventsOf(t *testing.T, folder string, trial reports.Trial) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(trial.Files), "events.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func awaitAnswer(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if exec.Command("curl", "--silent", "--fail", "--max-time", "1", "http://"+addr+"/").Run() == nil {
			return
		}
	}
	t.Fatalf("nobody answers at %s", addr)
}
