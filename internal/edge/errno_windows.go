package edge

import (
	"errors"

	"golang.org/x/sys/windows"
)

// Windows' sockets have error numbers of their own, which syscall's portable names do not match.
func isOSRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

func isOSReset(err error) bool {
	return errors.Is(err, windows.WSAECONNRESET) || errors.Is(err, windows.WSAECONNABORTED)
}

func isOSHarness(err error) bool {
	return errors.Is(err, windows.WSAEMFILE) || errors.Is(err, windows.WSAEADDRNOTAVAIL) || errors.Is(err, windows.WSAENOBUFS)
}
