package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// ReferencePlan is what the independent client does. Hit k has the intended time
// Base + Start + (k+1)/Rate, as in a Plan.
type ReferencePlan struct {
	URL     string        // scheme and host; http only
	Base    time.Time     // of the trial, with its monotonic reading
	Start   time.Duration // of its schedule, from Base
	Rate    float64       // requests a second; low, it is a reference and no load
	Hits    uint64
	Timeout time.Duration // of a request, from its intended time

	Fresh float64 // share of the requests that take a new connection, 0..1

	Requests []Request // used in turn; one with the expectation Deny must be denied
}

// Names of the reference client's streams.
const (
	ReferenceFresh = "reference-new"
	ReferenceReuse = "reference-keepalive"
)

// RunReference sends requests with a client that shares nothing with Run: its own
// schedule, its own connections, a request written by hand, and its own judgement, which
// knows success and three ways to miss it. What Run gets wrong it does not get wrong in
// the same way. It returns when every request has its fate or, when ctx ends, once those
// under way have theirs; it calls sink from one goroutine.
//
// A kept connection that the server has closed in the meantime is not used again, as in
// any client that watches its idle connections; one that ends under a request is a
// failure, and is not retried.
func RunReference(ctx context.Context, w ReferencePlan, sink func(record.Sample)) error {
	u, err := url.Parse(w.URL)
	switch {
	case err != nil:
		return fmt.Errorf("reference: %w", err)
	case u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("reference: url %q: want http://host:port", w.URL)
	case !(w.Fresh >= 0 && w.Fresh <= 1):
		return fmt.Errorf("reference: share of new connections %v is not in [0, 1]", w.Fresh)
	case w.Base.IsZero() || !(w.Rate > 0) || w.Timeout <= 0 || len(w.Requests) == 0:
		return fmt.Errorf("reference: base, rate %v, timeout %v and requests (%d) must be set",
			w.Rate, w.Timeout, len(w.Requests))
	}
	for i := range w.Requests {
		expect := w.Requests[i].Expect
		if expect == "" {
			expect = record.Serve
		}
		if err := w.Requests[i].validate(expect); err != nil {
			return fmt.Errorf("reference: %w", err)
		}
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	v := &reference{plan: &w, host: u.Host, addr: addr}
	out := newMailbox(sink)
	var flying sync.WaitGroup
	for k := range w.Hits {
		due := w.Base.Add(w.Start + time.Duration(float64(k+1)/w.Rate*float64(time.Second)))
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

// reference is the independent client.
type reference struct {
	plan       *ReferencePlan
	host, addr string

	mu   sync.Mutex
	kept []*keptConn
}

// testimony is what the reference client saw of one answer.
type testimony struct {
	status             int
	bytes              int64
	body               bool // it was the wanted one, and whole
	instance, revision string
	reason             string
	reusable           bool
}

// turn says whether request k takes a new connection, and how many of its kind came
// before it.
func (w *ReferencePlan) turn(k uint64) (fresh bool, before uint64) {
	earlier := uint64(math.Ceil(float64(k) * w.Fresh))
	if uint64(math.Ceil(float64(k+1)*w.Fresh)) > earlier {
		return true, earlier
	}
	return false, k - earlier
}

func (v *reference) send(k uint64, due time.Time) record.Sample {
	fresh, before := v.plan.turn(k)
	r := &v.plan.Requests[before%uint64(len(v.plan.Requests))]
	s := record.Sample{
		Seq:      k,
		Stream:   ReferenceReuse,
		Expect:   r.Expect,
		Intended: due.Sub(v.plan.Base),
		Sent:     time.Since(v.plan.Base),
		Attempts: 1,
	}
	if fresh {
		s.Stream = ReferenceFresh
	}
	if s.Expect == "" {
		s.Expect = record.Serve
	}
	t, err := v.converse(r, fresh, due.Add(v.plan.Timeout))
	s.Done = time.Since(v.plan.Base)
	s.Status, s.Bytes, s.Instance, s.Revision, s.Reason = t.status, t.bytes, t.instance, t.revision, t.reason
	switch {
	case err != nil:
		s.Class, s.Reason = record.Other, errorText(err)
	case s.Done-s.Intended > v.plan.Timeout:
		s.Class = record.Timeout
	case !v.expected(r, s.Expect, t.status):
		s.Class = record.HTTPStatus(t.status)
	case !t.body:
		s.Class = record.WrongBody
	default:
		s.Class = record.OK
	}
	return s
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

// converse sends the request on one connection and reads the whole answer. An error
// means that there was no whole answer.
func (v *reference) converse(r *Request, fresh bool, deadline time.Time) (t testimony, err error) {
	var c *keptConn
	if !fresh {
		c = v.take()
	}
	if c == nil {
		conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", v.addr)
		if err != nil {
			return t, err
		}
		c = &keptConn{conn: conn, in: bufio.NewReader(conn)}
	}
	defer func() {
		if err == nil && t.reusable && !fresh {
			v.keep(c)
			return
		}
		if closeErr := c.conn.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := c.conn.SetDeadline(deadline); err != nil {
		return t, err
	}
	if _, err := c.conn.Write(v.write(r, fresh)); err != nil {
		return t, err
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return t, err
	}
	t.status = resp.StatusCode
	t.instance = resp.Header.Get(drivers.InstanceHeader)
	t.revision = resp.Header.Get(drivers.RevisionHeader)
	t.reason = resp.Header.Get(drivers.ReasonHeader)
	t.reusable = !resp.Close
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	t.bytes = int64(len(body))
	if err != nil {
		return t, err
	}
	if len(body) == maxBody {
		return t, errors.New("the body is too long for a reference")
	}
	t.body = r.AnyBody || string(body) == r.WantBody
	return t, nil
}

// write lays the request out as it goes over the wire.
func (v *reference) write(r *Request, fresh bool) []byte {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
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
	if len(r.Body) > 0 || method == http.MethodPost || method == http.MethodPut {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	if fresh {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	b.Write(r.Body)
	return b.Bytes()
}

// keptConn is a connection that waits for its next request. Somebody must read from it
// meanwhile, or its end would go unseen.
type keptConn struct {
	conn net.Conn
	in   *bufio.Reader
	idle chan error // what the reading ended with
}

// keep makes the connection available again.
func (v *reference) keep(c *keptConn) {
	c.idle = make(chan error, 1)
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		c.idle <- err
	} else {
		go func() {
			_, err := c.in.Peek(1)
			c.idle <- err
		}()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = append(v.kept, c)
}

// take returns a connection that was alive a moment ago, or nil.
func (v *reference) take() *keptConn {
	for {
		v.mu.Lock()
		n := len(v.kept)
		if n == 0 {
			v.mu.Unlock()
			return nil
		}
		c := v.kept[n-1]
		v.kept = v.kept[:n-1]
		v.mu.Unlock()
		if c.wake() {
			return c
		}
		// Its end was seen already; there is nothing to learn from closing it.
		_ = c.conn.Close()
	}
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

func (v *reference) closeKept() {
	for c := v.take(); c != nil; c = v.take() {
		_ = c.conn.Close() // idle: nothing is lost with it
	}
}
