package load

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

const (
	// PreflightLag is the p99 of the schedule's lag up to which a rate is held: a tenth of what
	// makes a trial invalid, because a target will want the CPUs, too.
	PreflightLag = 5 * time.Millisecond
	// LeastRate is the lowest rate that a preflight looks at: with fewer requests a second
	// nearly nothing is seen of a rollout.
	LeastRate = 50

	firstStep, nextStep, nextSteps = time.Second, 500 * time.Millisecond, 4 // three seconds in all
	preflightLead                  = 50 * time.Millisecond
	preflightTimeout               = time.Second
)

// Held is which rate a machine holds.
type Held struct {
	Asked float64       // hits a second
	Rate  float64       // that it holds, at most Asked; 0: not even LeastRate
	Lag   time.Duration // p99 of the schedule's lag at Rate, or at the lowest one that was tried
}

// Preflight measures up to which rate the schedule is kept here, for three seconds at most: the
// load goes to an echo in this process, by kept connections and new ones. What a target takes of
// the machine is not in it, so it is what the machine holds at best. Where the rate that is asked
// for is held, it says so after one second.
func Preflight(ctx context.Context, asked float64) (Held, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Held{}, fmt.Errorf("preflight: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(echoed)) })}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		_ = server.Close() // nothing is under way any more that anybody waits for
		<-served
	}()
	held, err := search(asked, func(rate float64, over time.Duration) (time.Duration, error) {
		return echoLag(ctx, "http://"+listener.Addr().String(), rate, over)
	})
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return Held{}, fmt.Errorf("preflight: %w", err)
	}
	return held, nil
}

const echoed = "ok"

// search looks for the highest rate that is held: the one that is asked for, or else between that
// and the lowest one, by halves of their ratio.
func search(asked float64, lag func(rate float64, over time.Duration) (time.Duration, error)) (Held, error) {
	held := Held{Asked: asked}
	at, err := lag(asked, firstStep)
	if held.Lag = at; err != nil {
		return held, err
	}
	if at <= PreflightLag {
		held.Rate = asked
		return held, nil
	}
	lo, hi := min(LeastRate, asked), asked
	for step := range nextSteps {
		rate := rounded(math.Sqrt(lo * hi))
		if step == nextSteps-1 && held.Rate == 0 {
			rate = lo // the last chance
		}
		at, err := lag(rate, nextStep)
		if err != nil {
			return held, err
		}
		if at <= PreflightLag {
			held.Rate, held.Lag, lo = rate, at, rate
			continue
		}
		if held.Rate == 0 {
			held.Lag = at
		}
		hi = rate
	}
	return held, nil
}

// rounded is a rate as people would choose one, no higher.
func rounded(rate float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(rate))-1)
	return max(math.Floor(rate/unit)*unit, min(rate, LeastRate))
}

// echoLag is the p99 of the schedule's lag at a rate. A request that fails is one that is sent too
// late to count.
func echoLag(ctx context.Context, url string, rate float64, over time.Duration) (time.Duration, error) {
	request := []Request{{Path: "/", WantBody: echoed}}
	plan := Plan{
		URL: url, Base: time.Now().Add(preflightLead), Rate: rate, Hits: uint64(max(rate*over.Seconds(), 1)), Timeout: preflightTimeout,
		Streams: []Stream{
			{Name: "keepalive", Weight: 4, Reuse: true, Connections: 32, Requests: request},
			{Name: "newconn", Weight: 1, Requests: request},
		},
	}
	var lags []time.Duration
	_, err := Run(ctx, plan, func(s record.Sample) {
		lag := s.Sent - s.Intended
		if s.Class != record.OK {
			lag = max(lag, preflightTimeout)
		}
		lags = append(lags, lag)
	})
	if err != nil || len(lags) == 0 {
		return 0, err
	}
	slices.Sort(lags)
	return lags[(len(lags)*99+99)/100-1], nil
}
