package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unique"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// headStart is how long before the schedule's start the workers are made.
const headStart = 20 * time.Millisecond

// Run fires the plan's hits and returns when what became of each is known. It calls sink from
// one goroutine, once for each fired hit, in the order in which they ended; a slow sink
// delays no request and loses none, it costs memory. When ctx ends no further hit is
// fired, those under way are followed to their end, which takes up to the plan's timeout, and
// the error is nil: Fired says how far it went. It is an error when Run is called later
// than the load's start by more than the timeout, when a hit was lost, doubled or out of
// range, and when the process may not open enough files (a LimitError). The plan's End is
// no end of ctx: every hit that was due before it is fired.
//
// The CPU time in the summary is that of the whole process, so one Run at a time.
func Run(ctx context.Context, p Plan, sink func(record.Sample)) (Summary, error) {
	if err := p.Validate(); err != nil {
		return Summary{}, fmt.Errorf("load: %w", err)
	}
	demand := p.demand()
	if err := demand.Prepare(); err != nil {
		return Summary{}, fmt.Errorf("load: %w", err)
	}
	workers := demand.workers()
	c, err := newClient(ctx, &p, int(workers))
	if err != nil {
		return Summary{}, fmt.Errorf("load: %w", err)
	}
	defer c.close()

	origin := p.Base.Add(p.Start)
	if late := time.Since(origin); late > p.Timeout {
		return Summary{}, fmt.Errorf("load: asked to start %v ago, later than the timeout of %v allows", late, p.Timeout)
	}
	summary := Summary{T0: p.Start, Workers: workers}
	if !waitUntil(ctx, origin.Add(-headStart)) {
		return summary, nil
	}
	before, err := Usage()
	if err != nil {
		return summary, fmt.Errorf("load: %w", err)
	}

	audit := newAudit(p.Hits)
	c.out = newMailbox(func(s record.Sample) {
		audit.see(&s)
		// The strings are parts of whole header blocks, which must not live as long as
		// the samples do.
		s.Instance = unique.Make(s.Instance).Value()
		s.Revision = unique.Make(s.Revision).Value()
		s.Reason = unique.Make(s.Reason).Value()
		sink(s)
	})
	pace := &pacer{
		ctx: ctx, schedule: c.schedule, origin: origin, hits: p.Hits, end: p.End, start: p.Start,
		precise: sleepsPrecisely && p.Rate <= precisePacing, sleep: sleep,
	}
	results, complaint := fire(c, pace, p.URL, workers)
	c.out.close()

	summary.Fired, summary.Retried = audit.seen, audit.retried
	after, err := Usage()
	if err != nil {
		return summary, fmt.Errorf("load: %w", err)
	}
	summary.CPU = after.CPU - before.CPU
	summary.Cost = record.Cost{CPU: summary.CPU, Children: after.Children - before.Children, MaxRSS: after.MaxRSS}

	if err := errors.Join(audit.check(pace.released, results, ctx.Err() == nil && !pace.ended), complaint); err != nil {
		return summary, fmt.Errorf("load: %w", err)
	}
	return summary, nil
}

// fire lets vegeta run the attack and returns how many results it counted, and the
// first thing that it complained about.
func fire(c *client, pace *pacer, target string, workers uint64) (uint64, error) {
	attacker := vegeta.NewAttacker(
		vegeta.Client(&http.Client{Transport: c}),
		vegeta.Workers(min(workers, 64)),
		vegeta.MaxWorkers(workers),
	)
	targeter := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: target})
	var count uint64
	var complaint error
	for r := range attacker.Attack(targeter, pace, 0, "") {
		count++
		if r.Error != "" && complaint == nil {
			complaint = fmt.Errorf("vegeta: hit %d: %s", r.Seq, r.Error)
		}
	}
	return count, complaint
}

// client sends the hits. vegeta believes it to be the transport of its client: it learns
// the number of a hit from vegeta's header, sends what the schedule has for that number,
// hands the sample over and gives vegeta an empty answer.
type client struct {
	ctx      context.Context // for values only, it never ends: a hit that was fired is followed to its end
	base     time.Time
	origin   time.Time
	timeout  time.Duration
	schedule *schedule
	streams  []streamClient
	names    headerNames
	out      *mailbox[record.Sample]
}

// streamClient is a stream made ready to be sent.
type streamClient struct {
	name       string
	transports []transport // take turns; there is at least one
	requests   []*call
	denials    []*call
}

// transport is the one whose turn it is at hit n of the stream.
func (s *streamClient) transport(n uint64) transport {
	return s.transports[n%uint64(len(s.transports))]
}

func newClient(ctx context.Context, p *Plan, idle int) (*client, error) {
	base, err := url.Parse(p.URL)
	if err != nil {
		return nil, err
	}
	names := newHeaderNames(p.InstanceHeaders, p.RevisionHeader, p.ReasonHeader)
	names.ours = p.LabBalancer
	c := &client{
		ctx:      context.WithoutCancel(ctx),
		base:     p.Base,
		origin:   p.Base.Add(p.Start),
		timeout:  p.Timeout,
		schedule: newSchedule(p),
		names:    names,
	}
	for i := range p.Streams {
		s := &p.Streams[i]
		sc := streamClient{name: s.Name}
		for range max(s.Connections, 1) {
			t, err := transportFor(p.Wire, p.Trace, s.Reuse, idle, p.Timeout)
			if err != nil {
				return nil, fmt.Errorf("stream %s: %w", s.Name, err)
			}
			sc.transports = append(sc.transports, t)
		}
		requests, err := newCalls(base, s.Requests, record.Serve)
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", s.Name, err)
		}
		denials, err := newCalls(base, s.Denials, record.Deny)
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", s.Name, err)
		}
		sc.requests, sc.denials = requests, denials
		c.streams = append(c.streams, sc)
	}
	return c, nil
}

func (c *client) close() {
	for _, s := range c.streams {
		for _, t := range s.transports {
			t.CloseIdleConnections()
		}
	}
}

// RoundTrip implements http.RoundTripper for vegeta's client.
func (c *client) RoundTrip(req *http.Request) (*http.Response, error) {
	k, err := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("number of the hit: %w", err)
	}
	c.send(k)
	return &http.Response{
		Status: "204 No Content", StatusCode: http.StatusNoContent,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody, Request: req,
	}, nil
}

// send sends hit k and hands over its sample.
func (c *client) send(k uint64) {
	of, n := c.schedule.place(k)
	denied, i := c.schedule.ask(of, n)
	stream := &c.streams[of]
	calls := stream.requests
	if denied {
		calls = stream.denials
	}
	due := c.origin.Add(c.schedule.due(k))
	deadline := due.Add(c.timeout)
	sent := time.Now()
	s := record.Sample{Seq: k, Stream: stream.name, Request: i, Expect: calls[i].expect, Intended: due.Sub(c.base), Sent: sent.Sub(c.base)}
	if sent.After(deadline) {
		s.Class, s.Reason = classify(&outcome{overdue: true})
	} else {
		behind := sent.Sub(due) > mostLag(c.timeout)
		exchange(c.ctx, stream.transport(n), calls[i], &c.names, deadline, behind, &s)
	}
	s.Done = time.Since(c.base)
	c.out.put(s)
}

// audit checks that every number comes exactly once. It remembers only the numbers above
// the first gap, which are at most as many as there were requests in flight.
type audit struct {
	hits    uint64
	next    uint64 // every number below was seen
	above   map[uint64]struct{}
	seen    uint64
	retried uint64
	err     error
}

func newAudit(hits uint64) *audit { return &audit{hits: hits, above: make(map[uint64]struct{})} }

func (a *audit) see(s *record.Sample) {
	a.seen++
	if s.Attempts > 1 {
		a.retried++
	}
	_, twice := a.above[s.Seq]
	switch {
	case s.Seq >= a.hits:
		a.fail(fmt.Errorf("hit %d is out of range, there are %d", s.Seq, a.hits))
		return
	case twice || s.Seq < a.next:
		a.fail(fmt.Errorf("hit %d came twice", s.Seq))
		return
	}
	a.above[s.Seq] = struct{}{}
	for {
		if _, ok := a.above[a.next]; !ok {
			return
		}
		delete(a.above, a.next)
		a.next++
	}
}

func (a *audit) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// check is called after the last sample, with the hits that the pacer let go, the
// results that vegeta counted, and whether the schedule was allowed to end.
func (a *audit) check(released, results uint64, complete bool) error {
	switch {
	case a.err != nil:
		return a.err
	case len(a.above) > 0:
		return fmt.Errorf("hit %d was lost, %d later ones were not", a.next, len(a.above))
	case released != a.seen || results != a.seen:
		return fmt.Errorf("%d hits were let go, vegeta counted %d and %d had a sample", released, results, a.seen)
	case complete && a.seen != a.hits:
		return fmt.Errorf("fired %d hits of %d, and nobody stopped it", a.seen, a.hits)
	}
	return nil
}

// waitUntil reports whether the time came before ctx ended.
func waitUntil(ctx context.Context, t time.Time) bool {
	if ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
