package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// maxBody is how much of a body that is wrong already is read, in bytes.
const maxBody = 1 << 20

// call is a Request made ready to be sent any number of times.
type call struct {
	method   string
	url      *url.URL
	host     string
	header   http.Header // shared by every request; the transport only reads it
	body     []byte
	expect   record.Expectation
	statuses []int
	want     []byte
	anyBody  bool
}

func newCall(base *url.URL, r *Request, expect record.Expectation) (*call, error) {
	if err := r.validate(expect); err != nil {
		return nil, err
	}
	ref, err := url.Parse(r.Path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", r.Path, err)
	}
	c := &call{
		method:   r.Method,
		url:      base.ResolveReference(ref),
		header:   http.Header{"User-Agent": {"rollout-lab"}},
		body:     r.Body,
		expect:   expect,
		statuses: r.Statuses,
		want:     []byte(r.WantBody),
		anyBody:  r.AnyBody,
	}
	for name, value := range r.Header {
		if http.CanonicalHeaderKey(name) == "Host" {
			c.host = value
			continue
		}
		c.header.Set(name, value)
	}
	if len(c.statuses) == 0 {
		c.statuses = []int{http.StatusOK}
		if expect == record.Deny {
			c.statuses = []int{http.StatusUnauthorized, http.StatusForbidden}
		}
	}
	return c, nil
}

func newCalls(base *url.URL, requests []Request, expect record.Expectation) (calls []*call, err error) {
	for i := range requests {
		c, err := newCall(base, &requests[i], expect)
		if err != nil {
			return nil, err
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// request builds a request that the transport cannot send a second time: Go's repeats
// what has no body, or one that GetBody can bring back, when a reused connection ends
// before the answer begins, and says nothing. So every request has a body that was made
// by nobody the transport knows. An empty one must be declared as identity coding:
// its length counts as unknown then, and it would be sent in chunks, or be probed for
// by a goroutine of its own in every GET.
func (c *call) request(ctx context.Context) *http.Request {
	req := &http.Request{
		Method:        c.method,
		URL:           c.url,
		Host:          c.host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        c.header,
		Body:          io.NopCloser(bytes.NewReader(c.body)),
		ContentLength: int64(len(c.body)),
	}
	if len(c.body) == 0 {
		req.TransferEncoding = []string{"identity"}
	}
	return req.WithContext(ctx)
}

// headerNames says where an answer names itself.
type headerNames struct {
	instance         []string
	revision, reason string
	ours             bool // answers come by way of the lab's own balancer
}

func newHeaderNames(instance []string, revision, reason string) headerNames {
	if len(instance) == 0 {
		instance = []string{drivers.InstanceHeader, drivers.EndpointHeader}
	}
	if revision == "" {
		revision = drivers.RevisionHeader
	}
	if reason == "" {
		reason = drivers.ReasonHeader
	}
	return headerNames{instance: instance, revision: revision, reason: reason}
}

// exchange sends one request and follows it to its end, which comes by the deadline; behind
// says that it is sent late. It fills in what the sample says of the answer.
func exchange(ctx context.Context, rt http.RoundTripper, c *call, names *headerNames, deadline time.Time, behind bool, s *record.Sample) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()

	var taken takenConns
	taken.again = cancel
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: taken.got})

	o := outcome{statuses: c.statuses, behind: behind, ours: names.ours}
	resp, err := rt.RoundTrip(c.request(ctx))
	if err == nil {
		s.Status = resp.StatusCode
		for _, name := range names.instance {
			if s.Instance = resp.Header.Get(name); s.Instance != "" {
				break
			}
		}
		s.Revision = resp.Header.Get(names.revision)
		o.said = resp.Header.Get(names.reason)
		// Behind 101 is another protocol, which no deadline of the transport's ends.
		if resp.StatusCode != http.StatusSwitchingProtocols {
			s.Bytes, o.bodyOK, err = readBody(resp.Body, c)
		}
		// The body was read to its end or is of no use any more.
		resp.Body.Close()
	}
	o.err, o.status = err, s.Status
	o.late = time.Now().After(deadline)
	s.Attempts = int(taken.count.Load())
	o.retried = s.Attempts > 1
	if err != nil || o.retried {
		o.began, o.connErr = taken.evidence()
	}
	s.Class, s.Reason = classify(&o)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

// readBody reads the whole body and reports its length and whether it is the wanted
// one. It keeps nothing of it.
func readBody(r io.Reader, c *call) (n int64, ok bool, err error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	rest, same := c.want, true
	for {
		m, err := r.Read(*buf)
		n += int64(m)
		if !c.anyBody && same {
			if same = bytes.HasPrefix(rest, (*buf)[:m]); same {
				rest = rest[m:]
			}
		}
		switch {
		case err == io.EOF: // not a wrapped one, which would be a failure
			return n, c.anyBody || same && len(rest) == 0, nil
		case err != nil:
			return n, false, err
		case !c.anyBody && !same && n > maxBody:
			return n, false, nil
		}
	}
}

// takenConns counts the connections that the transport takes for one request. The second
// one is a retry that nobody asked for: its connection is closed before the request can
// be written to it.
type takenConns struct {
	count atomic.Int32
	again context.CancelFunc

	mu    sync.Mutex
	first *watchedConn
	had   int64 // bytes that first had received before this request
}

func (t *takenConns) got(info httptrace.GotConnInfo) {
	if t.count.Add(1) > 1 {
		// An error of closing a connection that is given up tells nothing.
		_ = info.Conn.Close()
		t.again()
		return
	}
	if c, ok := info.Conn.(*watchedConn); ok {
		t.mu.Lock()
		t.first = c
		t.had, _ = c.seen()
		t.mu.Unlock()
	}
}

// evidence says whether the first connection received anything for this request, and
// what it ended with, nil when it did not end.
func (t *takenConns) evidence() (began bool, ended error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		return false, nil
	}
	received, ended := t.first.seen()
	return received > t.had, ended
}

// watchedConn remembers how much came over its connection and what it ended with: the
// transport turns that into errors of its own that cannot be told apart.
type watchedConn struct {
	net.Conn

	mu       sync.Mutex
	received int64
	err      error // the first one
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(n, err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.note(0, err)
	}
	return n, err
}

func (c *watchedConn) note(received int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received += int64(received)
	// Closing from this side is no news.
	if err != nil && c.err == nil && !errors.Is(err, net.ErrClosed) {
		c.err = err
	}
}

func (c *watchedConn) seen() (received int64, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.received, c.err
}

// newTransport returns a transport for one stream, or for one turn of it. It keeps as many idle connections as
// there can be requests in flight, for as long as it lives: one that dropped some would
// measure its own dialling.
func newTransport(reuse bool, idle int, timeout time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: timeout}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: conn}, nil
		},
		DisableKeepAlives:      !reuse,
		DisableCompression:     true, // the body is compared as it was sent
		MaxIdleConnsPerHost:    idle,
		MaxResponseHeaderBytes: 1 << 20, // as much as the lab's balancer passes on
		Protocols:              &protocols,
	}
}
