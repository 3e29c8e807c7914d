package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/textproto"
	"syscall"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// fault is how an attempt failed. Its text is the reason that the client is told.
type fault string

const (
	faultNone fault = ""

	// Before the head of an answer.
	faultRefused        fault = drivers.RefusedReason
	faultConnectTimeout fault = "connect timeout"
	faultConnect        fault = "connect failed"
	faultHarness        fault = drivers.HarnessReason + "no descriptor, port or buffer left to connect with"
	faultReset          fault = "reset"
	faultEOF            fault = "eof"
	faultTimeout        fault = "timeout"
	faultSecondConn     fault = "second connection"
	faultUnprocessed    fault = drivers.UnprocessedReason
	faultUntrusted      fault = "certificate not trusted"
	faultMalformed      fault = "malformed answer"
	faultOther          fault = "failed"
	faultCanceled       fault = "canceled"

	// After it: nobody can be told any more.
	faultTruncated fault = "truncated"
	faultAborted   fault = "aborted"
)

// faults are those that a client may be told.
var faults = []fault{
	faultRefused, faultConnectTimeout, faultConnect, faultHarness, faultReset, faultEOF,
	faultTimeout, faultSecondConn, faultUnprocessed, faultUntrusted, faultMalformed, faultOther,
}

var (
	errSecondConn = errors.New("edge: the transport took a second connection for one request")
	errBadStatus  = errors.New("edge: status below 100")

	errUnprocessed = errors.New("edge: the endpoint did not process the request")
)

// classify names the failure of an attempt that got no answer. The connection's own
// account counts where the transport hides the cause behind an error of its own.
func classify(err error, a *attempt) fault {
	switch {
	case errors.Is(err, errUnprocessed), a.conns.Load() > 1 && a.wire.Multiplexed():
		return faultUnprocessed
	case a.conns.Load() > 1:
		return faultSecondConn
	}
	if a.in.Context().Err() != nil || a.bodyBroke.Load() {
		return faultCanceled
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return dialFault(err)
	}
	if drivers.NotTrusted(err) {
		return faultUntrusted
	}
	var text textproto.ProtocolError
	var timeout net.Error
	switch {
	case isReset(err):
		return faultReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return faultEOF
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return faultTimeout
	case errors.As(err, &text), errors.Is(err, errBadStatus):
		return faultMalformed
	}
	if conn := a.conn.Load(); conn != nil {
		if end := conn.end.Load(); end != nil {
			switch {
			case isReset(*end):
				return faultReset
			case errors.Is(*end, io.EOF):
				return faultEOF
			}
		}
		// The transport spoke with the endpoint and did not like what it heard.
		return faultMalformed
	}
	return faultOther
}

// dialFault names why an endpoint could not be connected to.
func dialFault(err error) fault {
	var timeout net.Error
	switch {
	case isHarness(err):
		return faultHarness
	case errors.As(err, &timeout) && timeout.Timeout():
		return faultConnectTimeout
	case isRefused(err):
		return faultRefused
	}
	return faultConnect
}

// isHarness reports whether this machine could not even try: it says nothing about the endpoint.
func isHarness(err error) bool {
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, own) {
			return true
		}
	}
	return isOSHarness(err)
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) || isOSRefused(err) }

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || isOSReset(err)
}
