//go:build unix

package healthkit

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// readNow reads what the system holds and does not wait. A deadline would not do: one that is
// over keeps Read from asking the system at all, and when a process gets to run late, timers
// come before what has arrived.
func readNow(conn net.Conn, p []byte) (n int, err error) {
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	var raw syscall.RawConn
	switch conn := conn.(type) { // others may have read ahead
	case *net.TCPConn:
		raw, err = conn.SyscallConn()
	case *net.UnixConn:
		raw, err = conn.SyscallConn()
	default:
		return readSoon(conn, p)
	}
	if err != nil || len(p) == 0 {
		return 0, err
	}
	failed := raw.Read(func(fd uintptr) bool {
		for {
			if n, err = syscall.Read(int(fd), p); err != syscall.EINTR {
				return true
			}
		}
	})
	switch {
	case failed != nil:
		return 0, failed
	case err == syscall.EAGAIN:
		return 0, os.ErrDeadlineExceeded
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
