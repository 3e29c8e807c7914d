package fault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/target"
	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/relay"
)

// injectOutage takes a dependency away: the runtime ends it, or the relay in front of it lets
// nobody through.
func injectOutage(ctx context.Context, f scenarios.Fault, into Target) (drivers.Injection, error) {
	if f.Mode == scenarios.KillNoBack {
		return byDriver(ctx, f, into)
	}
	return spoil(ctx, relay.Trouble{Kind: relay.Kind(f.Mode)}, f.Service, into)
}

// injectNetwork makes connections to a dependency bad.
func injectNetwork(ctx context.Context, f scenarios.Fault, into Target) (drivers.Injection, error) {
	t := relay.Trouble{Kind: relay.Kind(f.Toxic), Latency: f.Latency, Jitter: f.Jitter, Rate: f.Rate}
	return spoil(ctx, t, f.Service, into)
}

// spoil has the relay in front of a dependency make trouble.
func spoil(ctx context.Context, t relay.Trouble, service string, into Target) (drivers.Injection, error) {
	q := url.Values{"link": {service}, "kind": {string(t.Kind)}}
	if t.Kind == relay.Latency {
		q.Set("latency", t.Latency.String())
		q.Set("jitter", t.Jitter.String())
	}
	if t.Kind == relay.Bandwidth {
		q.Set("rate", fmt.Sprint(t.Rate))
	}
	heal := func(ctx context.Context) error {
		return post(ctx, into, target.RelayName, "/v1/heal?"+url.Values{"link": {service}}.Encode())
	}
	if err := post(ctx, into, target.RelayName, "/v1/trouble?"+q.Encode()); err != nil {
		return nil, errors.Join(err, heal(context.WithoutCancel(ctx)))
	}
	p := passage{trouble: t, service: service, of: into}
	for _, s := range into.Stack.Dependencies {
		if s.Name == service {
			p.port = s.Ports[0]
		}
	}
	p.since, _ = p.counts(ctx) // only told of
	return done{p.proof, heal}, nil
}

// passage is a way through a relay that is told to be bad, and is looked at with a connection of
// the lab's own.
type passage struct {
	trouble relay.Trouble
	service string
	port    string // of the service, where it is reached without the relay
	of      Target
	since   relay.LinkStatus
}

func (p *passage) counts(ctx context.Context) (relay.LinkStatus, error) {
	all := map[string]relay.LinkStatus{}
	err := operate(ctx, p.of, target.RelayName, "GET", "/v1/status", &all)
	return all[p.service], err
}

// Bounds on how long a connection of the lab's own waits for what does not come.
const (
	longest  = 600 * time.Millisecond
	someTime = 40 * time.Millisecond // for the pieces of an answer
	direct   = 3 * time.Second       // past the relay
)

// mostFill is how much a request for the proof of a bandwidth may carry, in its header.
const mostFill = 900 << 10

// cross sends a request to a port of a dependency, past the relay or through it.
func (p *passage) cross(ctx context.Context, service, port string, fill int, limit time.Duration) (crossing, error) {
	base, err := p.of.Env.Endpoint(ctx, service, port)
	if err != nil {
		return crossing{}, err
	}
	u, err := url.Parse(base)
	if err != nil {
		return crossing{}, err
	}
	c := cross(ctx, u.Host, fill, limit)
	return c, ctx.Err()
}

// adds is how much longer a request through the relay takes at least, and how much it carries so
// that this can be told.
func (p *passage) adds() (longer time.Duration, fill int) {
	const most = 0.6 // of what it should, for what a busy machine makes of it
	switch t := p.trouble; t.Kind {
	case relay.Latency:
		return min(time.Duration(most*float64(t.Latency-t.Jitter)), longest), 0
	case relay.Bandwidth:
		second := float64(t.Rate << 10) // bytes
		fill = min(int(second*longest.Seconds()), mostFill)
		return time.Duration(most * float64(fill) / second * float64(time.Second)), fill
	}
	return longest, 0
}

// proof sends a request through the relay, and one past it: on a busy machine, and by way of a
// forwarded port, that takes its time as well. What is sought is what only this trouble does.
func (p *passage) proof(ctx context.Context) (seen string, there bool, err error) {
	longer, fill := p.adds()
	past, err := p.cross(ctx, p.service, p.port, fill, direct)
	if err == nil && past.err != nil {
		err = fmt.Errorf("%s itself does not answer: %w", p.service, past.err)
	}
	if err != nil {
		return "", false, err
	}
	limit := past.took + longer
	c, err := p.cross(ctx, target.RelayName, p.service, fill, limit)
	if err != nil {
		return "", false, err
	}
	now, err := p.counts(ctx)
	if err != nil {
		return "", false, err
	}
	switch p.trouble.Kind {
	case relay.Refuse:
		// By way of a forwarded port nobody is refused; the connection ends.
		there = errors.Is(c.err, syscall.ECONNREFUSED) || c.ended()
	case relay.Reset:
		there = errors.Is(c.err, syscall.ECONNRESET) || c.ended()
	case relay.Slicer:
		there = c.err == nil && c.reads >= 3 && c.took-past.took >= someTime
	default:
		there = c.late
	}
	return agree(now.Trouble != nil && *now.Trouble == p.trouble, there, c.says(limit)+p.meanwhile(now))
}

// meanwhile says how much of the subject's came to the relay since the trouble began.
func (p *passage) meanwhile(now relay.LinkStatus) string {
	if p.trouble.Kind == relay.Refuse { // what is refused does not come
		return ""
	}
	return fmt.Sprintf("; the relay counts %d pieces sent and %d answered since", now.Sent.Chunks-p.since.Sent.Chunks, now.Answered.Chunks-p.since.Answered.Chunks)
}

// crossing is what became of a request through a relay.
type crossing struct {
	reads int // pieces that the answer came in
	took  time.Duration
	late  bool // not complete within the limit
	err   error
}

// ended says that the other side ended the connection before it had answered.
func (c crossing) ended() bool {
	return c.err != nil && !c.late && (errors.Is(c.err, io.EOF) || errors.Is(c.err, io.ErrUnexpectedEOF) || errors.Is(c.err, syscall.ECONNRESET) || errors.Is(c.err, syscall.EPIPE))
}

func (c crossing) says(limit time.Duration) string {
	switch {
	case c.late:
		return fmt.Sprintf("a connection through it: no answer within %v", limit.Round(time.Millisecond))
	case c.err != nil:
		return "a connection through it: " + got{err: c.err}.says()
	}
	return fmt.Sprintf("a connection through it: an answer in %d pieces after %v", c.reads, c.took.Round(time.Millisecond))
}

// cross sends one request and reads its answer to its end, in the pieces in which it comes; fill is
// how many bytes more it carries.
func cross(ctx context.Context, addr string, fill int, limit time.Duration) (c crossing) {
	begun := time.Now()
	defer func() {
		c.took = time.Since(begun)
		c.late = c.err != nil && isTimeout(c.err)
	}()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return crossing{err: err}
	}
	defer func() { _ = conn.Close() }() // what it has to say was read
	until, _ := ctx.Deadline()
	if err := conn.SetDeadline(until); err != nil {
		return crossing{err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	request := "GET / HTTP/1.1\r\nHost: " + addr + "\r\nConnection: close\r\n"
	if fill > 0 {
		request += "Fill: " + strings.Repeat("x", fill) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return crossing{err: err}
	}
	// The answer says where it ends: by way of a forwarded port the end of the connection takes long.
	in := &pieces{conn: conn}
	resp, err := http.ReadResponse(bufio.NewReader(in), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
	}
	return crossing{reads: in.n, err: err}
}

// pieces counts what comes at once.
type pieces struct {
	conn net.Conn
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	n, err := p.conn.Read(b)
	if n > 0 {
		p.n++
	}
	return n, err
}
