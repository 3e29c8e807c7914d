//go:build unix

package load

import "golang.org/x/sys/unix"

// What the system says, by class. Running out of buffers or memory for a socket is the
// harness's own trouble as much as running out of descriptors or ports.
var (
	harnessErrors = []error{unix.EMFILE, unix.ENFILE, unix.EADDRNOTAVAIL, unix.ENOBUFS, unix.ENOMEM}
	refusedErrors = []error{unix.ECONNREFUSED}
	resetErrors   = []error{unix.ECONNRESET, unix.EPIPE, unix.ECONNABORTED}
)
