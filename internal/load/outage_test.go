//go:build e2e

package load

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers/ports"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// interruption is a stretch in which a server does not do its part. The doubt is how much
// longer or shorter it may have been.
type interruption struct {
	from, to time.Time
	doubt    time.Duration
	over     chan struct{} // closed at its end
}

// during does what takes a moment, and says when that was, with the doubt about it.
func during(do func()) (at time.Time, doubt time.Duration) {
	before := time.Now()
	do()
	doubt = time.Since(before) / 2
	return before.Add(doubt), doubt
}

// interruptible is a server with interruptions at known times.
type interruptible struct {
	addr   string
	plan   []interruption // for the kinds that go by the time at which a request comes
	answer func(w http.ResponseWriter, r *http.Request, over <-chan struct{})

	held atomic.Int64 // requests that are with answer

	mu     sync.Mutex
	server *http.Server
	conns  map[net.Conn]bool
	served sync.WaitGroup
}

func (s *interruptible) listen(t *testing.T) {
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Error(err)
		return
	}
	server := &http.Server{Handler: http.HandlerFunc(s.serve), ConnState: func(conn net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if state == http.StateClosed {
			delete(s.conns, conn)
		} else {
			s.conns[conn] = true
		}
	}}
	s.mu.Lock()
	s.server, s.conns = server, make(map[net.Conn]bool)
	s.mu.Unlock()
	s.served.Go(func() { server.Serve(ln) }) // until close
}

// close ends the server as a killed process ends: nobody listens, and connections are reset.
func (s *interruptible) close() {
	s.mu.Lock()
	server, conns := s.server, s.conns
	for conn := range conns {
		conn.(*net.TCPConn).SetLinger(0)
	}
	s.mu.Unlock()
	server.Close()
}

func (s *interruptible) serve(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	for _, i := range s.plan {
		if !now.Before(i.from) && now.Before(i.to) && s.answer != nil {
			s.held.Add(1)
			defer s.held.Add(-1)
			s.answer(w, r, i.over)
			return
		}
	}
	echo(w, r)
}

// TestExactOutages: what is lost to an outage of a known length is that length, within two
// requests, and nothing else is lost. An outage is left out where the machine was slow with a
// request that was under way at one of its ends (sent late, or long on its way and not meant to
// be), for that alone and whatever was lost in it. On a busy machine many are, of those that
// refuse the most: what takes a connection there waits for the kernel's own threads, which the
// priority that make e2e-outage gives to the test does not reach.
func TestExactOutages(t *testing.T) {
	const (
		rate  = 1000
		times = 20
		lead  = time.Second
		gap   = 250 * time.Millisecond
		edges = 10 * time.Millisecond // so far beyond the ends of an outage a request may be lost to it
	)
	lengths := []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}
	for _, kind := range []struct {
		name    string
		timeout time.Duration
		answer  func(w http.ResponseWriter, r *http.Request, over <-chan struct{})
	}{
		{"unavailable", 2 * time.Second, func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		{"hang", 40 * time.Millisecond, func(w http.ResponseWriter, r *http.Request, over <-chan struct{}) {
			select {
			case <-over:
				echo(w, r)
			case <-r.Context().Done():
			}
		}},
		{"refuse", 2 * time.Second, nil},
	} {
		t.Run(kind.name, func(t *testing.T) {
			base := time.Now().Add(100 * time.Millisecond)
			at := base.Add(lead)
			var plan []interruption
			for n := range times * len(lengths) {
				length := lengths[n%len(lengths)]
				plan = append(plan, interruption{from: at, to: at.Add(length), over: make(chan struct{})})
				at = at.Add(length + gap)
			}
			// While nobody listens there, a connection that goes out must not get that port.
			pool := ports.New()
			port, err := pool.Take(1)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Release(port)
			s := &interruptible{addr: ports.Loopback(port[0]), answer: kind.answer}
			if kind.answer != nil {
				s.plan = plan
			}
			s.listen(t)
			defer func() { s.close(); s.served.Wait() }()

			seen := slices.Clone(plan) // as they turned out
			var ending sync.WaitGroup
			ending.Go(func() {
				for n := range plan {
					if kind.answer != nil {
						sleep(time.Until(plan[n].to))
						// A hang is over when those that were held have their answers.
						seen[n].to, seen[n].doubt = during(func() {
							close(plan[n].over)
							for s.held.Load() > 0 {
								sleep(50 * time.Microsecond)
							}
						})
						continue
					}
					sleep(time.Until(plan[n].from))
					from, closing := during(s.close)
					sleep(time.Until(plan[n].to))
					to, opening := during(func() { s.listen(t) })
					seen[n] = interruption{from: from, to: to, doubt: closing + opening}
				}
			})
			hits := uint64(at.Add(lead).Sub(base).Seconds() * rate)
			samples := make([]record.Sample, hits)
			streams := threeStreams()
			streams[0].Connections, streams[1].Connections = 32, 32
			p := Plan{URL: "http://" + s.addr, Base: base, Rate: rate, Hits: hits, Timeout: kind.timeout, Streams: streams}
			_, err = Run(t.Context(), p, func(s record.Sample) { samples[s.Seq] = s })
			ending.Wait()
			if err != nil {
				t.Fatal(err)
			}
			reportOutages(t, seen, samples, base, lengths, rate, edges, kind.timeout, kind.name == "hang")
		})
	}
}

// beyond is by how many requests too many or too few were lost, whatever the truth is within
// its doubt.
func beyond(off, doubt float64) int {
	return int(math.Round(math.Copysign(max(math.Abs(off)-doubt, 0), off)))
}

func reportOutages(t *testing.T, plan []interruption, samples []record.Sample, base time.Time, lengths []time.Duration, rate float64, edges, timeout time.Duration, hangs bool) {
	t.Helper()
	off := make(map[time.Duration][]int) // by length: what was lost beyond what must be
	leftOut := make(map[string]int)      // by what was slow first
	inside := make([]bool, len(samples))
	for n, i := range plan {
		from, to := i.from.Sub(base), i.to.Sub(base)
		last := to // whose fate depends on the moment at which the outage ends
		if hangs {
			last = max(to-timeout, from)
		}
		want := last - from
		period := time.Duration(float64(time.Second) / rate)
		lost, slow := 0, ""
		if i.doubt >= 3*period {
			slow = "the server's end or start"
		}
		for k := range samples {
			s := &samples[k]
			if s.Done < from-edges || s.Intended > to+edges {
				continue
			}
			inside[k] = true
			if s.Class != record.OK {
				lost++
			}
			// What goes on at an end has no certain fate. Of what takes long elsewhere it is certain.
			across := func(at time.Duration) bool { return s.Intended <= at && s.Done >= at }
			switch atEnd := across(from) || across(last); {
			case slow != "" || !atEnd:
			case s.Sent-s.Intended > 2*period:
				slow = "the load"
			case !hangs && s.Done-s.Sent > 3*period:
				slow = "an answer"
			}
		}
		if slow != "" {
			leftOut[slow]++
			continue
		}
		length := lengths[n%len(lengths)]
		off[length] = append(off[length], beyond(float64(lost)-want.Seconds()*rate, i.doubt.Seconds()*rate))
	}
	elsewhere := make(map[record.Class]int)
	for k := range samples {
		if !inside[k] && samples[k].Class != record.OK {
			elsewhere[samples[k].Class]++
		}
	}
	for _, length := range lengths {
		d := off[length]
		if len(d) < 5 {
			t.Errorf("%8v: the machine was slow in all but %d: it is too busy to tell", length, len(d))
			continue
		}
		slices.Sort(d)
		within := 0
		for _, x := range d {
			if x >= -2 && x <= 2 {
				within++
			}
		}
		t.Logf("%8v: %d of %d within 2 requests, off by %d to %d", length, within, len(d), d[0], d[len(d)-1])
		if within < len(d) {
			t.Errorf("%v: off by %s requests, want 2 at most", length, fmt.Sprint(d))
		}
	}
	t.Logf("left out of %d, by what was slow at their ends: %v", len(plan), leftOut)
	delete(elsewhere, record.Harness)
	if len(elsewhere) > 0 {
		t.Errorf("lost outside of every outage: %v", elsewhere)
	}
}
