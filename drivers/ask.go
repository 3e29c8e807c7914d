package drivers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults of a Probe's fields that are 0.
const (
	DefaultProbeInterval = time.Second
	DefaultProbeTimeout  = time.Second
)

// maxProbeBody bounds what is read of an answer: a probe that is answered with an endless
// body must end.
const maxProbeBody = 64 << 10

// WithDefaults returns the probe with the fields filled in that are 0: kind none,
// interval and timeout of a second, rise and fall of 1, status 200, path /.
func (p Probe) WithDefaults() Probe {
	if p.Kind == "" {
		p.Kind = ProbeNone
	}
	if p.Interval == 0 {
		p.Interval = DefaultProbeInterval
	}
	if p.Timeout == 0 {
		p.Timeout = DefaultProbeTimeout
	}
	p.Rise, p.Fall = max(p.Rise, 1), max(p.Fall, 1)
	if p.Status == 0 {
		p.Status = http.StatusOK
	}
	if p.Path == "" {
		p.Path = "/"
	}
	return p
}

// Ask sends the probe once to addr (host:port), over a connection of its own, follows no
// redirect and tries nothing twice. It returns what was answered, for people, and an
// error unless that was what the probe expects within its timeout. Kind none always
// succeeds.
func (p Probe) Ask(ctx context.Context, addr string) (answer string, err error) {
	p = p.WithDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, p.Timeout, fmt.Errorf("no answer within %v", p.Timeout))
	defer cancel()
	switch p.Kind {
	case ProbeNone:
		return "not probed", nil
	case ProbeTCP:
		answer, err = p.askTCP(ctx, addr)
	case ProbeHTTP:
		answer, err = p.askHTTP(ctx, addr)
	default:
		return "", fmt.Errorf("unknown kind of probe %q", p.Kind)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil && answer == "" {
		answer = err.Error()
	}
	return answer, err
}

func (p Probe) askTCP(ctx context.Context, addr string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	if err := conn.Close(); err != nil {
		return "", err
	}
	return "accepted", nil
}

func (p Probe) askHTTP(ctx context.Context, addr string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(p.Method, http.MethodGet), p.Wire.Scheme()+"://"+addr+p.Path, bytes.NewReader(p.Sent))
	if err != nil {
		return "", err
	}
	for k, v := range p.Header {
		if http.CanonicalHeaderKey(k) == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	// Without keep-alive there is no reused connection, which is the only kind on which
	// net/http would send a request a second time.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: onceOnly(new(net.Dialer).DialContext)}
	if err := p.Wire.Configure(transport); err != nil {
		return "", err
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the caller knows the method and the URL
		}
		if p.Wire.Protocol == H2C {
			// A server that speaks none answers in its own way or hangs up, and net/http
			// tells whichever it saw first.
			err = fmt.Errorf("%s, without asking first: %w", H2C, err)
		}
		return "", err
	}
	defer resp.Body.Close()
	if p.Wire.Multiplexed() != (resp.ProtoMajor == 2) {
		return "", fmt.Errorf("%w: %s", ErrProtocol, resp.Proto)
	}
	if resp.StatusCode < http.StatusOK {
		// Behind it is another protocol, which nobody here speaks and no deadline ends.
		return "", fmt.Errorf("status %d, which is no answer", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBody))
	if err != nil {
		return "", fmt.Errorf("status %d, then: %w", resp.StatusCode, err)
	}
	answer := fmt.Sprintf("%d %s", resp.StatusCode, firstLine(string(body)))
	return answer, p.judge(resp, body)
}

// judge says what is wrong with a whole answer, nil when it is as expected.
func (p Probe) judge(resp *http.Response, body []byte) error {
	statuses := p.Statuses
	if len(statuses) == 0 {
		statuses = []int{p.Status}
	}
	if !slices.Contains(statuses, resp.StatusCode) {
		return fmt.Errorf("%d, wanted %s: %s", resp.StatusCode, oneOf(statuses), firstLine(string(body)))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Answer)) {
		if got := resp.Header.Get(name); got != p.Answer[name] {
			return fmt.Errorf("header %s %q, wanted %q", name, got, p.Answer[name])
		}
	}
	if p.Body != "" && string(body) != p.Body {
		return fmt.Errorf("body %q, wanted %q", firstLine(string(body)), p.Body)
	}
	if p.Matches != "" {
		pattern, err := regexp.Compile(p.Matches)
		if err != nil {
			return err
		}
		if !pattern.Match(body) {
			return fmt.Errorf("body %q, wanted one that matches %s", firstLine(string(body)), p.Matches)
		}
	}
	return nil
}

// oneOf names status codes: the first and the last of many.
func oneOf(codes []int) string {
	if len(codes) > 3 {
		return fmt.Sprintf("one of %d..%d", codes[0], codes[len(codes)-1])
	}
	text := strconv.Itoa(codes[0])
	for _, code := range codes[1:] {
		text += " or " + strconv.Itoa(code)
	}
	return text
}

// errAgain: a server of HTTP/2 may refuse a request and let net/http send it on another
// connection.
var errAgain = errors.New("the connection ended before the request was processed")

// onceOnly dials once: whatever it is that makes net/http try again, it gets no second
// connection for it.
func onceOnly(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialled atomic.Bool
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, errAgain
		}
		return dial(ctx, network, addr)
	}
}

// firstLine cuts an answer down to what fits into an event's detail.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	const limit = 200
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
