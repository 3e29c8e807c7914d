package proxy

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// limits bound what one client can take of a proxy. The zero value of each means the default.
type limits struct {
	// header is how long a connection may take to bring its first header, from the dial, and any
	// later one, from its first byte.
	header time.Duration
	// idle is how long a connection is kept between requests.
	idle time.Duration
	// exchange is for a request from its header on: its body, the upstream's work and the answer.
	exchange time.Duration
	// headerBytes and body are sizes; bodies are of the data port alone.
	headerBytes int
	body        int64
	// connections is how many each port keeps open at once. One more is closed at once, which
	// tells a balancer more than a wait that nobody sees.
	connections int64
}

// A client's transport that dials while another connection gets free keeps the new one unused,
// and the time for its header runs from the dial. So that is above the time that a balancer keeps
// a connection (60 s, 75 s and, of programs in Go, 90 s are common): a shorter one would close connections under requests
// and look like a lossy rollout. The same goes for idle ones, which clients keep even longer.
func (l limits) withDefaults() limits {
	return limits{
		header:      or(l.header, 2*time.Minute),
		idle:        or(l.idle, 5*time.Minute),
		exchange:    or(l.exchange, time.Minute),
		headerBytes: or(l.headerBytes, 64<<10),
		body:        or(l.body, 8<<20),
		connections: or(l.connections, 4096),
	}
}

func or[T int | int64 | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// server returns a server that keeps to the limits.
func (l limits) server(handler http.Handler) *http.Server {
	var open atomic.Int64
	return &http.Server{
		Handler: l.timed(handler), ErrorLog: log.New(io.Discard, "", 0),
		ReadHeaderTimeout: l.header, IdleTimeout: l.idle, WriteTimeout: l.exchange, MaxHeaderBytes: l.headerBytes,
		ConnState: func(conn net.Conn, now http.ConnState) {
			switch now {
			case http.StateNew:
				if open.Add(1) > l.connections {
					_ = conn.Close() // nobody has asked anything on it
				}
			case http.StateHijacked, http.StateClosed:
				open.Add(-1)
			}
		},
	}
}

// timed bounds the reading of a request. ReadTimeout of http.Server would do so from the dial.
func (l limits) timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(l.exchange)); err != nil {
			panic(http.ErrAbortHandler) // the connection is gone
		}
		next.ServeHTTP(w, r)
	})
}
