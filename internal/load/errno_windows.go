package load

import "golang.org/x/sys/windows"

// What the system says, by class. Running out of buffers for a socket is the harness's
// own trouble as much as running out of descriptors or ports.
var (
	harnessErrors = []error{windows.WSAEMFILE, windows.WSAEADDRNOTAVAIL, windows.WSAENOBUFS}
	refusedErrors = []error{windows.WSAECONNREFUSED}
	resetErrors   = []error{windows.WSAECONNRESET, windows.WSAECONNABORTED}
)
