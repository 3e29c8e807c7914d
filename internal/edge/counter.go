package edge

// Counter is what became of the requests that one endpoint was given. Between requests
//
//	Requests = InFlight + the sum of Answers + the sum of the failures before an answer
//
// where the failures are ConnectFailures, Resets, EOFs, Timeouts, SecondConns, Canceled,
// Harness and Others.
type Counter struct {
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

// Counters returns a counter for each endpoint that was ever routed to, former ones
// included, in the order of their first routing. One that was routed to again keeps its
// counter; another revision or address under the same ID gets its own.
func (b *Balancer) Counters() []Counter {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Counter, len(b.entries))
	for i, entry := range b.entries {
		out[i] = *entry
	}
	return out
}

// Refused counts the requests that were answered with 503 because nothing was routed to.
func (b *Balancer) Refused() uint64 { return b.refused.Load() }

// LogLines counts what net/http had to complain about: clients that speak no HTTP, broken
// handshakes, panics. It is not an endpoint's fault.
func (b *Balancer) LogLines() uint64 { return b.lines.Load() }

// record books how an attempt ended; the caller holds the balancer's lock.
func (c *Counter) record(a *attempt) {
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
