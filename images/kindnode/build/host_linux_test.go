package build

import (
	"context"
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
