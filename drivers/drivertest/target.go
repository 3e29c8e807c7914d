package drivertest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/healthkit"
)

// targetEnv is set in the environment of a process that is to be the target.
const targetEnv = "DRIVERTEST_TARGET"

// IsTarget says whether this process was started to be the suite's target. A TestMain
// asks it first and calls TargetMain if so.
func IsTarget() bool { return os.Getenv(targetEnv) != "" }

// The ways in which a target can be bad.
const (
	badUnready  = "unready"  // its signal says no until it is told otherwise
	badLies     = "lies"     // its signal says yes, and it does not serve
	badExits    = "exits"    // it ends at once
	badStubborn = "stubborn" // it ignores SIGTERM
	badParent   = "parent"   // it leaves a process behind that ignores everything
	badChild    = "child"    // it tells its supervisor nothing, and a child of its that it is ready
)

// lastWords is what a target that exits at once writes before it does.
const lastWords = "target: I cannot go on"

// exitStatus is the status with which it exits then.
const exitStatus = 3

// target is a service with two ports. On the data port, in the protocol and over the TLS that
// it is told, / answers 200 with
// "instance revision boot" while it serves, where boot is different in every process,
// /hold answers once the process was asked to stop and /release was called, and /environ
// tells the variables of the process, with zero bytes between them, as /arguments does its
// arguments. On the
// health port, /ready is the signal, /asked says how often that was asked, /stopping
// answers 200 once the process was asked to stop, /release releases what is held,
// /set?ready=B&serving=B&alive=B changes what it says and does, /tell tells the supervisor
// once more, if there is one that listens, what the signal says, /live is what a liveness probe
// asks, and /burn keeps two processors busy for a while and tells how much of one it got.
type target struct {
	instance, revision, boot string
	orphan                   string // address of what it has started and forgotten
	ready, serving, alive    atomic.Bool
	asked                    atomic.Int64
	stop                     <-chan struct{} // closed when it is asked to stop
	release                  chan struct{}   // closed when it may answer what it holds
	released                 sync.Once
	supervisor               supervisor
}

// TargetMain is the main function of the target. It does not return.
func TargetMain() {
	if err := runTarget(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "target:", err)
		os.Exit(exitStatus)
	}
	os.Exit(0)
}

// options are what a target is told on its command line.
type options struct {
	data, health       string // addresses to listen on, "" for none
	instance, revision string
	protocol           drivers.Protocol // of the data port
	is                 map[string]bool  // WHAT@REVISION
}

func parseOptions(args []string) (*options, error) {
	o := &options{is: map[string]bool{}}
	flags := flag.NewFlagSet("target", flag.ContinueOnError)
	flags.StringVar(&o.data, "data", "", "address of the data port")
	flags.StringVar(&o.health, "health", "", "address of the health port")
	flags.StringVar(&o.instance, "instance", "", "name of this instance")
	flags.StringVar(&o.revision, "revision", "", "revision of this instance")
	flags.StringVar((*string)(&o.protocol), "protocol", string(drivers.H1), "protocol of the data port")
	flags.Func("bad", "what is bad, as `WHAT@REVISION`; no revision means all of them", func(s string) error {
		what, revision, _ := strings.Cut(s, "@")
		o.is[what+"@"+revision] = true
		return nil
	})
	return o, flags.Parse(args)
}

func (o *options) bad(what string) bool { return o.is[what+"@"] || o.is[what+"@"+o.revision] }

// supervisor is whom the target tells of its state. One that leaves it to a child tells
// nobody anything.
func (o *options) supervisor() (supervisor, error) {
	if !o.bad(badChild) {
		return dialSupervisor()
	}
	return childTells()
}

func runTarget(args []string, out io.Writer) error {
	o, err := parseOptions(args)
	switch {
	case err != nil:
		return err
	case o.instance == childInstance:
		return childMain()
	case o.bad(badExits):
		return errors.New(strings.TrimPrefix(lastWords, "target: "))
	}
	orphan := ""
	if o.bad(badParent) {
		if orphan, err = leaveOrphan(); err != nil {
			return err
		}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	t := &target{instance: o.instance, revision: o.revision, boot: rand.Text(), orphan: orphan, stop: ctx.Done(), release: make(chan struct{})}
	t.ready.Store(!o.bad(badUnready))
	t.serving.Store(!o.bad(badLies))
	t.alive.Store(true)
	if t.supervisor, err = o.supervisor(); err != nil {
		return err
	}
	failed := make(chan error, 3)
	servers, err := t.listen(o, failed)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "target: %s %s %s listens\n", t.instance, t.revision, t.boot)
	if o.health != "" {
		if err := t.supervisor.tell(t.ready.Load()); err != nil {
			return err
		}
		go func() { failed <- t.supervisor.feedWatchdog() }()
	}
	if o.bad(badStubborn) {
		return <-failed
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	if err := t.supervisor.send("STOPPING=1"); err != nil {
		return err
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, s := range servers {
		if err := s.Shutdown(grace); err != nil {
			return err
		}
	}
	return nil
}

// listen serves the target's ports. The first of them is on the listener that a supervisor
// has handed over, if there is one.
func (t *target) listen(o *options, failed chan<- error) ([]*healthkit.GracefulServer, error) {
	l, err := handedListener()
	if err != nil {
		return nil, err
	}
	var servers []*healthkit.GracefulServer
	data := &http.Server{Handler: t.dataHandler()}
	if err := speak(data, o.protocol); err != nil {
		return nil, err
	}
	for _, port := range []struct {
		addr string
		http *http.Server
	}{{o.data, data}, {o.health, &http.Server{Handler: t.healthHandler()}}} {
		if port.addr == "" {
			continue
		}
		if l == nil {
			if l, err = net.Listen("tcp", port.addr); err != nil {
				return nil, err
			}
		}
		port.http.ReadHeaderTimeout = 10 * time.Second
		s := healthkit.Graceful(port.http)
		servers = append(servers, s)
		serve := s.Serve
		if port.http.TLSConfig != nil {
			serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
		}
		go func(l net.Listener) { failed <- serve(l) }(l)
		l = nil
	}
	return servers, nil
}

func (t *target) dataHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		if !t.serving.Load() {
			http.Error(w, "not serving", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%s %s %s", t.instance, t.revision, t.boot)
	})
	mux.HandleFunc(environPath, tellEnviron)
	mux.HandleFunc(argumentsPath, tellArguments)
	mux.HandleFunc(orphanPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, t.orphan) })
	mux.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for _, c := range []<-chan struct{}{t.stop, t.release} {
			select {
			case <-c:
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprint(w, "released")
	})
	return mux
}

func (t *target) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		t.asked.Add(1)
		if !t.ready.Load() {
			http.Error(w, "not ready yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "ok")
	})
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) {
		if !t.alive.Load() {
			http.Error(w, "not alive", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /burn", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, burn(burnFor)) })
	mux.HandleFunc("GET /asked", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, t.asked.Load()) })
	mux.HandleFunc("GET /stopping", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-t.stop:
		default:
			http.Error(w, "not asked to stop", http.StatusConflict)
		}
	})
	mux.HandleFunc("POST /release", func(http.ResponseWriter, *http.Request) { t.released.Do(func() { close(t.release) }) })
	mux.HandleFunc("POST /set", func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]*atomic.Bool{"ready": &t.ready, "serving": &t.serving, "alive": &t.alive} {
			s := r.FormValue(name)
			if s == "" {
				continue
			}
			b, err := strconv.ParseBool(s)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			value.Store(b)
		}
		if r.FormValue("ready") != "" {
			t.tell(w, r)
		}
	})
	mux.HandleFunc("POST /tell", t.tell)
	return mux
}

func (t *target) tell(w http.ResponseWriter, _ *http.Request) {
	if err := t.supervisor.tell(t.ready.Load()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// burnFor is how long a target burns when it is asked to.
const burnFor = time.Second

// burn keeps two processors busy for so long at least, and returns how much of one this process got
// meanwhile: 1 is all of it.
func burn(span time.Duration) float64 {
	began, used := time.Now(), processorTime()
	var burning sync.WaitGroup
	for range 2 {
		burning.Go(func() {
			for time.Since(began) < span {
				continue
			}
		})
	}
	burning.Wait()
	return float64(processorTime()-used) / float64(time.Since(began))
}

// orphanInstance is what an orphan calls itself in its answers.
const orphanInstance = "orphan"

// orphanPath is where a target that is a bad parent says at which address its orphan listens.
const orphanPath = "/orphan"

// leaveOrphan starts a stubborn target in a session of its own, as a daemon would, and returns
// the loopback address at which it listens.
func leaveOrphan() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", err
	}
	cmd := exec.Command(self, "-instance", orphanInstance, "-bad", badStubborn, "-data", addr)
	detach(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return "", fmt.Errorf("the orphan does not say that it listens: %w", err)
	}
	return addr, out.Close()
}
