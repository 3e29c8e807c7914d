package build

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
)

func TestOneBuildAtATime(t *testing.T) {
	c := cache{dir: t.TempDir()}
	unlock, err := c.lock(t.Context(), &progress{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	said := &progress{w: writerFunc(func([]byte) { cancel() })} // it has begun to wait
	if _, err := c.lock(ctx, said); err == nil {
		t.Fatal("two builds have the lock")
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := c.lock(t.Context(), &progress{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

func TestACancelledCommandTakesItsChildrenWithIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "sh", "-c", "sleep 600 & echo started; wait")
	confine(cmd)
	var out bytes.Buffer
	cmd.Stdout = writerFunc(func(b []byte) { out.Write(b); cancel() })
	// Wait ends when nobody has the output open any more: that is the child.
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) || err == nil {
		t.Errorf("the command ended with %v and said %q", err, &out)
	}
}
