package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

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
	headers  map[string]string // that the answer must have
	want     []byte
	match    *regexp.Regexp // nil means that the body need match nothing
	anyBody  bool

	revocation *Revocation
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
		headers:  r.WantHeader,
		want:     []byte(r.WantBody),
		match:    r.Match,
		anyBody:  r.AnyBody,

		revocation: r.Revocation,
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
// by a goroutine of its own in every GET. Servers want to be told of an empty body where
// one is usual, which takes one that is known to be empty: of such methods only what was not
// sent at all is repeated, and its second connection is seen (takenConns). HTTP/2 repeats
// nothing here (multiplexed), and says of an empty body that it is one.
func (c *call) request(ctx context.Context, multiplexed bool) *http.Request {
	req := &http.Request{
		Method:        c.method,
		URL:           c.url,
		Host:          c.host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        c.header,
		ContentLength: int64(len(c.body)),
	}
	switch {
	case len(c.body) > 0:
		req.Body = io.NopCloser(bytes.NewReader(c.body))
	case multiplexed || c.method == http.MethodPost || c.method == http.MethodPut || c.method == http.MethodPatch:
		req.Body = http.NoBody
	default:
		req.Body = io.NopCloser(bytes.NewReader(nil))
		req.TransferEncoding = []string{"identity"}
	}
	return req.WithContext(ctx)
}

// hasHeaders reports whether an answer has the headers that it must have.
func (c *call) hasHeaders(h http.Header) bool {
	for name, value := range c.headers {
		if h.Get(name) != value {
			return false
		}
	}
	return true
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
	sent := time.Now()
	_, multiplexed := rt.(*multiplexed)
	resp, err := rt.RoundTrip(c.request(ctx, multiplexed))
	if err == nil {
		s.Status = resp.StatusCode
		o.badHeader = !c.hasHeaders(resp.Header)
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
	now := time.Now()
	o.late = now.After(deadline)
	if c.revocation != nil {
		s.Expect = c.revocation.expect(sent, now)
		o.revoked = s.Expect
	}
	s.Attempts = int(taken.count.Load())
	o.retried = s.Attempts > 1
	if err != nil || o.retried {
		taken.evidence(&o)
	}
	way := taken.way(err)
	if o.nowhere = way.Reason; s.Instance == "" {
		s.Instance = way.Instance
	}
	s.Class, s.Reason = classify(&o)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

// readBody reads the whole body and reports its length and whether it is the wanted
// one. It keeps nothing of it.
func readBody(r io.Reader, c *call) (n int64, ok bool, err error) {
	if c.match != nil {
		return matchBody(r, c.match)
	}
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

// matchBody reads the whole body and reports whether the pattern matches somewhere in its
// first maxBody bytes.
func matchBody(r io.Reader, pattern *regexp.Regexp) (n int64, ok bool, err error) {
	kept := texts.Get().(*bytes.Buffer)
	defer texts.Put(kept)
	kept.Reset()
	n, err = io.Copy(kept, io.LimitReader(r, maxBody))
	if err == nil {
		var rest int64
		rest, err = io.Copy(io.Discard, r)
		n += rest
	}
	return n, err == nil && pattern.Match(kept.Bytes()), err
}

var texts = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// takenConns counts the connections that the transport takes for one request. The second
// one is a retry that nobody asked for: its connection is closed before the request can
// be written to it.
type takenConns struct {
	count atomic.Int32
	again context.CancelFunc

	mu     sync.Mutex
	first  *watchedConn
	had    int64      // bytes that first had received before this request
	stream *muxStream // instead, with HTTP/2
}

func (t *takenConns) got(info httptrace.GotConnInfo) {
	if t.count.Add(1) > 1 {
		// An error of closing a connection that is given up tells nothing.
		_ = info.Conn.Close()
		t.again()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch c := info.Conn.(type) {
	case *watchedConn:
		t.first = c
		t.had, _ = c.seen()
	case *muxStream:
		t.stream = c
	}
}

// evidence says whether the first connection received anything for this request, what it
// ended with, if it did, and what else it says of a request that failed.
func (t *takenConns) evidence(o *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.stream != nil:
		o.began, o.unprocessed = t.stream.began.Load(), t.stream.refused()
		_, o.connErr = t.stream.watch.seen()
		if t.stream.watch.leaving() {
			o.leave = "the server took its leave: GOAWAY, " + http2.ErrCode(t.stream.watch.code.Load()).String()
		}
	case t.first != nil:
		var received int64
		received, o.connErr = t.first.seen()
		o.began = received > t.had
	}
}

// way is where a balancer that passes connections on has sent the request's, as far as that is
// known; err is what sending it failed with.
func (t *takenConns) way(err error) drivers.Way {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failed *handshakeError
	switch {
	case t.stream != nil:
		return t.stream.watch.way()
	case t.first != nil:
		return t.first.way()
	case errors.As(err, &failed):
		return failed.way
	}
	return drivers.Way{}
}
