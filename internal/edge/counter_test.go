package edge

import (
	"bytes"
	"slices"
	"sync"
	"testing"
)

// counter is what became of the requests that one endpoint was given. Between requests
//
//	Requests = InFlight + the sum of Answers + the sum of the failures before an answer
//
// where the failures are ConnectFailures, Resets, EOFs, Timeouts, SecondConns, Canceled,
// Harness and Others.
type counter struct {
	Endpoint Endpoint
	Routed   bool // still gets new requests

	Requests uint64 // given to the endpoint, each exactly once
	InFlight int    // of them, not finished

	// Answers counts those whose answer began, by the first digit of its status; the
	// first element counts statuses outside 100 to 599.
	Answers [6]uint64

	ConnectFailures uint64 // no connection: refused, timed out, or else
	Resets          uint64 // the connection was reset before the answer began
	EOFs            uint64 // the connection was closed before the answer began
	Timeouts        uint64 // no answer within Config.ResponseTimeout
	SecondConns     uint64 // the transport took a second connection: stopped before it was used
	Canceled        uint64 // the client went away or broke off its request, or Close cut it off, before the answer began
	Harness         uint64 // the balancer had nothing left to connect with: not the endpoint's failure
	Others          uint64 // no valid HTTP answer, or none of the above

	Truncated uint64 // of Answers: the body broke off and the client's connection was aborted
	Aborted   uint64 // of Answers: the client went away, or Close cut it off, during the body
}

// tally is what a test's balancer was seen to do.
type tally struct {
	mu      sync.Mutex
	refused uint64     // requests for which nothing was routed to
	entries []*counter // in the order of their first request
	log     bytes.Buffer
}

// tallies are those of the tests' balancers.
var tallies sync.Map // *Balancer -> *tally

// newTallied starts a balancer and counts what it does.
func newTallied(t testing.TB, config Config) (*Balancer, error) {
	t.Helper()
	seen := &tally{}
	config.observe, config.log = seen.observe, seen
	b, err := New(config)
	if err == nil {
		tallies.Store(b, seen)
		t.Cleanup(func() { tallies.Delete(b) })
	}
	return b, err
}

func (s *tally) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *tally) observe(e Endpoint, a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e == (Endpoint{}) {
		s.refused++
		return
	}
	at := slices.IndexFunc(s.entries, func(c *counter) bool { return c.Endpoint == e })
	if at < 0 {
		at, s.entries = len(s.entries), append(s.entries, &counter{Endpoint: e})
	}
	c := s.entries[at]
	if a == nil {
		c.Requests++
		c.InFlight++
		return
	}
	c.InFlight--
	c.record(a)
}

func seenOf(b *Balancer) *tally {
	seen, _ := tallies.Load(b)
	return seen.(*tally)
}

// countersOf returns a counter for each endpoint that ever got a request, former ones
// included, in the order of their first one. Another revision or address under the same ID
// has its own.
func countersOf(b *Balancer) []counter {
	b.mu.Lock()
	routed := slices.Clone(b.order)
	b.mu.Unlock()
	s := seenOf(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []counter
	for _, c := range s.entries {
		now := *c
		now.Routed = slices.ContainsFunc(routed, func(o *backend) bool { return o.endpoint == c.Endpoint })
		out = append(out, now)
	}
	return out
}

// refusedBy counts the requests that were answered with 503 because nothing was routed to.
func refusedBy(b *Balancer) uint64 {
	s := seenOf(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// loggedBy is what net/http had to complain about.
func loggedBy(b *Balancer) string {
	s := seenOf(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// awaitDrained waits until no request is under way at the former endpoints of an ID.
func awaitDrained(t testing.TB, b *Balancer, id string) {
	t.Helper()
	waitFor(t, func() bool {
		return !slices.ContainsFunc(countersOf(b), func(c counter) bool { return c.Endpoint.ID == id && !c.Routed && c.InFlight > 0 })
	})
}

// record books how an attempt ended.
func (c *counter) record(a *attempt) {
	switch a.fault {
	case faultNone, faultTruncated, faultAborted:
		class := a.status / 100
		if class < 1 || class > 5 {
			class = 0
		}
		c.Answers[class]++
	}
	switch a.fault {
	case faultNone:
	case faultTruncated:
		c.Truncated++
	case faultAborted:
		c.Aborted++
	case faultRefused, faultConnectTimeout, faultConnect:
		c.ConnectFailures++
	case faultHarness:
		c.Harness++
	case faultReset:
		c.Resets++
	case faultEOF:
		c.EOFs++
	case faultTimeout:
		c.Timeouts++
	case faultSecondConn:
		c.SecondConns++
	case faultCanceled:
		c.Canceled++
	default:
		c.Others++
	}
}
