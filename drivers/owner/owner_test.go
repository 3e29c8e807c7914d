package owner

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Owner{
		"this process":      self,
		"the largest":       {1 << 22, 36*36*36*36*36*36*36 - 1, hash("boot"), hash("space"), hash("machine")},
		"one little known":  {1, 0, unknown, unknown, unknown},
		"without a machine": {1<<31 - 1, 0, hash("boot"), unknown, hashMachine("", "host")},
	} {
		s := o.String()
		if len(s) > 37 || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(s) {
			t.Errorf("%s: %q of %d does not fit into a label and a name", name, s, len(s))
		}
		if got, err := Parse(s); err != nil || got != o {
			t.Errorf("%s: Parse(%q) = %v, %v, want %v", name, s, got, err, o)
		}
	}
	for _, bad := range []string{
		"", "12", "1-2-3", "x y-1-0-0-0", "1--0-0-0", "1-1-0-0", "1-1-0-0-0-0", "1-1-0-0-", "1-1-0-0-abc", "1-1-0-0-abcdef1",
		"0-1-0-0-0", "+1-1-0-0-0", "01-1-0-0-0", "A-1-0-0-0", "zzzzzzz-1-0-0-0", "1 2 pid:[3]", self.String() + "-1",
	} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", bad, got)
		}
	}
}

func TestSelfIsTheSameEachTime(t *testing.T) {
	one, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if two, err := Self(); err != nil || one != two || one.pid != os.Getpid() {
		t.Errorf("%v, then %v, %v, of process %d", one, two, err, os.Getpid())
	}
	if one.Dead() {
		t.Error("this process is called dead")
	}
}

// child starts a process that lives until end is called.
func child(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperBlocks$")
	cmd.Env = append(os.Environ(), "OWNER_TEST_BLOCK=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	return cmd.Process.Pid, func() {
		in.Close()
		io.Copy(io.Discard, out) // to its end, which is that of the child
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestHelperBlocks is a process that lives until its input ends.
func TestHelperBlocks(t *testing.T) {
	if os.Getenv("OWNER_TEST_BLOCK") == "" {
		t.Skip("runs as a child of other tests")
	}
	os.Stdout.WriteString("here\n")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
}

func TestDead(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	// What this system does not tell must not decide which cases are looked at.
	self.boot, self.space, self.machine = hash("this boot"), hash("this space"), hash("this machine")
	living, end := child(t)
	ended, endNow := child(t)
	endNow()
	defer end()
	for name, c := range map[string]struct {
		change     func(o, here *Owner)
		want, must bool // must is what it is on Linux alone, which knows when a process was started
	}{
		"this process":                 {change: func(o, here *Owner) {}},
		"a child":                      {change: func(o, here *Owner) { o.pid, o.start = living, 0 }},
		"an ended process":             {change: func(o, here *Owner) { o.pid = ended }, want: true},
		"an earlier one of the ID":     {change: func(o, here *Owner) { o.start++ }, must: true},
		"a start that is not known":    {change: func(o, here *Owner) { o.start = 0 }},
		"ended, of no known start":     {change: func(o, here *Owner) { o.pid, o.start = ended, 0 }, want: true},
		"another namespace":            {change: func(o, here *Owner) { o.pid, o.space = ended, hash("other") }},
		"another machine":              {change: func(o, here *Owner) { o.pid, o.boot, o.machine = ended, hash("other"), hash("other") }},
		"before a restart":             {change: func(o, here *Owner) { o.boot = hash("other") }, want: true},
		"restart, another namespace":   {change: func(o, here *Owner) { o.boot, o.space = hash("other"), hash("other") }, want: true},
		"restart, machine not known":   {change: func(o, here *Owner) { o.pid, o.boot, o.machine = ended, hash("other"), unknown }},
		"the same, neither is known":   {change: func(o, here *Owner) { o.pid, o.boot, o.machine, here.machine = ended, hash("other"), unknown, unknown }},
		"no boot known, same machine":  {change: func(o, here *Owner) { o.pid, o.boot, here.boot = ended, unknown, unknown }, want: true},
		"the same, living":             {change: func(o, here *Owner) { o.boot, here.boot = unknown, unknown }},
		"the same, another namespace":  {change: func(o, here *Owner) { o.pid, o.boot, here.boot, o.space = ended, unknown, unknown, hash("other") }},
		"the same, another machine":    {change: func(o, here *Owner) { o.pid, o.boot, here.boot, o.machine = ended, unknown, unknown, hash("other") }},
		"neither boot nor machine":     {change: func(o, here *Owner) { *o = Owner{ended, 0, unknown, unknown, unknown}; *here = *o }},
		"its boot is not known":        {change: func(o, here *Owner) { o.boot = unknown }},
		"its boot is not known, ended": {change: func(o, here *Owner) { o.pid, o.boot = ended, unknown }, want: true},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			o, here := self, self
			c.change(&o, &here)
			want := c.want || c.must && self.start != 0
			if got := o.deadTo(here); got != want {
				t.Errorf("%v is dead to %v: %t, want %t", o, here, got, want)
			}
		})
	}
}

// TestDeadAsSeenFromHere looks at real processes with nothing made up.
func TestDeadAsSeenFromHere(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if self.boot == unknown && self.machine == unknown {
		t.Skip("nothing here tells this machine from others")
	}
	o := self
	pid, end := child(t)
	o.pid, o.start = pid, 0
	if o.Dead() {
		t.Error("a living process is called dead")
	}
	end()
	if !o.Dead() {
		t.Error("a process that has ended is not called dead")
	}
	o = self
	o.boot, o.machine = hash("other"), hash("other")
	if o.Dead() {
		t.Error("a process on another machine is called dead")
	}
}

func TestMachinesOfOneNameAndOfOneID(t *testing.T) {
	if a, b, c := hashMachine("id", "a"), hashMachine("id", "b"), hashMachine("other", "a"); a == b || a == c {
		t.Errorf("machines are all %s, %s, %s", a, b, c)
	}
	if got := hashMachine("", "a"); got != unknown {
		t.Errorf("a machine without an ID is %s, want it unknown", got)
	}
}
