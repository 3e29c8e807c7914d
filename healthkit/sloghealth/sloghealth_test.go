package sloghealth_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/sloghealth"
)

// lines are the records written since they were last taken, as text without their time.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func (l *lines) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func register(t *testing.T, r *healthkit.Registry, name string, o healthkit.Options) *healthkit.Component {
	t.Helper()
	c, err := r.Register(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNothingIsLostAtTheEnd: a process that has been run is told to log no more at once.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	register(t, r, "c", healthkit.Options{}).Failed(errors.New("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log lines
	if err := sloghealth.To(log.logger(slog.LevelInfo))(ctx, r); err != nil {
		t.Error(err)
	}
	if got, want := log.take(), "level=ERROR msg=\"component changed\" component=c from=starting to=failed reason=x\n"; got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestFollowsARun: the end of a process is logged, too.
func TestFollowsARun(t *testing.T) {
	r := healthkit.New(healthkit.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("told to stop"))
	var log lines
	if _, err := r.Run(ctx, healthkit.RunPlan{Followers: []healthkit.Follower{sloghealth.To(log.logger(slog.LevelInfo))}}); err != nil {
		t.Fatal(err)
	}
	if got, want := log.take(), "to=stopped\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got:\n%swant it to end with %s", got, want)
	}
}

func ExampleTo() {
	registry := healthkit.New(healthkit.Config{Expect: []string{"storage"}})
	_, err := registry.Run(context.Background(), healthkit.RunPlan{
		HealthAddr: ":8081",
		Followers:  []healthkit.Follower{sloghealth.To(slog.Default())},
	})
	if err != nil {
		slog.Error("run", "err", err)
	}
}
