package lifecycle

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTest = errors.New("test")

func nothing(context.Context) error { return nil }

// untilItEnds is a change that nothing but its context ends.
func untilItEnds(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestADeploymentThatFailsIsClosedByForce(t *testing.T) {
	shutdowns := 0
	var l *Life
	l = New(func(ctx context.Context) error {
		shutdowns++
		if !isClosed(l.Forced()) || ctx.Err() != nil {
			t.Errorf("forced: %v, context: %v, want force and a context without an end", isClosed(l.Forced()), ctx.Err())
		}
		return errors.New("a network is left")
	})
	err := l.Deploy(t.Context(), func(context.Context) error { return errTest })
	if !errors.Is(err, errTest) || !strings.Contains(err.Error(), "a network is left") {
		t.Errorf("got %v, want both errors", err)
	}
	if l.Close(t.Context()); shutdowns != 1 {
		t.Errorf("%d shutdowns, want 1", shutdowns)
	}
}

func TestADeploymentHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := New(nothing), time.Now()
		err := l.Deploy(t.Context(), untilItEnds)
		if took := time.Since(began); took != DeployLimit || err == nil || !strings.Contains(err.Error(), "not deployed within 10m0s") {
			t.Errorf("got %v after %v, want the limit of %v", err, took, DeployLimit)
		}
	})
}

func TestOneChangeAtATime(t *testing.T) {
	l := New(nothing)
	inside, release := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		err := l.Change(t.Context(), "first", func(context.Context) error {
			close(inside)
			<-release
			return errTest
		})
		if !errors.Is(err, errTest) || !strings.HasPrefix(err.Error(), "first: ") {
			t.Errorf("the first change: got %v", err)
		}
	})
	<-inside
	if err := l.Change(t.Context(), "second", nothing); !errors.Is(err, drivers.ErrBusy) {
		t.Errorf("a second one meanwhile: got %v, want %v", err, drivers.ErrBusy)
	}
	close(release)
	first.Wait()
	if err := l.Change(t.Context(), "third", nothing); err != nil {
		t.Errorf("one after it: %v", err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Change(t.Context(), "late", nothing); !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("one after the end: got %v, want %v", err, drivers.ErrClosed)
	}
}

func TestCloseEndsWhatIsUnderWayAndWaitsForIt(t *testing.T) {
	for name, start := range map[string]func(*Life, context.Context, func(context.Context) error) error{
		"deployment": (*Life).Deploy,
		"change": func(l *Life, ctx context.Context, do func(context.Context) error) error {
			return l.Change(ctx, "change", do)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := false
				l := New(func(context.Context) error {
					if !ended {
						t.Error("shut down while it was under way")
					}
					return nil
				})
				var starting sync.WaitGroup
				starting.Go(func() {
					err := start(l, t.Context(), func(ctx context.Context) error {
						err := untilItEnds(ctx)
						time.Sleep(time.Second) // the lock of the life is still held
						ended = true
						return err
					})
					if !errors.Is(err, drivers.ErrClosed) {
						t.Errorf("got %v, want %v", err, drivers.ErrClosed)
					}
				})
				synctest.Wait()
				if err := l.Close(t.Context()); err != nil {
					t.Error(err)
				}
				starting.Wait()
			})
		})
	}
}

func TestCloseIsForcedWhenTheContextOfAnyCallerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shutdowns := 0
		var l *Life
		l = New(func(context.Context) error {
			shutdowns++
			<-l.Forced()
			return errTest
		})
		began := time.Now()
		var closing sync.WaitGroup
		for _, patience := range []time.Duration{time.Hour, time.Minute} {
			closing.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := l.Close(ctx); !errors.Is(err, errTest) {
					t.Errorf("got %v, want what the shutdown returned", err)
				}
			})
		}
		closing.Wait()
		if took := time.Since(began); took != time.Minute || shutdowns != 1 {
			t.Errorf("%d shutdowns in %v, want 1 in a minute", shutdowns, took)
		}
	})
}

func TestAwaitServing(t *testing.T) {
	service := drivers.Service{Ports: []string{"data", "admin"}}
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(errTest)
	closed, cancel := context.WithCancelCause(t.Context())
	cancel(drivers.ErrClosed)
	fine := func() error { return nil }
	for _, tt := range []struct {
		name     string
		ctx      context.Context
		hopeless func() error
		serving  int // at which question it does
		want     []error
		not      error
	}{
		{name: "at once", serving: 1},
		{name: "at the third question", serving: 3},
		{name: "hopeless", hopeless: func() error { return errTest }, want: []error{errTest, drivers.ErrNotServing}},
		{name: "no time", ctx: canceled, want: []error{errTest, drivers.ErrNotServing}},
		{name: "closed", ctx: closed, want: []error{drivers.ErrClosed}, not: drivers.ErrNotServing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			if tt.hopeless == nil {
				tt.hopeless = fine
			}
			answer, asked := errors.New("refused"), 0
			err := AwaitServing(tt.ctx, service, func(_ context.Context, p drivers.Probe) error {
				if asked++; asked == tt.serving {
					return nil
				}
				if p.Kind != drivers.ProbeTCP || p.Port != "data" {
					t.Errorf("asked by %+v, want a connection to the first port", p)
				}
				return answer
			}, tt.hopeless)
			if tt.want == nil && (err != nil || asked != tt.serving) {
				t.Errorf("got %v after %d questions, want %d", err, asked, tt.serving)
			}
			for _, want := range tt.want {
				if !errors.Is(err, want) || !errors.Is(err, answer) {
					t.Errorf("got %v, want %v and the last answer", err, want)
				}
			}
			if tt.not != nil && errors.Is(err, tt.not) {
				t.Errorf("got %v, which wraps %v", err, tt.not)
			}
		})
	}
}

func TestAwaitServingAsksWhatTheServiceSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := drivers.Service{
			Ports:  []string{"data", "admin"},
			Serves: drivers.Probe{Kind: drivers.ProbeHTTP, Port: "admin", Interval: time.Minute},
		}
		began, asked := time.Now(), 0
		err := AwaitServing(t.Context(), service, func(_ context.Context, p drivers.Probe) error {
			if asked++; p.Kind != drivers.ProbeHTTP || p.Port != "admin" {
				t.Errorf("asked by %+v, want %+v", p, service.Serves)
			}
			if asked < 3 {
				return errTest
			}
			return nil
		}, func() error { return nil })
		if took := time.Since(began); err != nil || took != 2*time.Minute {
			t.Errorf("got %v after %v, want three questions a minute apart", err, took)
		}
	})
}

// A certificate that is not to be trusted is told at once, with what can be done about it.
func TestAwaitServingGivesUpWhomNobodyTrusts(t *testing.T) {
	for _, answer := range []error{&tls.CertificateVerificationError{Err: errTest}, drivers.ErrProtocol} {
		asked := 0
		err := AwaitServing(t.Context(), drivers.Service{Ports: []string{"data"}}, func(context.Context, drivers.Probe) error {
			asked++
			return fmt.Errorf("handshake: %w", answer)
		}, func() error { return nil })
		var hint *drivers.HintError
		if asked != 1 || !errors.Is(err, drivers.ErrNotServing) || !errors.Is(err, answer) || !errors.As(err, &hint) {
			t.Errorf("got %v after %d questions, want one, %v, ErrNotServing and a hint", err, asked, answer)
		}
	}
}

// A question that the end of the time cut short has no answer: the one before it says what
// is wrong with the service.
func TestAwaitServingKeepsTheLastAnswer(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	answer, asked := errors.New("404, wanted 200"), 0
	err := AwaitServing(ctx, drivers.Service{Ports: []string{"data"}}, func(ctx context.Context, _ drivers.Probe) error {
		if asked++; asked < 3 {
			return answer
		}
		cancel(errTest)
		return ctx.Err()
	}, func() error { return nil })
	if !errors.Is(err, answer) || !errors.Is(err, errTest) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v and the last answer", err, errTest)
	}
}
