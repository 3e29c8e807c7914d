//go:build go1.25

package sdnotify

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// converge tells everything and returns the messages.
func converge(told *Told, s *healthkit.Snapshot, m Moment) []string {
	var out []string
	for {
		message, after := Next(*told, s, m)
		if message == "" {
			return out
		}
		out = append(out, message)
		*told = after
	}
}

func register(t testing.TB, r *healthkit.Registry, name string, o healthkit.Options) *healthkit.Component {
	t.Helper()
	c, err := r.Register(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMessagesOfALife(t *testing.T) {
	var r *healthkit.Registry
	var c, g *healthkit.Component
	var m Moment
	steps := []struct {
		name string
		do   func()
		want []string
	}{
		{"a registry that waits", func() {
			r = healthkit.New(healthkit.Config{Generations: healthkit.GenerationPolicy{Agree: true, Grace: time.Hour}})
			c = register(t, r, "storage", healthkit.Options{Generational: true})
			g = register(t, r, "proxy", healthkit.Options{Generational: true})
			c.Starting("synced 1 of 2")
			c.Generation(1)
			g.Generation(1)
			g.Ready()
		}, []string{"STATUS=not ready: storage starting: synced 1 of 2"}},
		{"nothing new", func() {}, nil},
		{"a reload before the start means nothing", func() { m.Begun, m.Ended = 1, 1 }, nil},
		{"first ready", func() { c.Ready() }, []string{"READY=1\nSTATUS=ready"}},
		{"degraded", func() { c.Degraded("slow disk") }, []string{"STATUS=degraded: storage degraded: slow disk"}},
		{"unready does not take READY back", func() { c.Failed(errors.New("disk gone")) }, []string{"STATUS=not ready: storage failed: disk gone"}},
		{"ready again says no READY", func() { c.Ready() }, []string{"STATUS=ready"}},
		{"a generation is pending", func() { m.Monotonic = 7; g.Generation(2) }, []string{"RELOADING=1\nMONOTONIC_USEC=7\nSTATUS=degraded: generations: want one and the same; have proxy=2 storage=1"}},
		{"a reload asked for within is announced by itself", func() { m.Monotonic = 8; m.Begun = 2 }, []string{"RELOADING=1\nMONOTONIC_USEC=8\nSTATUS=degraded: generations: want one and the same; have proxy=2 storage=1"}},
		{"the generation alone does not end it", func() { c.Generation(2) }, []string{"STATUS=ready"}},
		{"both over", func() { m.Ended = 2 }, []string{"READY=1\nSTATUS=ready"}},
		{"a reload over before it was told", func() { m.Monotonic = 9; m.Begun, m.Ended = 3, 3 }, []string{"RELOADING=1\nMONOTONIC_USEC=9\nSTATUS=ready", "READY=1\nSTATUS=ready"}},
		{"a system without the clock", func() { m.Monotonic = 0; m.Begun = 4 }, []string{"RELOADING=1\nSTATUS=ready"}},
		{"lame duck gives the reload up first", func() { must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM")) }, []string{"READY=1\nSTATUS=not ready: lame-duck: SIGTERM", "STOPPING=1\nSTATUS=not ready: lame-duck: SIGTERM"}},
		{"a reload while stopping is not announced", func() { m.Begun = 5 }, nil},
		{"draining", func() { must(t, r.Advance(healthkit.PhaseDraining, "SIGTERM")) }, []string{"STATUS=not ready: draining: SIGTERM"}},
		{"stopped", func() { must(t, r.Advance(healthkit.PhaseStopped, "")) }, []string{"STATUS=not ready: stopped"}},
	}
	var told Told
	var u unit
	for _, step := range steps {
		step.do()
		got := converge(&told, r.Snapshot(), m)
		if !slices.Equal(got, step.want) {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
		for _, message := range got {
			if complaint := u.take([]byte(message)); complaint != "" {
				t.Errorf("%s: %q: %s", step.name, message, complaint)
			}
		}
	}
	if u.state != "stopping" {
		t.Errorf("unit is %q at the end, want stopping", u.state)
	}
}

func TestStopBeforeReadySaysNoReady(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
	var told Told
	got := converge(&told, r.Snapshot(), Moment{})
	if len(got) != 1 || !strings.HasPrefix(got[0], "STOPPING=1\n") {
		t.Errorf("got %q, want STOPPING=1 alone", got)
	}
}

func TestSkippedVersionsLoseNoReady(t *testing.T) {
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
	var told Told
	var heads []string
	for _, message := range converge(&told, r.Snapshot(), Moment{}) {
		head, _, _ := strings.Cut(message, "\n")
		heads = append(heads, head)
	}
	if want := []string{"READY=1", "STOPPING=1"}; !slices.Equal(heads, want) {
		t.Errorf("got %q, want %q", heads, want)
	}
}

func TestCleanKeepsWhatIsHarmless(t *testing.T) {
	long := strings.Repeat("ä", MaxStatus)
	for _, c := range []struct{ name, in, want string }{
		{"plain", "disk full: /var (95 %)", "disk full: /var (95 %)"},
		{"other scripts", "Größe 零 🙂", "Größe 零 🙂"},
		{"new line", "a\nREADY=1", "a READY=1"},
		{"carriage return, NUL, escape", "a\r\x00\x1b[2Jb", "a   [2Jb"},
		{"C1 and line separators", "a\u0085b\u2028c\u2029d\u009be", "a b c d e"},
		{"right to left override", "a\u202eb", "a b"},
		{"bytes that are no text", "a\xff\xfeb", "a\ufffd\ufffdb"},
		{"cut between characters", long, strings.Repeat("ä", (MaxStatus-3)/2) + "..."},
		{"exactly as long as may be", strings.Repeat("x", MaxStatus), strings.Repeat("x", MaxStatus)},
	} {
		if got := clean(c.in); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// checkInjection tells a whole life with foreign text in every place that takes
// text, to the strict reader of the tests.
func checkInjection(t interface {
	Fatalf(string, ...any)
	Helper()
}, texts [5]string) {
	t.Helper()
	r := healthkit.New(healthkit.Config{})
	a, err := r.Register("a", healthkit.Options{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	b, err := r.Register("b", healthkit.Options{LivenessOverride: true, DependsOn: []string{"a"}})
	if err != nil {
		t.Fatalf("%v", err)
	}
	var told Told
	var u unit
	tell := func(wantState string, wantReadies int) {
		t.Helper()
		for _, message := range converge(&told, r.Snapshot(), Moment{Monotonic: 1}) {
			if complaint := u.take([]byte(message)); complaint != "" {
				t.Fatalf("%q: %s", message, complaint)
			}
			if !utf8.ValidString(message) {
				t.Fatalf("%q is not UTF-8", message)
			}
		}
		if u.state != wantState || u.readies != wantReadies {
			t.Fatalf("unit is %q after %d READY=1, want %q after %d; texts %q", u.state, u.readies, wantState, wantReadies, texts)
		}
		if len(u.status) > MaxStatus || u.status == "" || strings.ContainsFunc(u.status, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("bad status %q", u.status)
		}
		if ready := u.status == "ready" || strings.HasPrefix(u.status, "degraded: "); ready != r.Ready() {
			t.Fatalf("status %q of a process that is ready: %v", u.status, r.Ready())
		}
	}
	a.Starting(texts[0])
	b.Failed(errors.New(texts[1]))
	tell("", 0)
	b.Ready()
	a.Degraded(texts[2])
	tell("running", 1)
	a.Failed(errors.New(texts[3]))
	b.Failed(errors.New(texts[1]))
	tell("running", 1)
	if err := r.Advance(healthkit.PhaseLameDuck, texts[4]); err != nil {
		t.Fatalf("%v", err)
	}
	tell("stopping", 1)
}

func TestTextInjectsNoAssignment(t *testing.T) {
	nasty := rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.SliceOf(rapid.SampledFrom([]string{"\n", "\r", "\x00", "\x1b", "\u2028", "READY=1", "STOPPING=1", "WATCHDOG=trigger", "STATUS=ready", "BARRIER=1", "ready", "\xff", "é", strings.Repeat("x", 900)})), func(s []string) string { return strings.Join(s, "") }),
	)
	rapid.Check(t, func(rt *rapid.T) {
		var texts [5]string
		for i := range texts {
			texts[i] = nasty.Draw(rt, "text")
		}
		checkInjection(rt, texts)
	})
}

func FuzzTextInjectsNoAssignment(f *testing.F) {
	f.Add("x\nREADY=1", "\x00", "\nSTATUS=ready", "\xff\xfe", "\r\nSTOPPING=1\n")
	f.Fuzz(func(t *testing.T, a, b, c, d, e string) { checkInjection(t, [5]string{a, b, c, d, e}) })
}

func TestWatchdogMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		p, err := r.RegisterLoop("loop", time.Second)
		must(t, err)
		want := func(when, want string) {
			t.Helper()
			if got := Watchdog(r.Snapshot(), time.Now()); got != want {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		want("in time", "WATCHDOG=1")
		time.Sleep(time.Second)
		want("a limit missed", "")
		time.Sleep(time.Second - time.Nanosecond)
		want("just before the proof", "")
		time.Sleep(time.Nanosecond)
		want("stuck for a limit more", "WATCHDOG=trigger")
		p.Tick()
		want("late but alive", "WATCHDOG=1")
		time.Sleep(2 * time.Second)
		must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
		want("stuck while stopping", "")
		must(t, r.Close(t.Context()))
	})
}

func TestExtension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := healthkit.New(healthkit.Config{AllowEmpty: true})
		p, err := r.RegisterLoop("loop", time.Minute)
		must(t, err)
		began := time.Now()
		want := func(when, want string) {
			t.Helper()
			if got := Extension(r.Snapshot(), began, time.Now(), 10*time.Second, 25*time.Second); got != want {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		want("serving", "")
		must(t, r.Advance(healthkit.PhaseLameDuck, "SIGTERM"))
		want("lame duck", "EXTEND_TIMEOUT_USEC=10000000")
		must(t, r.Advance(healthkit.PhaseDraining, "SIGTERM"))
		time.Sleep(20 * time.Second)
		want("near the end of the budget", "EXTEND_TIMEOUT_USEC=5000000")
		time.Sleep(5 * time.Second)
		want("budget used up", "")
		began = time.Now()
		time.Sleep(40 * time.Second)
		began = time.Now()
		want("a loop is stuck", "")
		p.Tick()
		want("it goes on", "EXTEND_TIMEOUT_USEC=10000000")
		must(t, r.Advance(healthkit.PhaseStopped, ""))
		want("stopped", "")
		must(t, r.Close(t.Context()))
	})
}
