//go:build unix

package sdnotify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// send writes one datagram, and the files with it. A fresh socket for each
// message survives a service manager that comes back at the same address. The
// queue of the receiver may be full, so the write has a deadline.
func send(address, message string, timeout time.Duration, files ...*os.File) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	defer runtime.KeepAlive(files)
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	// The net package sends files over an unconnected socket only, and such a
	// one does not wait for room in the queue of the receiver.
	var n int
	var sendErr error
	err = raw.Write(func(fd uintptr) (done bool) {
		for {
			n, sendErr = syscall.SendmsgN(int(fd), []byte(message), rights, nil, 0)
			if !errors.Is(sendErr, syscall.EINTR) {
				return !errors.Is(sendErr, syscall.EAGAIN)
			}
		}
	})
	switch {
	case err != nil:
		return err
	case sendErr != nil:
		return os.NewSyscallError("sendmsg", sendErr)
	case n != len(message):
		return io.ErrShortWrite
	}
	return nil
}

// barrier sends one end of a pipe and waits until the service manager, having
// read everything sent before, closes it.
func barrier(ctx context.Context, address string, timeout time.Duration) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = send(address, "BARRIER=1", timeout, w)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		// A deadline in the past wakes the read; it fails on a closed file only.
		_ = r.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	if _, err = r.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("service manager has not read what was sent: %w", context.Cause(ctx))
	}
	return err
}
