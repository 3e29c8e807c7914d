//go:build !unix

package sdnotify

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

func send(_, _ string, _ time.Duration) error {
	return fmt.Errorf("no datagram sockets with an address in the file system on %s", runtime.GOOS)
}

func barrier(_ context.Context, address string, timeout time.Duration) error {
	return send(address, "BARRIER=1", timeout)
}
