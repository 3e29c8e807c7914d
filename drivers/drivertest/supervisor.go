package drivertest

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// supervisor is whoever listens to the target by sd_notify. Without one nothing is sent.
type supervisor interface {
	tell(ready bool) error
	send(message string) error
	// feedWatchdog returns when that fails, and never where there is no watchdog.
	feedWatchdog() error
}

// dialSupervisor finds the supervisor by the variables that it sets.
func dialSupervisor() (supervisor, error) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nobody{}, nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	n := &notified{conn: conn}
	if text := os.Getenv("WATCHDOG_USEC"); text != "" {
		usec, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("watchdog: %w", err)
		}
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n, nil
}

type nobody struct{}

func (nobody) tell(bool) error     { return nil }
func (nobody) send(string) error   { return nil }
func (nobody) feedWatchdog() error { select {} }

type notified struct {
	conn     *net.UnixConn
	watchdog time.Duration

	mu    sync.Mutex
	ready bool // it was told READY=1, which cannot be taken back
}

// tell sends what the signal says, in the form in which services of the project do.
func (n *notified) tell(ready bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	message := "STATUS=ready"
	if !ready {
		message = "STATUS=not ready: told so"
	} else if !n.ready {
		message = "READY=1\n" + message
		n.ready = true
	}
	return n.send(message)
}

func (n *notified) send(message string) error {
	if _, err := n.conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("tell the supervisor %q: %w", message, err)
	}
	return nil
}

func (n *notified) feedWatchdog() error {
	if n.watchdog == 0 {
		select {}
	}
	for range time.Tick(n.watchdog / 3) {
		if err := n.send("WATCHDOG=1"); err != nil {
			return err
		}
	}
	return nil
}
