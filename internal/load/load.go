// Package load sends the requests of a trial and says what became of each one: an open
// loop of several request streams on one schedule, direct probes of single instances,
// and an independent reference client. Vegeta paces the
// schedule and holds the workers. It is the only place that classifies outcomes. It draws
// no conclusions from them and stores nothing.
package load

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Request is one kind of request together with what its answer must be.
type Request struct {
	Method string // "" means GET
	Path   string // from the root, with its query
	Header map[string]string
	Body   []byte // must not be changed while it is in use

	Expect record.Expectation // "" means Serve among Stream.Requests and Deny among Stream.Denials
	// Statuses holds every status that counts as success; empty means 200 for a request
	// that must be served, 401 and 403 for one that must be denied.
	Statuses   []int
	WantHeader map[string]string // what a successful answer must have among its headers
	WantBody   string            // the exact body of a successful answer
	Match      *regexp.Regexp    // what its body must match instead, somewhere in its first MiB
	AnyBody    bool              // any body will do, as long as it is whole
	// Revocation, unless it is nil, is that of the request's session: what it has to meet with
	// depends on the time then. Of requests that must be served only.
	Revocation *Revocation

	Weight int // how often it is sent, in relation to the others of its stream; 0 means 1
}

// Stream is one of the request streams that share the schedule.
type Stream struct {
	Name   string
	Weight int  // share of the schedule, in relation to the sum of all weights; at least 1
	Reuse  bool // keep-alive; false means a new connection for each request
	// Connections are how many kept connections take turns, so that a balancer of connections
	// spreads the stream; 0 means as few as there are requests in flight. One that is busy at
	// its turn gets company.
	Connections int

	Requests []Request // used as often as their weights say; must not be empty
	Denials  []Request // requests that must be denied; needed when Plan.Deny is above 0
}

// Plan is what a load does. Hit k of it, from 0, has the intended time
// Base + Start + (k+1)/Rate, so the last one falls on Base + Start + Hits/Rate.
type Plan struct {
	URL   string        // scheme and host: https where the wire has TLS, else http
	Wire  drivers.Wire  // how it is spoken to
	Base  time.Time     // of the trial, with its monotonic reading; every time in a sample counts from it
	Start time.Duration // of the load, from Base; Run waits for it

	Rate    float64       // hits a second
	Hits    uint64        // how many
	End     *End          // ends it before that, at a moment that is chosen while it runs; nil means that nothing does
	Timeout time.Duration // of a request, from its intended time to the last byte of the answer
	Deny    float64       // share of the hits that must be denied, spread over all streams, 0..1

	Streams []Stream

	// LabBalancer: requests go through the lab's own balancer. Only its word on the harness's
	// trouble counts (see drivers.HarnessReason); from anybody else it is one more reason.
	LabBalancer bool
	// Trace tells where the balancer has sent a connection, where it passes them on unread and
	// no answer can name its instance (see drivers.Tracer); nil elsewhere.
	Trace           func(client netip.AddrPort) (drivers.Way, bool)
	InstanceHeaders []string // the first that an answer has names its instance; empty means the defaults
	RevisionHeader  string
	ReasonHeader    string
}

// End ends a load at a moment that is not known before it runs. Its methods may be called
// concurrently.
type End struct{ at atomic.Int64 }

// At ends the load at an offset from the trial's base: a hit that is due then or later is not
// fired. It must be a moment to come, or hits that are due later may have been fired already.
func (e *End) At(at time.Duration) { e.at.Store(int64(at)) }

// before reports whether the load ends before something that is due at an offset from the base.
func (e *End) before(due time.Duration) bool {
	if e == nil {
		return false
	}
	at := time.Duration(e.at.Load())
	return at > 0 && due >= at
}

func (p *Plan) demand() Demand {
	d := Demand{Rate: p.Rate, Hits: p.Hits, Timeout: p.Timeout, LabBalancer: p.LabBalancer}
	for _, s := range p.Streams {
		d.Kept += s.Connections
	}
	return d
}

// Summary is what a load was, as its generator saw it.
type Summary struct {
	Fired   uint64        // hits that were fired; each one had its sample
	Retried uint64        // of them, those that the transport tried to send again by itself
	T0      time.Duration // start of the schedule, from the trial's base
	Workers uint64        // most requests that could be in flight
	CPU     time.Duration // user and system time of this process while the load ran
	Cost    record.Cost   // the same with the reaped children's time and the peak of memory
}

// maxCycle bounds the number of hits after which the pattern of streams repeats.
const maxCycle = 10_000

// Validate reports everything that is wrong with the plan.
func (p *Plan) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if u, err := url.Parse(p.URL); err != nil {
		bad("url: %w", err)
	} else if u.Scheme != p.Wire.Scheme() || u.Host == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		bad("url %q: want %s://host:port and nothing behind it", p.URL, p.Wire.Scheme())
	}
	if err := p.Wire.Validate(); err != nil {
		bad("%w", err)
	}
	if p.Base.IsZero() {
		bad("base is not set")
	}
	if p.Start < 0 {
		bad("start %v is before the base", p.Start)
	}
	if !(p.Rate > 0) || p.Rate > 1e6 {
		bad("rate %v is not in (0, 1000000]", p.Rate)
	}
	if p.Hits == 0 || p.Hits > math.MaxInt32 {
		bad("hits %d are not in [1, %d]", p.Hits, math.MaxInt32)
	}
	if p.Timeout <= 0 {
		bad("timeout %v is not above 0", p.Timeout)
	}
	if !(p.Deny >= 0 && p.Deny <= 1) {
		bad("share of denials %v is not in [0, 1]", p.Deny)
	}
	if len(p.Streams) == 0 {
		bad("there is no stream")
	}
	p.validateStreams(bad)
	return errors.Join(errs...)
}

// validateStreams reports what is wrong with the plan's streams.
func (p *Plan) validateStreams(bad func(format string, args ...any)) {
	names := make(map[string]bool)
	weights := make([]int, 0, len(p.Streams))
	for _, s := range p.Streams {
		if s.Name == "" || names[s.Name] {
			bad("stream %q: its name is empty or taken", s.Name)
		}
		names[s.Name] = true
		if s.Weight < 1 {
			bad("stream %q: weight %d is below 1", s.Name, s.Weight)
		}
		weights = append(weights, max(s.Weight, 1))
		if s.Connections < 0 || s.Connections > maxInFlight || s.Connections > 0 && !s.Reuse {
			bad("stream %q: %d connections to keep, want 0..%d where connections are kept", s.Name, s.Connections, maxInFlight)
		}
		if len(s.Requests) == 0 {
			bad("stream %q has no request", s.Name)
		}
		if p.Deny > 0 && len(s.Denials) == 0 {
			bad("stream %q has no request that must be denied, and %v of the hits must be", s.Name, p.Deny)
		}
		if n := cycleLength(weightsOf(s.Requests)); n > maxCycle {
			bad("stream %q: weights of its requests repeat after %d of them only, want at most %d", s.Name, n, maxCycle)
		}
		for _, r := range s.Requests {
			if err := r.validate(record.Serve); err != nil {
				bad("stream %q: %w", s.Name, err)
			}
		}
		for _, r := range s.Denials {
			if err := r.validate(record.Deny); err != nil {
				bad("stream %q: denial: %w", s.Name, err)
			}
		}
	}
	if n := cycleLength(weights); n > maxCycle {
		bad("weights of the streams repeat after %d hits only, want at most %d", n, maxCycle)
	}
}

// validate checks a request that has to have the given expectation.
func (r *Request) validate(expect record.Expectation) error {
	if r.Expect != "" && r.Expect != expect {
		return fmt.Errorf("%s %s: expectation %q, want %q here", r.Method, r.Path, r.Expect, expect)
	}
	if r.Revocation != nil && expect != record.Serve {
		return fmt.Errorf("%s %s: its session can be revoked, and it must be denied anyway", r.Method, r.Path)
	}
	if len(r.Path) == 0 || r.Path[0] != '/' {
		return fmt.Errorf("%s %q: path does not start with a slash", r.Method, r.Path)
	}
	if r.AnyBody && r.WantBody != "" || r.Match != nil && (r.AnyBody || r.WantBody != "") {
		return fmt.Errorf("%s %s: wants both any body and a certain one", r.Method, r.Path)
	}
	if r.Weight < 0 || r.Weight > maxCycle {
		return fmt.Errorf("%s %s: weight %d, want 0..%d", r.Method, r.Path, r.Weight, maxCycle)
	}
	for _, code := range r.Statuses {
		if code < 200 || code > 599 {
			return fmt.Errorf("%s %s: expected status %d is not a final one", r.Method, r.Path, code)
		}
		if expect == record.Deny && code < 300 {
			return fmt.Errorf("%s %s: must be denied, yet status %d is expected", r.Method, r.Path, code)
		}
	}
	for name, value := range r.Header {
		if !isToken(name) {
			return fmt.Errorf("%s %s: %q is no name of a header", r.Method, r.Path, name)
		}
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return fmt.Errorf("%s %s: header %s holds a control character", r.Method, r.Path, name)
		}
	}
	// The standard library knows best what a valid method and URL are.
	if _, err := http.NewRequest(r.Method, "http://host"+r.Path, nil); err != nil {
		return err
	}
	return nil
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}
