package load

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

func TestWhichRateIsHeld(t *testing.T) {
	for _, tc := range []struct {
		asked, holds float64 // up to which rate the machine is in time
		least, most  float64
	}{
		{1000, 5000, 1000, 1000}, // all that was asked for
		{1000, 1000, 1000, 1000},
		{1000, 620, 450, 620},
		{5000, 700, 400, 700},
		{1000, 60, 50, 60},
		{1000, 50, 50, 50},
		{1000, 49, 0, 0}, // not even the least
		{30, 100, 30, 30},
		{30, 10, 0, 0},
	} {
		var took time.Duration
		var tried []float64
		held, err := search(tc.asked, func(rate float64, over time.Duration) (time.Duration, error) {
			took += over
			tried = append(tried, rate)
			if rate > tc.holds {
				return 40 * time.Millisecond, nil
			}
			return 3 * time.Millisecond, nil
		})
		if err != nil || held.Rate < tc.least || held.Rate > tc.most || held.Asked != tc.asked {
			t.Errorf("asked for %v, holds %v: got %+v, %v, want %v to %v (tried %v)", tc.asked, tc.holds, held, err, tc.least, tc.most, tried)
		}
		if want := map[bool]time.Duration{true: 3 * time.Millisecond, false: 40 * time.Millisecond}[held.Rate > 0]; held.Lag != want {
			t.Errorf("asked for %v, holds %v: a lag of %v, want %v", tc.asked, tc.holds, held.Lag, want)
		}
		if took > 3*time.Second || held.Rate == tc.asked && took != time.Second {
			t.Errorf("asked for %v, holds %v: it took %v", tc.asked, tc.holds, took)
		}
	}
}

func TestRoundedRates(t *testing.T) {
	for rate, want := range map[float64]float64{223.6: 220, 50.9: 50, 1581: 1500, 99.9: 99, 12.3: 12.3, 3400: 3400} {
		if got := rounded(rate); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v is rounded to %v, want %v", rate, got, want)
		}
	}
}

func TestAPreflightEndsWithItsError(t *testing.T) {
	broken := errors.New("broken")
	if _, err := search(100, func(float64, time.Duration) (time.Duration, error) { return 0, broken }); err != broken {
		t.Errorf("got %v, want the error", err)
	}
	calls := 0
	if _, err := search(100, func(float64, time.Duration) (time.Duration, error) {
		if calls++; calls == 3 {
			return 0, broken
		}
		return time.Second, nil
	}); err != broken {
		t.Errorf("got %v, want the error of a later step", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if held, err := Preflight(ctx, 100); !errors.Is(err, broken) {
		t.Errorf("interrupted it says %+v, %v", held, err)
	}
}

// Whatever it finds here, it is over in its time and what it says fits together.
func TestPreflightHere(t *testing.T) {
	began := time.Now()
	held, err := Preflight(t.Context(), 200)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", held, time.Since(began))
	if held.Asked != 200 || held.Rate > 200 || held.Rate > 0 && (held.Rate < LeastRate || held.Lag > PreflightLag) || held.Rate == 0 && held.Lag <= PreflightLag {
		t.Errorf("got %+v", held)
	}
}
