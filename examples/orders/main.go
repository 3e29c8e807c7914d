// Command orders is the smallest service with everything a runtime needs to
// replace it without losing a request: copy it and put your parts in.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/sdnotify"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "healthcheck" {
		return healthkit.ProbeCommand(ctx, args[1:], stdout, stderr)
	}
	flags := flag.NewFlagSet("orders", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", ":8080", "address for requests")
	health := flags.String("health-listen", ":8081", "address for probes")
	lameDuck := flags.Duration("lame-duck", 5*time.Second, "how long to serve unready after SIGTERM, so that balancers turn away")
	budget := flags.Duration("stop-grace", healthkit.DefaultBudget, "how long the whole shutdown may take")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := serve(ctx, *listen, *health, *lameDuck, *budget); err != nil {
		fmt.Fprintln(stderr, "orders:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, listen, health string, lameDuck, budget time.Duration) error {
	// systemd, if it has started us, is told every change until the end.
	systemd, err := sdnotify.New(sdnotify.Options{DrainBudget: budget})
	if err != nil {
		return err
	}
	registry := healthkit.New(healthkit.Config{Expect: []string{"records", "database"}})
	store, err := startParts(ctx, registry)
	if err != nil {
		return err
	}
	// Listen, serve, and on SIGTERM: unready, Connection: close, requests in
	// flight, parts in reverse order of their dependencies, probes last.
	_, err = registry.Run(ctx, healthkit.RunPlan{
		Endpoints:  []healthkit.Endpoint{{Addr: listen, Server: &http.Server{Handler: store, ReadHeaderTimeout: 5 * time.Second}}},
		HealthAddr: health,
		LameDuck:   lameDuck,
		Budget:     budget,
		Followers:  []healthkit.Follower{systemd.Run},
	})
	return err
}

// Yours: db.PingContext, and the query that fetches what has changed.
var (
	ping  = func(context.Context) error { return nil }
	fetch = func(context.Context) error { return nil }
)

func startParts(ctx context.Context, registry *healthkit.Registry) (*store, error) {
	// A check: healthkit runs it in the background. Every instance shares the
	// database, so its outage degrades them and evicts none.
	_, err := registry.RegisterCheck("database", ping, healthkit.CheckOptions{
		Interval: 2 * time.Second,
		Options:  healthkit.Options{OnFailure: healthkit.FailShared},
	})
	if err != nil {
		return nil, err
	}
	return startStore(ctx, registry)
}

// store is a part of the service that has state to sync before it can serve.
type store struct {
	fetch   func(context.Context) error
	records atomic.Int64
}

func startStore(ctx context.Context, registry *healthkit.Registry) (*store, error) {
	// It reports by itself: not ready before its first sync, and stale when it
	// has said nothing for half a minute.
	records, err := registry.Register("records", healthkit.Options{TTL: 30 * time.Second, DependsOn: []string{"database"}})
	if err != nil {
		return nil, err
	}
	// The loop has to go round; one that is stuck makes the process not live.
	loop, err := registry.RegisterLoop("sync", 20*time.Second)
	if err != nil {
		return nil, err
	}
	s := &store{fetch: fetch}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer loop.Close()
		again := time.NewTicker(time.Second)
		defer again.Stop()
		for ctx.Err() == nil {
			loop.Tick()
			if err := s.sync(ctx); err != nil {
				records.Failed(err)
			} else {
				records.Ready()
			}
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		}
	}()
	records.OnStop(func(ctx context.Context) error {
		stop()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return s, nil
}

// sync takes less than what the loop may take, and less than the TTL: nobody is
// restarted because a database hangs.
func (s *store) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.fetch(ctx); err != nil {
		return err
	}
	s.records.Add(1)
	return nil
}

func (s *store) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "served from %d records\n", s.records.Load())
}
