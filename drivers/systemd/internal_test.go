package systemd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/owner"
	"github.com/rollout-lab/rollout-lab/drivers/program"
)

func TestServing(t *testing.T) {
	for _, tt := range []struct {
		active, status string
		notifies, want bool
	}{
		{"active", "", true, true},
		{"active", "ready", true, true},
		{"active", "degraded: cache cold", true, true},
		{"active", "not ready: part failed: disk gone", true, false},
		{"active", "not ready; loop stuck", true, false},
		{"active", "Draining", true, false},
		{"active", "serving; not ready: is what a text may say later", true, true},
		{"active", "not ready: a status nobody asked for", false, true},
		{"reloading", "ready", true, true},
		{"reloading", "not ready: generation 2 of 3", true, false},
		{"activating", "ready", true, false},
		{"deactivating", "ready", true, false},
		{"inactive", "", false, false},
		{"failed", "ready", true, false},
		{"", "", false, false},
	} {
		s := state{active: tt.active, status: tt.status}
		if got := s.serving(tt.notifies); got != tt.want {
			t.Errorf("%s with status %q, notifies %t: got %t, want %t", tt.active, tt.status, tt.notifies, got, tt.want)
		}
	}
}

func TestStateTakesOnlyWhatChanged(t *testing.T) {
	s := state{}.with(map[string]dbus.Variant{
		"ActiveState": dbus.MakeVariant("active"), "SubState": dbus.MakeVariant("running"),
		"MainPID": dbus.MakeVariant(uint32(7)), "ExecMainPID": dbus.MakeVariant(uint32(7)),
		"ExecMainStartTimestampMonotonic": dbus.MakeVariant(uint64(99)),
		"Job":                             dbus.MakeVariant([]any{uint32(5), dbus.ObjectPath("/job/5")}),
		"Unheard":                         dbus.MakeVariant(true),
	})
	want := state{active: "active", sub: "running", mainPID: 7, process: process{7, 99}, job: 5}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	s = s.with(map[string]dbus.Variant{"Job": dbus.MakeVariant([]any{uint32(0), dbus.ObjectPath("/")})})
	if want.job = 0; s != want {
		t.Errorf("after its job: got %+v, want %+v", s, want)
	}
}

func TestEnd(t *testing.T) {
	for _, tt := range []struct {
		state state
		ended bool
		want  string
	}{
		{state{active: "failed", code: exited, exit: 3, result: "exit-code"}, true, "exit status 3, result exit-code"},
		{state{active: "inactive", code: exited, result: "success"}, true, "exit status 0"},
		{state{active: "failed", code: signalled, exit: 9, result: "signal"}, true, "signal: killed, result signal"},
		{state{active: "failed", code: dumped, exit: 6, result: "watchdog"}, true, "(core dumped), result watchdog"},
		{state{active: "failed", result: "resources"}, true, "result resources"},
		{state{active: "inactive", sub: "dead"}, true, "inactive (dead)"},
		{state{active: "inactive", job: 4}, false, ""},
		{state{active: "activating", sub: "auto-restart"}, false, ""},
		{state{active: "deactivating"}, false, ""},
	} {
		if got := tt.state.ended(); got != tt.ended {
			t.Errorf("%+v: ended %t, want %t", tt.state, got, tt.ended)
		}
		if got := tt.state.end(); tt.ended && !strings.HasSuffix(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.state, got, tt.want)
		}
	}
}

func TestUnitName(t *testing.T) {
	long := strings.Repeat("x", 300)
	seen := map[string]mark{}
	for _, tt := range []struct {
		mark mark
		want string // its beginning
	}{
		{mark{run: "r1", stack: "trial-1", instance: "proxy-2"}, "rollout-lab-r1-trial-1-proxy-2"},
		{mark{run: "a/b", stack: "s", instance: "i"}, "rollout-lab-a_b-s-i-"},
		{mark{run: "a b", stack: "s", instance: "i"}, "rollout-lab-a_b-s-i-"},
		{mark{run: "é\n%s@", stack: "s", instance: "i"}, "rollout-lab-___s_-s-i-"},
		{mark{run: long, stack: "s", instance: "i-1"}, "rollout-lab-xxx"},
		{mark{run: long, stack: "s", instance: "i-2"}, "rollout-lab-xxx"},
	} {
		got := unitName(tt.mark)
		if !strings.HasPrefix(got, tt.want) || len(got) > maxName {
			t.Errorf("%+v: %q of %d bytes, want it to begin with %q", tt.mark, got, len(got), tt.want)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%+v and %+v are both %q", tt.mark, other, got)
		}
		seen[got] = tt.mark
	}
}

func TestMarkIsReadAsWritten(t *testing.T) {
	for _, m := range []mark{
		{"r1", "s", "i-1", "12 34 boot/pid:[56]"},
		{`a "b" run`, "stack", "line\nbreak", "x"},
	} {
		if got, ok := parseMark(m.String()); !ok || got != m {
			t.Errorf("got %+v, %t, want %+v", got, ok, m)
		}
	}
	for _, foreign := range []string{"", "A web server", `rollout-lab run "x"`} {
		if m, ok := parseMark(foreign); ok {
			t.Errorf("%q was taken for %+v", foreign, m)
		}
	}
}

func TestSweeps(t *testing.T) {
	me, err := owner.Self()
	if err != nil {
		t.Skip(err) // no proc file system
	}
	// The text is the process, its start, the machine's boot, the namespace and the machine.
	with := func(part int, value string) string {
		parts := strings.Split(me.String(), "-")
		parts[part] = value
		return strings.Join(parts, "-")
	}
	dead := with(1, "1") // the ID has another process now
	elsewhere := with(3, "aaaaaaa")
	rebooted := with(2, "aaaaaaa")
	known := !strings.HasSuffix(me.String(), "-0") // the machine, without which that may be another one
	for _, tt := range []struct {
		name, asked, run, owner string
		want                    bool
	}{
		{"the living", "", "r1", me.String(), false},
		{"the living, by name", "r1", "r1", me.String(), true},
		{"another by name", "r1", "r2", dead, false},
		{"the dead", "", "r1", dead, true},
		{"one that cannot be seen", "", "r1", elsewhere, false},
		{"one from before the machine was started", "", "r1", rebooted, known},
		{"an owner that cannot be read", "", "r1", "nonsense", false},
	} {
		if got := sweeps(tt.asked, tt.run, tt.owner); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestFolderWithoutAContainer: a lab may be killed before it has made its container.
func TestFolderWithoutAContainer(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir, err := markedDir(mark{run: "r1", stack: "s", owner: "o"})
	if err != nil {
		t.Skip(err)
	}
	if got := folders([]resource{{dir: dir}}); len(got) != 0 {
		t.Errorf("found %+v beside its container", got)
	}
	got := folders(nil)
	if len(got) != 1 || got[0].run != "r1" || got[0].owner != "o" {
		t.Fatalf("found %+v, want that of run r1", got)
	}
	if err := got[0].remove(t.Context()); err != nil || exists(dir) {
		t.Errorf("removed: %v, still there: %t", err, exists(dir))
	}
}

func TestLimitsThatNobodyEnforcesAreRefused(t *testing.T) {
	limited := drivers.Stack{Subject: drivers.Service{Name: "web", Limits: drivers.Limits{CPUs: 0.5}}}
	for _, tt := range []struct {
		c      choice
		stack  drivers.Stack
		refuse bool
	}{
		{choice{kind: HostContainer, cgroup: "1"}, limited, true},
		{choice{kind: HostContainer, cgroup: "1"}, drivers.Stack{}, false},
		{choice{kind: HostContainer, cgroup: "2"}, limited, false},
		{choice{kind: HostSystem, cgroup: "1"}, limited, false},
	} {
		if err := tt.c.limits(tt.stack); errors.Is(err, drivers.ErrUnsupported) != tt.refuse {
			t.Errorf("%s with control groups %s: got %v, want refused: %v", tt.c.kind, tt.c.cgroup, err, tt.refuse)
		}
	}
}

func TestServiceProperties(t *testing.T) {
	value := func(s drivers.Service, version int, name string) any {
		for _, p := range serviceProperties(s, mark{}, command{argv: []string{"/bin/x"}}, version, time.Minute) {
			if p.Name == name {
				return p.Value.Value()
			}
		}
		return nil
	}
	notify := drivers.Service{Notify: true, Watchdog: 2 * time.Second, StopGrace: 1500 * time.Millisecond}
	for _, tt := range []struct {
		name    string
		service drivers.Service
		version int
		want    map[string]any
	}{
		{"naive", drivers.Service{}, 252, map[string]any{"Type": "exec", "NotifyAccess": nil, "WatchdogUSec": nil, "Restart": nil, "TimeoutStopUSec": uint64(1)}},
		{"notifies", notify, 252, map[string]any{"Type": "notify", "NotifyAccess": "main", "WatchdogUSec": uint64(2e6), "TimeoutStopUSec": uint64(1.5e6), "TimeoutStartUSec": uint64(60e6)}},
		{"notifies on a newer one", notify, 253, map[string]any{"Type": "notify-reload"}},
		{"comes back", drivers.Service{RestartOnExit: true}, 252, map[string]any{"Restart": "always", "RestartUSec": uint64(1e5), "StartLimitIntervalUSec": uint64(0)}},
		{"limited", drivers.Service{Limits: drivers.Limits{CPUs: 0.5, Memory: 1 << 20}}, 252, map[string]any{"CPUQuotaPerSecUSec": uint64(5e5), "MemoryMax": uint64(1 << 20)}},
	} {
		for name, want := range tt.want {
			if got := value(tt.service, tt.version, name); got != want {
				t.Errorf("%s: %s is %v, want %v", tt.name, name, got, want)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	for what, change := range map[string]func(*drivers.Service){
		"an image":            func(s *drivers.Service) { s.Image = "x" },
		"fixed numbers":       func(s *drivers.Service) { s.Fixed = map[string]int{"data": 80} },
		"whole path":          func(s *drivers.Service) { s.Exec = "nginx" },
		"watchdog":            func(s *drivers.Service) { s.Watchdog = 1 },
		"the image as signal": func(s *drivers.Service) { s.Signal.Kind = drivers.ProbeImage },
	} {
		s := drivers.Service{Name: "web", Ports: []string{"data"}}
		change(&s)
		if err := new(Driver).Support().Refuse("systemd", drivers.Stack{Subject: s}); !errors.Is(err, drivers.ErrUnsupported) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v, want ErrUnsupported that names it", what, err)
		}
	}
	if err := new(Driver).Support().Refuse("systemd", drivers.Stack{Subject: drivers.Service{Name: "web", Notify: true, Watchdog: 1, Socket: true, Ports: []string{"data"}}}); err != nil {
		t.Errorf("what systemd can do: %v", err)
	}
}

func TestUnknownHostAndProgram(t *testing.T) {
	err := New(Config{Host: "mainframe"}).Check(t.Context())
	var hint *drivers.HintError
	if !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || hint.Hint == "" {
		t.Errorf("host mainframe: got %v, want ErrUnavailable with a hint", err)
	}
	if _, err := New(Config{Program: "/nowhere/at/all"}).program(); !errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("program that does not exist: got %v, want ErrUnavailable", err)
	}
}

// TestStaticProgram: a program that needs a loader is built anew, and where that is not
// possible the error says what is.
func TestStaticProgram(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	if program.Static(shell, runtime.GOARCH) == nil {
		t.Skip("the shell is no example: it is static")
	}
	var hint *drivers.HintError
	if _, err := New(Config{Program: shell}).staticProgram(t.Context(), t.TempDir()); !errors.As(err, &hint) || !strings.Contains(hint.Hint, "CGO_ENABLED=0") {
		t.Errorf("without a package: got %v, want a hint", err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module x\n", "main.go": "package main\nimport _ \"net\"\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	built, err := New(Config{Program: shell, Package: ".", Dir: dir}).staticProgram(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Static(built, runtime.GOARCH); err != nil {
		t.Error(err)
	}
}

func TestLeadingNumber(t *testing.T) {
	for in, want := range map[string]int{"252.39-1~deb12u2": 252, "257": 257, "v255": 0, "": 0} {
		if got := leadingNumber(in); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}
