package drivers_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// closing is an environment that takes itself out when it is closed.
type closing struct {
	drivers.Env
	running *drivers.Running
	err     error
	graces  []error // what the context of each Close said
}

func (c *closing) Close(ctx context.Context) error {
	c.graces = append(c.graces, ctx.Err())
	c.running.Remove(c)
	return c.err
}

func TestRunningClosesARun(t *testing.T) {
	var r drivers.Running
	broken := &closing{running: &r, err: errors.New("broken")}
	well, other := &closing{running: &r}, &closing{running: &r}
	r.Add(broken, "a")
	r.Add(well, "a")
	r.Add(other, "b")
	if err := r.Close(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v, want the error of the one that is broken", err)
	}
	if len(broken.graces) != 1 || len(well.graces) != 1 || len(other.graces) != 0 {
		t.Errorf("closed %d, %d and %d times, want only those of the run, once", len(broken.graces), len(well.graces), len(other.graces))
	}
	if well.graces[0] == nil {
		t.Error("closed with a grace")
	}
	if n := r.Len(); n != 1 {
		t.Errorf("%d left, want the one of the other run", n)
	}
}
