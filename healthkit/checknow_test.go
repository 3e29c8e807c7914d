//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pauses runs a check that takes no time and returns the pauses between its runs.
func pauses(t *testing.T, n int, opts CheckOptions) []time.Duration {
	r := New(Config{})
	defer closeRegistry(t, r)
	begun := make(chan time.Time, n+1)
	_, err := r.RegisterCheck("c", func(context.Context) error {
		select {
		case begun <- time.Now():
		default:
		}
		return nil
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	var all []time.Duration
	last := <-begun
	for range n {
		at := <-begun
		all = append(all, at.Sub(last))
		last = at
	}
	return all
}

func TestJitterOfChecks(t *testing.T) {
	for _, tt := range []struct {
		name        string
		jitter      time.Duration
		least, most time.Duration
	}{
		{"a tenth by default", 0, 9 * time.Second, 10 * time.Second},
		{"none", -1, 10 * time.Second, 10 * time.Second},
		{"as much as there is", 10 * time.Second, 0, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := pauses(t, 100, CheckOptions{Interval: 10 * time.Second, Jitter: tt.jitter})
				least, most := slices.Min(all), slices.Max(all)
				if least < tt.least || most > tt.most {
					t.Errorf("pauses from %v to %v, want %v to %v", least, most, tt.least, tt.most)
				}
				// Of 100 random ones some are in the first and in the last quarter.
				if quarter := (tt.most - tt.least) / 4; least > tt.least+quarter || most < tt.most-quarter {
					t.Errorf("pauses from %v to %v are not spread over %v to %v", least, most, tt.least, tt.most)
				}
			})
		})
	}
	_, err := New(Config{}).RegisterCheck("c", func(context.Context) error { return nil }, CheckOptions{Interval: time.Second, Jitter: 2 * time.Second})
	if !errors.Is(err, ErrOptions) {
		t.Errorf("more jitter than interval: got %v, want ErrOptions", err)
	}
}

func TestCheckNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		base := time.Now()
		var mu sync.Mutex
		var log []string
		release := make(chan struct{})
		c, err := r.RegisterCheck("c", func(context.Context) error {
			mu.Lock()
			log = append(log, time.Since(base).String())
			n := len(log)
			mu.Unlock()
			if n == 3 {
				<-release
			}
			return nil
		}, CheckOptions{Interval: 10 * time.Second, Timeout: time.Hour, Jitter: -1})
		if err != nil {
			t.Fatal(err)
		}
		want := func(what string, runs ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(log) != fmt.Sprint(runs) {
				t.Errorf("%s: runs at %v, want %v", what, log, runs)
			}
		}
		want("at first", "0s")
		time.Sleep(3 * time.Second)
		c.CheckNow()
		want("asked in a pause", "0s", "3s")
		time.Sleep(9 * time.Second)
		want("the pause begins anew", "0s", "3s")
		time.Sleep(time.Second)
		want("the third run hangs", "0s", "3s", "13s")
		for range 5 {
			c.CheckNow()
		}
		time.Sleep(time.Second)
		want("asked while it runs", "0s", "3s", "13s")
		close(release)
		want("one more run, at once", "0s", "3s", "13s", "14s")
		time.Sleep(9 * time.Second)
		want("and no more", "0s", "3s", "13s", "14s")
		c.Retract()
		c.CheckNow()
		want("retracted", "0s", "3s", "13s", "14s")
		mustRegister(t, r, "unchecked", Options{}).CheckNow()
		closeRegistry(t, r)
	})
}
