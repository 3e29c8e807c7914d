// Package healthkit tells the world outside a process whether the process can
// serve, and why not when it cannot, and ends it in order.
//
// Most services need three calls, shown here without their errors:
//
//	registry := healthkit.New(healthkit.Config{Expect: []string{"storage", "database"}})
//
//	// A part that reports by itself: storage.Ready(), storage.Failed(err) ...
//	storage, err := registry.Register("storage", healthkit.Options{})
//	// ... or one that is asked.
//	_, err = registry.RegisterCheck("database", db.PingContext, healthkit.CheckOptions{})
//
//	// Serves, answers the probes, and on SIGTERM ends in order.
//	_, err = registry.Run(ctx, healthkit.RunPlan{
//		Endpoints:  []healthkit.Endpoint{{Addr: ":8080", Server: &http.Server{Handler: mux}}},
//		HealthAddr: ":8081",
//	})
//
// One [Registry] holds every part of the service as a [Component]. Parts push
// what they know through their handle, or a check function is run for them in
// the background ([Registry.RegisterCheck]); a probe never runs a check and never
// waits for one. Everything told to the outside (HTTP probes, the probe
// command, adapters for other protocols) is a function of one immutable,
// versioned [Snapshot], so no two of them can disagree about a version.
//
// Readiness and liveness are different questions. Readiness is about
// components: it is false on an empty registry, before the first report of a
// required component, and when a report has outlived its time to live.
// Liveness is about progress: work loops are registered ([Registry.RegisterLoop])
// and must tick; no component takes part in liveness unless it asks for it by
// Options.LivenessOverride.
//
// Policies say what trouble of one component means for the process: required or
// optional, fail-closed, fail-open or, for what the whole fleet shares,
// fail-shared ([FailurePolicy]); [Hysteresis]; groups of which some members
// suffice ([Registry.RegisterGroup]); agreement on a generation of state and its
// age ([GenerationPolicy]).
//
// The life of a process goes forward only: starting, serving, lame duck,
// draining, stopped ([Phase]). [Registry.Run] lives it from listening to the last
// probe. What takes its work by itself hears of the end first ([Registry.Stopping]),
// what would not end by itself when the drain begins ([Component.OnDrain]).
// Components are stopped in the reverse order of their dependencies
// ([Component.OnStop]), and everything has to fit into a budget.
//
// A service that listens itself has the second half of Run in [Registry.Shutdown],
// with [Graceful] for its servers. [Registry.Close] is for what was never to serve,
// such as a test, and [Registry.Advance] for a shutdown that is none of these.
//
// Whoever reaches the probes sees names and states. Reasons are for those whom
// Config.Details names, by default this machine ([FromLoopback]). A test of the service
// calls [Registry.Validate] once all is registered: names in its configuration that no
// component has are silent otherwise.
//
// The package is not a supervisor, not a metrics library and not a service
// registry: it restarts nothing, and it knows nothing of other processes.
package healthkit
