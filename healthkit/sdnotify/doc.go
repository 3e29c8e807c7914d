// Package sdnotify tells systemd what a healthkit registry says, by the
// sd_notify protocol.
//
// What is told is a function of one snapshot and of what was told before
// ([Next], [Watchdog], [Extension]); a [Notifier] carries it out, all messages
// in order from one goroutine:
//
//	snapshot                         message
//	first ready                      READY=1, never taken back
//	any change                       STATUS=, sanitised and bounded
//	generation pending, or Reload    RELOADING=1 with MONOTONIC_USEC, then READY=1
//	lame duck                        STOPPING=1
//	lame duck and draining           EXTEND_TIMEOUT_USEC, renewed within a budget
//	live                             WATCHDOG=1 twice per WATCHDOG_USEC
//	a loop stuck for two limits      WATCHDOG=trigger
//
// systemd has no way to say "active, but do not route here": READY=1 stands
// when readiness is lost. A balancer has to read the status text or /readyz.
//
// The package is not a client of systemd: it asks nothing and stores nothing
// there. Without NOTIFY_SOCKET it does nothing, and says so ([Notifier.Enabled]).
package sdnotify
