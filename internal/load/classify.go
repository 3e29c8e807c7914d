package load

import (
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// outcome is all that is known about a request that has come to its end.
type outcome struct {
	overdue bool  // it was due so long ago that it was not sent at all
	behind  bool  // it was sent so late that this may have cost it its deadline
	late    bool  // the answer was complete, but after the deadline
	retried bool  // the transport tried to send it again by itself
	err     error // of sending or of reading the answer; nil when the answer was complete
	connErr error // what the connection itself ended with first, nil when it did not end
	began   bool  // a byte of the answer came

	unprocessed bool   // the server has said that it did not process the request: HTTP/2's GOAWAY
	nowhere     string // why a balancer passed its connection on to nobody, "" when it did
	leave       string // that the server took its leave of the connection, and why; "" when it did not

	status    int // of the answer, 0 when there was none
	statuses  []int
	revoked   record.Expectation // of a request whose session may be revoked: what that comes to; else ""
	badHeader bool               // one that the answer must have is missing or another
	bodyOK    bool
	said      string // the answer's own reason
	ours      bool   // answers come by way of the lab's own balancer, whose word on the harness counts
}

// mostLag is how late the harness may send a request before it is to blame when that one
// misses its deadline.
func mostLag(timeout time.Duration) time.Duration { return min(50*time.Millisecond, timeout/4) }

// classify is the one place that decides what became of a request. A deadline counts from
// the intended time: where the harness itself has spent the time, missing it is no failure
// of the target. What the target answered in time, or how it refused, stays what it is,
// however late it was asked.
func classify(o *outcome) (record.Class, string) {
	class, reason := judged(o)
	if class == record.Timeout && o.behind {
		return record.Harness, "sent late, and not complete by the deadline"
	}
	return class, reason
}

// judged is what became of a request, whoever is to blame. The order matters: the harness's
// own trouble comes first, because it says nothing about the target; an answer counts only
// once it is complete; and a complete one is asked for its status before its body.
func judged(o *outcome) (record.Class, string) {
	if o.overdue {
		return record.Harness, "the generator was late by more than the timeout"
	}
	if o.err == nil && !o.retried {
		switch {
		case o.ours && o.status == http.StatusBadGateway && strings.HasPrefix(o.said, drivers.HarnessReason):
			return record.Harness, o.said
		case o.late:
			return record.Timeout, "the answer was complete after the deadline"
		case rightly(o.revoked, o.status):
			return record.OK, o.said
		case !slices.Contains(o.statuses, o.status), o.revoked == record.DenyRevoked:
			return record.HTTPStatus(o.status), o.said
		case o.badHeader:
			return record.WrongHeader, o.said
		case !o.bodyOK:
			return record.WrongBody, o.said
		default:
			return record.OK, o.said
		}
	}

	if strings.HasPrefix(o.nowhere, drivers.HarnessReason) {
		return record.Harness, o.nowhere
	}
	class := classOf(o.err)
	if class == record.RefusedRetryable && o.began {
		class = record.Reset // it was processed, whatever the server calls it
	}
	switch {
	case class == record.Harness:
		return class, errorText(o.err)
	case class == record.RefusedRetryable, o.unprocessed:
		return record.RefusedRetryable, failureText(record.RefusedRetryable, o)
	case o.retried:
		// What it died of the first time counts. Go repeats a request only when the
		// connection ended before the answer began.
		if c := classOf(o.connErr); c == record.Reset {
			return c, "the transport wanted to send it again"
		}
		return record.EOF, "the transport wanted to send it again"
	case class == record.Other, class == record.EOF, class == record.Truncated:
		// The transport has errors of its own for a connection that ended while it was
		// idle or was being taken, reads on after a reset, and calls a header that was
		// cut short malformed. What the connection saw is the fact behind them.
		if c := classOf(o.connErr); c != record.Other {
			class = c
		}
		if class == record.Harness {
			return class, errorText(o.connErr)
		}
		if class == record.EOF && o.began {
			class = record.Truncated
		}
		if class == record.Truncated && !o.began {
			class = record.EOF // TLS and HTTP/2 call every end that is not announced unexpected
		}
	}
	return class, failureText(class, o)
}

// failureText says more of a failure than its class does, "" where there is nothing.
func failureText(class record.Class, o *outcome) string {
	var stream http2.StreamError
	var secured *handshakeError
	switch {
	case o.nowhere != "":
		return o.nowhere
	case class == record.TLS && classOf(o.err) != class:
		return errorText(o.connErr)
	case class == record.Other, class == record.TLS:
		return errorText(o.err)
	case errors.As(o.err, &stream):
		return "the stream was reset: " + stream.Code.String()
	case errors.As(o.err, &secured):
		return "in the handshake of TLS"
	case o.leave != "":
		return o.leave
	case o.began:
		return "after the answer had begun"
	}
	return ""
}

// classOf is the class of an error alone.
func classOf(err error) record.Class {
	var dns *net.DNSError
	var timeout net.Error
	var stream http2.StreamError
	switch {
	case err == nil:
		return record.Other
	case errors.As(err, &stream):
		if stream.Code == http2.ErrCodeRefusedStream {
			return record.RefusedRetryable
		}
		return record.Reset
	case isAny(err, harnessErrors):
		return record.Harness
	case errors.As(err, &dns):
		return record.DNS
	case isAny(err, refusedErrors):
		return record.Refused
	case isAny(err, resetErrors):
		return record.Reset
	case errors.As(err, &timeout) && timeout.Timeout(): // context.DeadlineExceeded is one
		return record.Timeout
	case errors.Is(err, io.ErrUnexpectedEOF):
		return record.Truncated
	case errors.Is(err, io.EOF):
		return record.EOF
	case distrust(err):
		return record.TLS
	default:
		return record.Other
	}
}

// distrust says whether an error is TLS's own: a certificate that is not to be trusted, a
// handshake that one of the two refuses, an alert.
func distrust(err error) bool {
	var secured *handshakeError
	var op *net.OpError
	switch {
	case errors.As(err, &secured), drivers.NotTrusted(err):
		return true
	case errors.As(err, &op): // crypto/tls has no type for an alert
		return op.Op == "remote error" || op.Op == "local error"
	}
	return false
}

func isAny(err error, targets []error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// maxReason bounds a reason's length in bytes: errors may quote what a server sent.
const maxReason = 200

// addresses are removed from the texts of errors, for the ports in them: one per
// connection, they would make every text another one.
var addresses = regexp.MustCompile(`(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.%\w]*\]):\d+(?:->)?`)

// errorText is the error's text without addresses, and not too long.
func errorText(err error) string {
	var op *net.OpError
	text := ""
	if errors.As(err, &op) && op.Err != nil {
		text = op.Op + ": " + op.Err.Error() // what OpError says, without its addresses
	} else {
		text = err.Error()
	}
	text = addresses.ReplaceAllString(text, "addr")
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return text
}
