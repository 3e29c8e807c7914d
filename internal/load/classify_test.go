package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

const okHead = "HTTP/1.1 200 OK\r\n"

// TestClasses has a server for each class that provokes it over a real connection.
func TestClasses(t *testing.T) {
	get := Request{Path: "/", WantBody: "hello"}
	any := Request{Path: "/", AnyBody: true}
	post := Request{Method: "POST", Path: "/", Body: []byte("question"), WantBody: "hello"}
	whole := okHead + "Content-Length: 5\r\n\r\nhello"

	tests := []struct {
		name    string
		serve   func(net.Conn, *bufio.Reader)
		request Request
		timeout time.Duration
		class   record.Class
		status  int
		reason  string
	}{
		{"whole", answering(whole, hangUp), get, ample, record.OK, 200, ""},
		{"whole, post", answering(whole, hangUp), post, ample, record.OK, 200, ""},
		{"whole, reset behind it", answering(whole, reset), get, ample, record.OK, 200, ""},
		{"whole in chunks", answering(okHead+"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", hangUp), get, ample, record.OK, 200, ""},
		{"whole until close", answering(okHead+"Connection: close\r\n\r\nhello", hangUp), get, ample, record.OK, 200, ""},
		{"any body", answering(whole, hangUp), any, ample, record.OK, 200, ""},
		{"a long header", answering(okHead+"X-Long: "+strings.Repeat("x", 100_000)+"\r\nContent-Length: 5\r\n\r\nhello", hangUp), get, ample, record.OK, 200, ""},
		{"another expected status", answering("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello", hangUp),
			Request{Path: "/", WantBody: "hello", Statuses: []int{200, 201}}, ample, record.OK, 201, ""},

		{"closed before the answer", answering("", hangUp), get, ample, record.EOF, 0, ""},
		{"closed before the answer, post", answering("", hangUp), post, ample, record.EOF, 0, ""},
		{"reset before the answer", answering("", reset), get, ample, record.Reset, 0, ""},
		{"reset in the headers", answering(okHead, reset), get, ample, record.Reset, 0, "after the answer had begun"},
		{"closed in the headers", answering(okHead+"Content-Le", hangUp), get, ample, record.Truncated, 0, "after the answer had begun"},
		{"no answer in time", answering("", stall), get, soon, record.Timeout, 0, ""},
		{"half of the headers in time", answering(okHead, stall), get, soon, record.Timeout, 0, "after the answer had begun"},
		{"half of the body in time", answering(okHead+"Content-Length: 5\r\n\r\nhe", stall), get, soon, record.Timeout, 200, "after the answer had begun"},
		{"no body in time, any will do", answering(okHead+"Content-Length: 5\r\n\r\n", stall), any, soon, record.Timeout, 200, "after the answer had begun"},

		{"body cut short", answering(okHead+"Content-Length: 5\r\n\r\nhe", hangUp), get, ample, record.Truncated, 200, "after the answer had begun"},
		{"body cut short, any will do", answering(okHead+"Content-Length: 5\r\n\r\nhe", hangUp), any, ample, record.Truncated, 200, "after the answer had begun"},
		{"no byte of the body", answering(okHead+"Content-Length: 5\r\n\r\n", hangUp), any, ample, record.Truncated, 200, "after the answer had begun"},
		{"chunks cut short", answering(okHead+"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", hangUp), get, ample, record.Truncated, 200, "after the answer had begun"},
		{"wanted body, last chunk missing", answering(okHead+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", hangUp), get, ample, record.Truncated, 200, "after the answer had begun"},
		{"chunk cut short", answering(okHead+"Transfer-Encoding: chunked\r\n\r\n5\r\nhe", hangUp), any, ample, record.Truncated, 200, "after the answer had begun"},
		{"reset in the body", answering(okHead+"Content-Length: 5\r\n\r\nhe", reset), get, ample, record.Reset, 200, "after the answer had begun"},
		{"unexpected status, cut short", answering("HTTP/1.1 503 Away\r\nContent-Length: 5\r\n\r\nhe", hangUp), any, ample, record.Truncated, 503, "after the answer had begun"},

		{"another body", answering(okHead+"Content-Length: 5\r\n\r\nhellO", hangUp), get, ample, record.WrongBody, 200, ""},
		{"more than the body", answering(okHead+"Content-Length: 6\r\n\r\nhello!", hangUp), get, ample, record.WrongBody, 200, ""},
		{"less than the body", answering(okHead+"Content-Length: 4\r\n\r\nhell", hangUp), get, ample, record.WrongBody, 200, ""},
		{"no body", answering(okHead+"Content-Length: 0\r\n\r\n", hangUp), get, ample, record.WrongBody, 200, ""},
		{"a body where none is wanted", answering(whole, hangUp), Request{Path: "/"}, ample, record.WrongBody, 200, ""},
		{"wanted body, nobody said how long, cut short", answering(okHead+"\r\nhel", hangUp), get, ample, record.WrongBody, 200, ""},
		{"endless wrong body", answering(okHead+"\r\n"+strings.Repeat("x", maxBody+100_000), stall), get, ample, record.WrongBody, 200, ""},

		{"unavailable", answering("HTTP/1.1 503 Away\r\nRollout-Lab-Reason: no endpoint\r\nContent-Length: 5\r\n\r\nhello", hangUp), get, ample, "http_503", 503, "no endpoint"},
		{"redirect", answering("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 5\r\n\r\nhello", hangUp), get, ample, "http_302", 302, ""},
		{"not modified", answering("HTTP/1.1 304 Not Modified\r\n\r\n", hangUp), any, ample, "http_304", 304, ""},
		{"no content", answering("HTTP/1.1 204 No Content\r\n\r\n", hangUp), any, ample, "http_204", 204, ""},
		{"unexpected success", answering("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello", hangUp), get, ample, "http_201", 201, ""},

		{"another protocol, and silence", answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n", stall), any, ample, "http_101", 101, ""},
		{"another protocol, not named", answering("HTTP/1.1 101 Switching Protocols\r\n\r\n", stall), any, ample, "http_101", 101, ""},
		{"hints before the answer", answering("HTTP/1.1 103 Early Hints\r\n\r\n"+whole, hangUp), get, ample, record.OK, 200, ""},
		{"hints and no answer", answering("HTTP/1.1 103 Early Hints\r\n\r\n", stall), get, soon, record.Timeout, 0, "after the answer had begun"},
		{"hints without end", answering("", hintForEver), get, ample, record.Other, 0, "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 1048576 bytes; aborted"},

		{"denied as it must be", answering("HTTP/1.1 403 Forbidden\r\nRollout-Lab-Reason: revoked\r\nContent-Length: 0\r\n\r\n", hangUp),
			Request{Path: "/", Expect: record.Deny}, ample, record.OK, 403, "revoked"},
		{"served, and must not be", answering(okHead+"Content-Length: 0\r\n\r\n", hangUp),
			Request{Path: "/", Expect: record.Deny}, ample, "http_200", 200, ""},
		{"denied, and must not be", answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", hangUp), any, ample, "http_401", 401, ""},

		{"not HTTP", answering("SSH-2.0-thing\r\n", hangUp), get, ample, record.Other, 0, `net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-thing"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := rawServer(t, tt.serve)
			class, status, reason := ProbeOnce(t.Context(), addr, drivers.Wire{}, tt.request, tt.timeout)
			if class != tt.class || status != tt.status || reason != tt.reason {
				t.Errorf("got %s, status %d, reason %q; want %s, %d, %q", class, status, reason, tt.class, tt.status, tt.reason)
			}
		})
	}

	t.Run("refused", func(t *testing.T) {
		class, status, reason := ProbeOnce(t.Context(), refusing(t), drivers.Wire{}, get, ample)
		if class != record.Refused || status != 0 || reason != "" {
			t.Errorf("got %s, status %d, reason %q; want refused", class, status, reason)
		}
	})
	t.Run("name that does not exist", func(t *testing.T) {
		// Names below .invalid never exist (RFC 6761); whether a resolver says so or
		// cannot be reached, the name did not resolve.
		class, _, _ := ProbeOnce(t.Context(), "nobody.invalid:80", drivers.Wire{}, get, ample)
		if class != record.DNS {
			t.Errorf("got %s, want dns", class)
		}
	})
	t.Run("cancelled by the caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		class, _, reason := ProbeOnce(ctx, refusing(t), drivers.Wire{}, get, ample)
		if class != record.Other || reason != "context canceled" {
			t.Errorf("got %s, %q; want other, context canceled", class, reason)
		}
	})
}

// TestClassify holds what no server can provoke at will, and the order of the rules.
func TestClassify(t *testing.T) {
	dial := func(errno error) error {
		return &net.OpError{Op: "dial", Net: "tcp",
			Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50123},
			Addr:   &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80},
			Err:    os.NewSyscallError("connect", errno)}
	}
	served := outcome{status: 200, statuses: []int{200}, bodyOK: true}
	with := func(change func(*outcome)) outcome { o := served; change(&o); return o }

	tests := []struct {
		name   string
		o      outcome
		class  record.Class
		reason string
	}{
		{"served", served, record.OK, ""},
		{"whole but late", with(func(o *outcome) { o.late = true }), record.Timeout, "the answer was complete after the deadline"},
		{"unexpected status and late", with(func(o *outcome) { o.late, o.status = true, 503 }), record.Timeout, "the answer was complete after the deadline"},
		{"wrong status and wrong body", with(func(o *outcome) { o.status, o.bodyOK = 500, false }), "http_500", ""},
		{"not sent", outcome{overdue: true}, record.Harness, "the generator was late by more than the timeout"},

		{"sent late and served", with(func(o *outcome) { o.behind = true }), record.OK, ""},
		{"sent late, whole but late", with(func(o *outcome) { o.behind, o.late = true, true }), record.Harness, "sent late, and not complete by the deadline"},
		{"sent late, no answer in time", outcome{behind: true, err: context.DeadlineExceeded}, record.Harness, "sent late, and not complete by the deadline"},
		{"sent late, half of an answer in time", outcome{behind: true, err: context.DeadlineExceeded, began: true}, record.Harness, "sent late, and not complete by the deadline"},
		{"sent late, another answer in time", with(func(o *outcome) { o.behind, o.status = true, 503 }), "http_503", ""},
		{"sent late, let in", outcome{behind: true, status: 200, statuses: []int{403}, bodyOK: true}, "http_200", ""},
		{"sent late, refused", outcome{behind: true, err: dial(refusedErrors[0])}, record.Refused, ""},
		{"sent late, sent again", outcome{behind: true, retried: true, err: context.Canceled}, record.EOF, "the transport wanted to send it again"},

		{"out of descriptors", outcome{err: dial(harnessErrors[0])}, record.Harness, "dial: connect: too many open files"},
		{"out of ports", outcome{err: dial(syscall.EADDRNOTAVAIL)}, record.Harness, "dial: connect: cannot assign requested address"},
		{"out of descriptors while resolving", outcome{err: &net.DNSError{Err: "x", UnwrapErr: harnessErrors[0]}}, record.Harness, "lookup : x"},
		{"out of descriptors, late", outcome{err: dial(harnessErrors[0]), late: true}, record.Harness, "dial: connect: too many open files"},
		{"refused, late", outcome{err: dial(refusedErrors[0]), late: true}, record.Refused, ""},
		{"reset", outcome{err: dial(resetErrors[0])}, record.Reset, ""},
		{"broken pipe", outcome{err: dial(syscall.EPIPE)}, record.Reset, ""},
		{"dial timeout of the kernel", outcome{err: dial(syscall.ETIMEDOUT)}, record.Timeout, ""},
		{"name not found", outcome{err: &net.DNSError{Err: "no such host", Name: "x"}}, record.DNS, ""},
		{"name not found in time", outcome{err: &net.DNSError{Err: "timeout", IsTimeout: true}}, record.DNS, ""},
		{"deadline", outcome{err: fmt.Errorf("sending: %w", context.DeadlineExceeded)}, record.Timeout, ""},
		{"no route", outcome{err: dial(syscall.EHOSTUNREACH)}, record.Other, "dial: connect: no route to host"},
		{"cancelled", outcome{err: context.Canceled}, record.Other, "context canceled"},

		{"hidden by the transport: closed", outcome{err: errors.New("server closed idle connection"), connErr: io.EOF}, record.EOF, ""},
		{"hidden by the transport: reset", outcome{err: errors.New("connection broken"), connErr: dial(resetErrors[0])}, record.Reset, ""},
		{"hidden by the transport: nothing known", outcome{err: errors.New("strange"), connErr: errors.New("stranger")}, record.Other, "strange"},
		{"what the transport says comes first", outcome{err: context.DeadlineExceeded, connErr: io.EOF}, record.Timeout, ""},
		{"reset behind what the transport calls an end", outcome{err: io.ErrUnexpectedEOF, connErr: dial(resetErrors[0]), began: true}, record.Reset, "after the answer had begun"},
		{"reset behind what the transport calls a closing", outcome{err: io.EOF, connErr: dial(resetErrors[0])}, record.Reset, ""},
		{"cut short, connection still there", outcome{err: io.ErrUnexpectedEOF, began: true}, record.Truncated, "after the answer had begun"},
		{"out of buffers under way", outcome{err: errors.New("strange"), connErr: &net.OpError{Op: "write", Err: syscall.ENOBUFS}}, record.Harness, "write: no buffer space available"},
		{"closed in the body", outcome{err: io.EOF, began: true}, record.Truncated, "after the answer had begun"},
		{"hidden by the transport: closed in the body", outcome{err: errors.New("strange"), connErr: io.EOF, began: true}, record.Truncated, "after the answer had begun"},

		{"the balancer's own trouble", with(func(o *outcome) { o.ours, o.status, o.said = true, 502, "harness: no ports" }), record.Harness, "harness: no ports"},
		{"the balancer's own trouble, where 502 is expected", outcome{ours: true, status: 502, statuses: []int{502}, said: "harness: no ports"}, record.Harness, "harness: no ports"},
		{"the balancer's own trouble, late", outcome{ours: true, status: 502, said: "harness: no ports", late: true}, record.Harness, "harness: no ports"},
		{"that word from somebody else", with(func(o *outcome) { o.status, o.said = 502, "harness: no ports" }), "http_502", "harness: no ports"},
		{"another status with that reason", with(func(o *outcome) { o.ours, o.status, o.said = true, 503, "harness: no ports" }), "http_503", "harness: no ports"},
		{"that reason in the middle", with(func(o *outcome) { o.ours, o.status, o.said = true, 502, "no harness: no ports" }), "http_502", "no harness: no ports"},
		{"the endpoint's trouble", with(func(o *outcome) { o.ours, o.status, o.said = true, 502, "connect failed" }), "http_502", "connect failed"},
		{"served with that reason", with(func(o *outcome) { o.said = "harness: no ports" }), record.OK, "harness: no ports"},

		{"sent again", outcome{retried: true, err: context.Canceled}, record.EOF, "the transport wanted to send it again"},
		{"sent again after a reset", outcome{retried: true, err: context.Canceled, connErr: dial(resetErrors[0])}, record.Reset, "the transport wanted to send it again"},
		{"sent again and served", with(func(o *outcome) { o.retried = true }), record.EOF, "the transport wanted to send it again"},
		{"sent again, out of descriptors", outcome{retried: true, err: dial(harnessErrors[0])}, record.Harness, "dial: connect: too many open files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			class, reason := classify(&tt.o)
			if class != tt.class || reason != tt.reason {
				t.Errorf("got %s %q, want %s %q", class, reason, tt.class, tt.reason)
			}
		})
	}
}

// Errors quote addresses with a port of their own each; as reasons they would all differ.
func TestErrorTextHasNoPorts(t *testing.T) {
	tests := []struct{ err, want string }{
		{"read tcp 127.0.0.1:51234->127.0.0.1:80: strange", "read tcp addraddr: strange"},
		{"read tcp [::1]:51234->[fe80::1%eth0]:80: strange", "read tcp addraddr: strange"},
		{"no address: 12:34", "no address: 12:34"},
		{strings.Repeat("x", 1000), strings.Repeat("x", maxReason)},
	}
	for _, tt := range tests {
		if got := errorText(errors.New(tt.err)); got != tt.want {
			t.Errorf("errorText(%q) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	followed := make(chan struct{}, 1)
	s := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/there" {
			followed <- struct{}{}
			return
		}
		http.Redirect(w, r, "/there", http.StatusFound)
	})
	class, _, _ := ProbeOnce(t.Context(), s.Listener.Addr().String(), drivers.Wire{}, Request{Path: "/", AnyBody: true}, ample)
	if class != "http_302" {
		t.Errorf("got %s, want http_302", class)
	}
	select {
	case <-followed:
		t.Error("the redirect was followed")
	default:
	}
}
