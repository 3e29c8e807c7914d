package control_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/control"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

func allowFaults(o *control.Options) { o.AllowFaults = true }

// acknowledge is what a proxy does that has done what it was told.
func acknowledge(p *control.Plane, life string, version uint64) {
	query := feed.Query("a", feed.Position{Epoch: life, Version: version}).Encode()
	p.Streams().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", feed.FaultsPath+"?"+query, nil))
}

// TestFaultIsInEffectWhenItIsSaidToBe: the operator is answered when the proxy has done it, not
// when it was told; and a stall of the streams does not hold it back.
func TestFaultIsInEffectWhenItIsSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, allowFaults)
		p.Stall(true)
		lines := open(t, p, feed.FaultsPath, feed.Position{Epoch: "life"})
		if l := until(t, lines, feed.Faults)[0]; len(l.Faults) != 0 || l.Version != 1 {
			t.Errorf("at first %+v, want no faults at version 1", l)
		}
		for _, on := range []bool{true, false} {
			done := make(chan error, 1)
			go func() { done <- p.SetFault(t.Context(), "a", feed.Deadlock, on) }()
			got := until(t, lines, feed.Faults)
			l := got[len(got)-1]
			if slices.Contains(l.Faults, feed.Deadlock) != on {
				t.Errorf("told of %v, want deadlock %v", l.Faults, on)
			}
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("said to be in effect before the proxy said so: %v", err)
			default:
			}
			acknowledge(p, "life", l.Version)
			if err := <-done; err != nil {
				t.Errorf("on %v: %v", on, err)
			}
		}
	})
}

func TestFaultThatAProxyDoesNotTakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, allowFaults)
		lines := open(t, p, feed.FaultsPath, feed.Position{Epoch: "life"})
		until(t, lines, feed.Faults)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.SetFault(ctx, "a", feed.Flap, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("SetFault = %v, want that the proxy did not say a word", err)
		}
		begun := time.Now()
		if err := p.SetFault(t.Context(), "b", feed.Flap, true); !errors.Is(err, control.ErrNoInstance) {
			t.Errorf("of an instance that is not there: %v after %v, want ErrNoInstance", err, time.Since(begun))
		}
		if err := p.SetFault(ctx, "b", feed.Flap, false); err != nil {
			t.Errorf("taken back from one that is not there: %v", err)
		}
	})
}

// TestFaultOfAProcessThatIsJustStarting: it need not be there yet.
func TestFaultOfAProcessThatIsJustStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, allowFaults)
		done := make(chan error, 1)
		go func() { done <- p.SetFault(t.Context(), "a", feed.DataDead, true) }()
		synctest.Wait()
		lines := open(t, p, feed.FaultsPath, feed.Position{Epoch: "life"})
		for told := false; !told; {
			got := until(t, lines, feed.Faults)
			l := got[len(got)-1]
			told = len(l.Faults) == 1
			acknowledge(p, "life", l.Version)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAdminOfFaults(t *testing.T) {
	synctest.Test(t, adminOfFaults)
}

func adminOfFaults(t *testing.T) {
	closed := newPlane(t, nil)
	var answer struct{ Error, Hint string }
	if status := ask(t, closed, "POST", "/v1/fault?kind=flap&instance=a", &answer); status != http.StatusNotFound {
		t.Errorf("where no faults are allowed: %d %+v", status, answer)
	}
	p := newPlane(t, allowFaults)
	for target, want := range map[string]int{
		"/v1/fault?instance=a":                        http.StatusBadRequest,
		"/v1/fault?kind=fire&instance=a":              http.StatusBadRequest,
		"/v1/fault?kind=flap":                         http.StatusBadRequest,
		"/v1/fault?kind=flap&instance=a&on=perhaps":   http.StatusBadRequest,
		"/v1/fault?kind=flap&instance=a":              http.StatusNotFound,
		"/v1/fault?kind=flap&instance=a&on=false":     http.StatusOK,
		"/v1/fault?kind=flap&instance=a&instance=b":   http.StatusNotFound,
		"/v1/fault?kind=deadlock&instance=c&on=false": http.StatusOK,
	} {
		if status := ask(t, p, "POST", target, &answer); status != want {
			t.Errorf("%s answers %d %+v, want %d", target, status, answer, want)
		}
	}
}

func TestAdminSaysWhetherASessionIsRevoked(t *testing.T) {
	p := newPlane(t, nil)
	for _, want := range []bool{false, true} {
		var s struct {
			Session string
			Revoked bool
		}
		if status := ask(t, p, "GET", "/v1/session?session=session-000001", &s); status != http.StatusOK || s.Revoked != want {
			t.Errorf("answers %d %+v, want revoked %v", status, s, want)
		}
		if _, err := p.Revoke("session-000001"); err != nil {
			t.Fatal(err)
		}
	}
	var answer struct{ Error string }
	if status := ask(t, p, "GET", "/v1/session?session=nobody", &answer); status != http.StatusNotFound {
		t.Errorf("of nobody: %d %+v", status, answer)
	}
}
