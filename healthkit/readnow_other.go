//go:build !unix

package healthkit

import "net"

// readNow reads what the system holds. Windows has been asked to read already: a deadline
// takes that back, unless something has arrived.
func readNow(conn net.Conn, p []byte) (int, error) { return readSoon(conn, p) }
