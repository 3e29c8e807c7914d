package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// ReferencePlan is what the reference client does. It samples what a Plan sends: the same
// streams by the same weights, and as large a share of requests that must be denied. They are
// due at the times of a Poisson process, the same ones in every run: only such arrivals see
// what is true on average (Wolff, 1982), and any even spacing falls into step with whoever
// takes turns.
type ReferencePlan struct {
	URL     string        // scheme and host: https where the wire has TLS, else http
	Wire    drivers.Wire  // how it is spoken to
	Base    time.Time     // of the trial, with its monotonic reading
	Start   time.Duration // of its schedule, from Base
	Length  time.Duration // of the schedule
	Rate    float64       // mean of the requests a second; low, it is a reference and no load
	Timeout time.Duration // of a request, from its intended time

	Deny        float64 // share of the requests that must be denied, 0..1
	Streams     []Stream
	LabBalancer bool // as in Plan
	Connections int  // kept connections that are used in turn; 0 means DefaultReferenceConnections
}

// DefaultReferenceConnections is on how many connections the reference client's requests go
// that keep theirs, so that a balancer of connections spreads them.
const DefaultReferenceConnections = 8

// plan is the load that the reference client samples.
func (w *ReferencePlan) plan() *Plan {
	return &Plan{URL: w.URL, Wire: w.Wire, Base: w.Base, Start: w.Start, Rate: w.Rate, Hits: 1, Timeout: w.Timeout, Deny: w.Deny, Streams: w.Streams}
}

// RunReference sends requests with a client that shares nothing with Run but what it asks
// for: its own times, its own connections, requests written by hand (of HTTP/2 too, frame by
// frame, where Run leaves all to net/http), and its own judgement, which knows success, a few
// ways to miss it, and trouble of its own machine. What Run gets wrong it does not get wrong
// in the same way. It returns when every request has its outcome
// or, when ctx ends, once those under way have theirs; it calls sink from one goroutine.
//
// A kept connection that the server has closed in the meantime is not used again, as in
// any client that watches its idle connections; one that ends under a request is a
// failure, and is not retried.
func RunReference(ctx context.Context, w ReferencePlan, sink func(record.Sample)) error {
	p := w.plan()
	if err := p.Validate(); err != nil {
		return fmt.Errorf("reference client: %w", err)
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return fmt.Errorf("reference client: %w", err)
	}
	v := &reference{plan: &w, schedule: newSchedule(p), host: u.Host, addr: u.Host}
	if u.Port() == "" {
		v.addr = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	if v.tls, err = w.Wire.ClientConfig(); err != nil {
		return fmt.Errorf("reference client: %w", err)
	}
	if v.tls != nil && v.tls.ServerName == "" {
		v.tls.ServerName = u.Hostname()
	}
	out := newMailbox(sink)
	var flying sync.WaitGroup
	for k, after := range w.due() {
		due := w.Base.Add(w.Start + after)
		if !waitUntil(ctx, due) {
			break
		}
		flying.Go(func() { out.put(v.send(k, due)) })
	}
	flying.Wait()
	out.close()
	v.closeKept()
	return nil
}

// due yields the requests and when they are due, from the start of the schedule.
func (w *ReferencePlan) due() iter.Seq2[uint64, time.Duration] {
	return func(yield func(uint64, time.Duration) bool) {
		at := 0.0 // seconds
		for k := uint64(0); ; k++ {
			share := (float64(hash(k)>>11) + 1) / (1 << 53) // in (0, 1]
			at -= math.Log(share) / w.Rate
			if after := time.Duration(at * float64(time.Second)); after >= w.Length || !yield(k, after) {
				return
			}
		}
	}
}

// reference is the independent client.
type reference struct {
	plan       *ReferencePlan
	schedule   *schedule
	host, addr string
	tls        *tls.Config // nil where it is not spoken

	mu   sync.Mutex
	open int       // kept connections that are idle or in use
	kept []refConn // the idle ones, the one that has waited longest first
}

// refConn is a connection of the reference client. One request at a time is on it.
type refConn interface {
	// send sends a request and reads the whole answer, by the deadline; last says that the
	// connection is closed behind it. An error means that there was no whole answer.
	send(v *reference, r *Request, last bool, deadline time.Time) (response, error)
	rest()      // it is kept: somebody has to notice when it ends
	wake() bool // it is wanted again; false when it has ended, or is about to
	Close() error
}

// response is what the reference client saw of one answer.
type response struct {
	status             int
	bytes              int64
	header             bool // it had those that it must have
	body               bool // it was the wanted one, and whole
	instance, revision string
	reason             string
	reusable           bool
}

func (v *reference) send(k uint64, due time.Time) record.Sample {
	n, denied, i := v.schedule.pick(k)
	stream := &v.plan.Streams[n]
	r, expect := &Request{}, record.Serve
	if denied {
		r, expect = &stream.Denials[i], record.Deny
	} else {
		r = &stream.Requests[i]
	}
	if r.Expect != "" {
		expect = r.Expect
	}
	s := record.Sample{
		Seq:      k,
		Stream:   stream.Name,
		Request:  i,
		Expect:   expect,
		Intended: due.Sub(v.plan.Base),
		Sent:     time.Since(v.plan.Base),
		Attempts: 1,
	}
	got, err := v.roundTrip(r, !stream.Reuse, due.Add(v.plan.Timeout))
	s.Done = time.Since(v.plan.Base)
	if r.Revocation != nil {
		s.Expect = r.Revocation.expect(v.plan.Base.Add(s.Sent), v.plan.Base.Add(s.Done))
	}
	s.Status, s.Bytes, s.Instance, s.Revision, s.Reason = got.status, got.bytes, got.instance, got.revision, got.reason
	s.Class = v.judged(r, &s, &got, err)
	if err != nil {
		s.Reason = errorText(err)
	}
	return s
}

// judged says what became of a request: its answer was as wanted or not, or there was no whole
// answer and err says why.
func (v *reference) judged(r *Request, s *record.Sample, got *response, err error) record.Class {
	switch took := s.Done - s.Intended; {
	case took >= v.plan.Timeout && s.Sent-s.Intended > mostLag(v.plan.Timeout):
		return record.Harness
	case err != nil:
		return referenceClass(err)
	case v.plan.LabBalancer && s.Status == http.StatusBadGateway && strings.HasPrefix(s.Reason, drivers.HarnessReason):
		return record.Harness
	case took > v.plan.Timeout:
		return record.Timeout
	case rightly(s.Expect, s.Status):
		return record.OK
	case !v.expected(r, s.Expect, s.Status), s.Expect == record.DenyRevoked:
		return record.HTTPStatus(s.Status)
	case !got.header:
		return record.WrongHeader
	case !got.body:
		return record.WrongBody
	default:
		return record.OK
	}
}

// referenceClass tells what the client's own machine lacks, and what a server refused without
// having looked at it, from every other failure.
func referenceClass(err error) record.Class {
	switch {
	case isAny(err, harnessErrors):
		return record.Harness
	case errors.Is(err, errNotProcessed):
		return record.RefusedRetryable
	}
	return record.Other
}

// expected judges the status.
func (v *reference) expected(r *Request, expect record.Expectation, status int) bool {
	switch {
	case len(r.Statuses) > 0:
		return slices.Contains(r.Statuses, status)
	case expect == record.Deny:
		return status == http.StatusUnauthorized || status == http.StatusForbidden
	default:
		return status == http.StatusOK
	}
}

// roundTrip sends the request on one connection and reads the whole answer. An error
// means that there was no whole answer.
func (v *reference) roundTrip(r *Request, fresh bool, deadline time.Time) (got response, err error) {
	var c refConn
	if !fresh {
		c = v.take()
	}
	if c == nil {
		if c, err = v.dial(deadline); err != nil {
			return got, err
		}
		if !fresh {
			v.count(+1)
		}
	}
	got, err = c.send(v, r, fresh, deadline)
	if err == nil && got.reusable && !fresh {
		v.keep(c)
		return got, nil
	}
	if !fresh {
		v.count(-1)
	}
	if closeErr := c.Close(); err == nil && v.tls == nil {
		err = closeErr // that of TLS tells only that the other side was quicker
	}
	return got, err
}

// dial opens a connection, and speaks TLS on it where that is spoken.
func (v *reference) dial(deadline time.Time) (refConn, error) {
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", v.addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(deadline); err != nil {
		_ = conn.Close() // there is nothing on it
		return nil, err
	}
	if v.tls != nil {
		secured := tls.Client(conn, v.tls)
		if err := secured.Handshake(); err != nil {
			_ = conn.Close() // why it failed says more
			return nil, fmt.Errorf("handshake of TLS: %w", err)
		}
		conn = secured
	}
	if v.plan.Wire.Multiplexed() {
		return newFrameConn(conn)
	}
	return &keptConn{conn: conn, in: bufio.NewReader(conn)}, nil
}

func (c *keptConn) Close() error { return c.conn.Close() }

// send writes a request of HTTP/1.1.
func (c *keptConn) send(v *reference, r *Request, last bool, deadline time.Time) (got response, err error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return got, err
	}
	if _, err := c.conn.Write(v.write(r, last)); err != nil {
		return got, err
	}
	resp, err := c.answer(cmp.Or(r.Method, http.MethodGet))
	if err != nil {
		return got, err
	}
	got.status = resp.StatusCode
	got.head(r, resp.Header.Get)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return got, nil // what follows is no answer to this request
	}
	got.reusable = !resp.Close
	// As much as tells the body from the wanted one is kept, and all of it is read.
	var body bytes.Buffer
	read, err := io.Copy(&body, io.LimitReader(resp.Body, r.enough()))
	if err == nil {
		var rest int64
		rest, err = io.Copy(io.Discard, resp.Body)
		read += rest
	}
	got.bytes = read
	if err != nil {
		return got, err
	}
	got.body = r.wanted(body.Bytes())
	return got, nil
}

// head takes from an answer's header what the client looks at.
func (got *response) head(r *Request, get func(name string) string) {
	got.instance, got.revision, got.reason = get(drivers.InstanceHeader), get(drivers.RevisionHeader), get(drivers.ReasonHeader)
	got.header = true
	for name, value := range r.WantHeader {
		got.header = got.header && get(name) == value
	}
}

// enough is how many bytes of a body tell whether it is the wanted one.
func (r *Request) enough() int64 {
	if r.Match != nil {
		return maxBody
	}
	return int64(len(r.WantBody)) + 1
}

// wanted judges a body by its first bytes, as many as are enough.
func (r *Request) wanted(body []byte) bool {
	switch {
	case r.AnyBody:
		return true
	case r.Match != nil:
		return r.Match.Match(body)
	}
	return string(body) == r.WantBody
}

// answer reads an answer's head. What comes before the answer itself (100, 102, 103) is
// skipped, as in any client.
func (c *keptConn) answer(method string) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
		if err != nil || resp.StatusCode >= http.StatusOK || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
}

// write lays the request out as it goes over the wire.
func (v *reference) write(r *Request, fresh bool) []byte {
	method := cmp.Or(r.Method, http.MethodGet)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, strings.ReplaceAll(r.Path, " ", "%20"))
	host := v.host
	for name, value := range r.Header {
		if http.CanonicalHeaderKey(name) == "Host" {
			host = value
			continue
		}
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	fmt.Fprintf(&b, "Host: %s\r\nUser-Agent: rollout-lab-reference\r\n", host)
	if r.tellsLength() {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	if fresh {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	b.Write(r.Body)
	return b.Bytes()
}

// tellsLength says whether a request has the length of its body among its headers: where there
// is a body, or where one is usual.
func (r *Request) tellsLength() bool {
	return len(r.Body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
}

// keptConn is a connection that waits for its next request. Somebody must read from it
// meanwhile, or its end would go unseen.
type keptConn struct {
	conn net.Conn
	in   *bufio.Reader
	idle chan error // what the reading ended with
}

// rest begins to read, so that the connection's end is seen.
func (c *keptConn) rest() {
	c.idle = make(chan error, 1)
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		c.idle <- err
		return
	}
	go func() {
		_, err := c.in.Peek(1)
		c.idle <- err
	}()
}

// keep makes the connection available again.
func (v *reference) keep(c refConn) {
	c.rest()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = append(v.kept, c)
}

// count takes note of kept connections that come and go.
func (v *reference) count(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open += n
}

// take returns the connection that has waited longest and was alive a moment ago, or nil when
// another one is to be opened.
func (v *reference) take() refConn {
	for {
		c := v.next()
		if c == nil || c.wake() {
			return c
		}
		// Its end was seen already; there is nothing to learn from closing it.
		_ = c.Close()
		v.count(-1)
	}
}

func (v *reference) next() refConn {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.kept) == 0 || v.open < cmp.Or(v.plan.Connections, DefaultReferenceConnections) {
		return nil
	}
	c := v.kept[0]
	v.kept = v.kept[1:]
	return c
}

// wake ends the idle reading and reports whether nothing had happened in it: the only
// reason for which it may have ended is the deadline that is set here.
func (c *keptConn) wake() bool {
	if err := c.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return false
	}
	var timeout net.Error
	return errors.As(<-c.idle, &timeout) && timeout.Timeout()
}

// closeKept closes the idle connections: nothing is lost with them.
func (v *reference) closeKept() {
	v.mu.Lock()
	kept := v.kept
	v.kept = nil
	v.mu.Unlock()
	for _, c := range kept {
		c.wake() // or its reading would outlive it
		_ = c.Close()
	}
}
