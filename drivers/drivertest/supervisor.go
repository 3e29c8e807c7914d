package drivertest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
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

// handedListener is the listener that a supervisor has opened for this process, nil when
// there is none.
func handedListener() (net.Listener, error) {
	if os.Getenv("LISTEN_FDS") != "1" || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	f := os.NewFile(3, os.Getenv("LISTEN_FDNAMES"))
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the listener that was handed over: %w", err)
	}
	return l, nil
}

// childInstance is the name of a child that only tells the supervisor.
const childInstance = "child"

// viaChild tells nothing itself, and keeps the pipe to the child that has.
type viaChild struct {
	nobody
	child *exec.Cmd
}

// childTells has a child tell the supervisor that it is ready, and waits until it has. The child
// lives as long as this process: of one that has ended systemd cannot tell which unit it was of.
func childTells() (supervisor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-instance", childInstance)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // it is closed by the end of this process
		return nil, err
	}
	told, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_, err = told.Read(make([]byte, 1))
	return viaChild{nobody{}, cmd}, err
}

func childMain() error {
	s, err := dialSupervisor()
	if err != nil {
		return err
	}
	if err := s.tell(true); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("told\n"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
