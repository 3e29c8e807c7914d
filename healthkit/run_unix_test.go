//go:build unix && go1.25

package healthkit

import (
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// The real thing: sockets, SIGTERM, and a request that is in flight when it
// comes.
func TestRunEndsOnSIGTERM(t *testing.T) {
	r := New(Config{AllowEmpty: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	done := make(chan ran, 1)
	go func() {
		report, err := r.Run(t.Context(), RunPlan{
			Endpoints: []Endpoint{{Listener: l, Server: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-release
			})}}},
			HealthAddr: "127.0.0.1:0", LameDuck: time.Millisecond, CloseWait: time.Millisecond,
		})
		done <- ran{report, err}
	}()
	answer := make(chan int, 1)
	go func() {
		status, _, _, err := fetch(newClient(t), "http://"+l.Addr().String())
		if err != nil {
			t.Error(err)
		}
		answer <- status
	}()
	<-entered
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for s := range r.Watch(t.Context()) {
		if s.Phase >= PhaseLameDuck {
			if s.PhaseReason != "signal: terminated" {
				t.Errorf("got reason %q", s.PhaseReason)
			}
			break
		}
	}
	close(release)
	if got := <-answer; got != http.StatusOK {
		t.Errorf("the request in flight got %d", got)
	}
	if got := <-done; got.err != nil || got.report.Aborted != 0 {
		t.Errorf("got %+v, %v", got.report, got.err)
	}
}

// A second interrupt is a person who does not want to wait.
func TestRunSecondInterrupt(t *testing.T) {
	r := New(Config{AllowEmpty: true})
	release := r.Hold()
	defer release()
	done := make(chan ran, 1)
	go func() {
		report, err := r.Run(t.Context(), RunPlan{Budget: time.Hour, HealthAddr: "127.0.0.1:0"})
		done <- ran{report, err}
	}()
	kill := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	// Before Run has asked for signals, an interrupt would end the test.
	keep := make(chan os.Signal, 1)
	signal.Notify(keep, os.Interrupt)
	defer signal.Stop(keep)
	for interrupts := 0; ; {
		kill()
		<-keep
		select {
		case got := <-done:
			if got.report.Aborted != 1 || got.err == nil || interrupts == 0 {
				t.Errorf("after %d interrupts got %+v, %v", interrupts, got.report, got.err)
			}
			return
		case <-time.After(10 * time.Millisecond):
			interrupts++
		}
	}
}
