package confined

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
)

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

func TestACancelledCommandTakesItsChildrenWithIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := Command(ctx, "sh", "-c", "sleep 600 & echo started; wait")
	var out bytes.Buffer
	cmd.Stdout = writerFunc(func(b []byte) { out.Write(b); cancel() })
	// Wait ends when nobody has the output open any more: that is the child.
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) || err == nil {
		t.Errorf("the command ended with %v and said %q", err, &out)
	}
}
