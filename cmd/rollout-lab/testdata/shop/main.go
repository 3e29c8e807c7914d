// Command shop is a service whose next release may be bad in one way that only an upgrade
// shows: it is what the tests of revisions roll out.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	listen := flags.String("listen", "", "`ADDRESS` to listen on")
	wrongPath := flags.String("wrong-path", "", "`PATH` that every fifth request is answered with 500 at")
	sessions := flags.String("sessions", "", "`FILE` that the instances keep their sessions in")
	format := flags.String("format", "1", "`FORMAT` in which sessions are written")
	reads := flags.String("reads", "1", "`FORMATS` in which sessions are read, with commas between them")
	settings := flags.String("settings", "", "`FILE` without which it does not start")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *settings != "" {
		if _, err := os.ReadFile(*settings); err != nil {
			return err
		}
	}
	store := store{file: *sessions, format: *format, reads: strings.Split(*reads, ",")}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if stop.Err() != nil {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == *wrongPath && asked.Add(1)%5 == 0 {
			http.Error(w, "no such column", http.StatusInternalServerError)
			return
		}
		if err := store.renew(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
	}
	<-time.After(time.Second) // in which a balancer that asks for its health lets go of it
	grace, end := context.WithTimeout(context.Background(), 5*time.Second)
	defer end()
	return server.Shutdown(grace)
}

// store is where the instances keep the sessions of their users, each in its own format.
type store struct {
	mu     sync.Mutex
	file   string
	format string
	reads  []string
}

// renew reads the session and writes it back. One that cannot be read is lost, and begun anew.
func (s *store) renew() error {
	if s.file == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was, err := os.ReadFile(s.file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(s.file), "session-")
	if err != nil {
		return err
	}
	if _, err := next.WriteString(s.format); err != nil {
		return err
	}
	if err := next.Close(); err != nil {
		return err
	}
	if err := os.Rename(next.Name(), s.file); err != nil {
		return err
	}
	if len(was) > 0 && !slices.Contains(s.reads, string(was)) {
		return fmt.Errorf("a session in format %s cannot be read", was)
	}
	return nil
}
