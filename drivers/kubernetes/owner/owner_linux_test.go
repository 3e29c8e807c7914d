package owner

import (
	"os/exec"
	"testing"
)

func TestDead(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	ended := cmd.Process.Pid
	for _, c := range []struct {
		name       string
		change     func(*Owner)
		dead, here bool
	}{
		{"this process", func(*Owner) {}, false, false},
		{"an ended process", func(o *Owner) { o.pid = ended }, true, true},
		{"an earlier process of the same ID", func(o *Owner) { o.start-- }, true, true},
		{"another start or another machine", func(o *Owner) { o.boot = hash("other"); o.pid = ended }, false, true},
		{"among other processes", func(o *Owner) { o.space = hash("other"); o.pid = ended }, false, false},
	} {
		o := self
		c.change(&o)
		if got := o.Dead(); got != c.dead {
			t.Errorf("%s: dead %t, want %t", c.name, got, c.dead)
		}
		if got := o.DeadHere(); got != c.here {
			t.Errorf("%s: dead here %t, want %t", c.name, got, c.here)
		}
	}
}
