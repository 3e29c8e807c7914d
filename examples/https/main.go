// Https is the smallest server that a rollout over TLS can be tried on: one answer, in
// HTTP/1.1 or HTTP/2 as its client chooses, and three ways to stop. Beside it are the same for
// Caddy and for nginx, and the scenarios that compare them, see docs/https.md. It is no model
// of a service: that is examples/orders.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "https:", err)
		os.Exit(1)
	}
}

// grace is how long requests under way may take once it stops.
const grace = 10 * time.Second

// The ways to stop, once SIGTERM has come.
const (
	exit     = "exit"     // at once, as a program does that knows nothing of SIGTERM
	shutdown = "shutdown" // http.Server.Shutdown: nothing new, and what is under way to its end
	drain    = "drain"    // not ready and Connection: close for the time of -lame-duck, then shutdown
)

func run(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("https", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8443", "address to listen on")
	certs := flags.String("certs", filepath.Dir(self), "folder with cert.pem and key.pem")
	stop := flags.String("stop", shutdown, "how it stops: exit, shutdown or drain")
	lameDuck := flags.Duration("lame-duck", 2*time.Second, "with -stop drain: how long it goes on serving")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var draining atomic.Bool
	server := &http.Server{Addr: *listen, Handler: handler(&draining)}
	ended := make(chan error, 1)
	go func() {
		ended <- server.ListenAndServeTLS(filepath.Join(*certs, "cert.pem"), filepath.Join(*certs, "key.pem"))
	}()
	asked := make(chan os.Signal, 1)
	if *stop != exit {
		signal.Notify(asked, syscall.SIGTERM)
	}
	select {
	case err := <-ended:
		return err
	case <-asked:
	}
	if *stop == drain {
		draining.Store(true)
		time.Sleep(*lameDuck)
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler answers, and says so when it is about to stop: by its health, and by asking clients
// to leave. Of HTTP/2 connections net/http takes its leave with GOAWAY then.
func handler(draining *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		fmt.Fprintln(w, "hello")
	})
	return mux
}
