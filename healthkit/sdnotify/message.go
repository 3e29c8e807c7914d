package sdnotify

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// MaxStatus is the longest text after STATUS=, in bytes. systemd drops a whole
// message above 4096 bytes, so the text has to leave room for the rest.
const MaxStatus = 1024

// Told is what the service manager has been told. The zero Told is nothing.
type Told struct {
	Ready     bool
	Reloading bool
	Stopping  bool
	// Reloads is how many explicit reloads have been announced.
	Reloads uint64
	Status  string
}

// Moment is what a message needs besides the snapshot.
type Moment struct {
	// Monotonic is CLOCK_MONOTONIC in microseconds; zero on a system without.
	Monotonic uint64
	// Begun and Ended count the explicit reloads (see Notifier.Reload).
	Begun, Ended uint64
}

// Next returns the next message that brings a service manager who was told
// told up to s, and what it will have been told by it. It returns "" when there
// is nothing left to tell. One message is one datagram.
func Next(told Told, s *healthkit.Snapshot, m Moment) (message string, after Told) {
	after = told
	status := Status(s)
	stopping := s.Phase > healthkit.PhaseServing
	reloading := m.Begun != m.Ended || s.Phase == healthkit.PhaseServing && !s.Generations.Met
	var head string
	switch {
	case s.Started && !told.Ready:
		head = daemon.SdNotifyReady
		after.Ready = true
		if m.Begun == m.Ended {
			after.Reloads = m.Begun // a reload that was over before the start was
		}
	case stopping && told.Reloading:
		// systemd takes STOPPING=1 from a running unit, not from one that
		// reloads, so the reload is given up first.
		head = daemon.SdNotifyReady
		after.Reloading = false
	case stopping && !told.Stopping:
		head = daemon.SdNotifyStopping
		after.Stopping = true
	case !stopping && told.Ready && (told.Reloads != m.Begun || reloading && !told.Reloading):
		// Announced anew for each explicit reload, also within one that goes
		// on: systemd waits for a timestamp after its own request.
		head = daemon.SdNotifyReloading
		if m.Monotonic > 0 {
			head += "\nMONOTONIC_USEC=" + strconv.FormatUint(m.Monotonic, 10)
		}
		after.Reloading, after.Reloads = true, m.Begun
	case told.Reloading && !reloading:
		head = daemon.SdNotifyReady
		after.Reloading = false
	case status == told.Status:
		return "", told
	}
	after.Status = status
	if head == "" {
		return "STATUS=" + status, after
	}
	return head + "\nSTATUS=" + status, after
}

// Status returns the text after STATUS=. What stands before the first colon or
// semicolon is the verdict: "ready", "degraded" or "not ready"; then why, and
// what is wrong with liveness if anything is. It is safe to send whatever bytes
// the reports hold.
func Status(s *healthkit.Snapshot) string {
	text := s.Reason()
	if s.Ready() {
		text = strings.TrimPrefix(text, "ready, ")
	}
	if !s.Live() {
		text += "; " + s.LiveReason()
	}
	return clean(text)
}

// clean makes text valid UTF-8 of at most MaxStatus bytes in which nothing ends
// the line, moves a terminal's cursor or turns the direction of writing.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, text)
	if len(text) <= MaxStatus {
		return text
	}
	const more = "..."
	cut := MaxStatus - len(more)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}

// Watchdog returns what a watchdog that is due at now is told: WATCHDOG=1 when
// the process is live, WATCHDOG=trigger when a deadlock is proven, otherwise ""
// so that the watchdog runs out.
//
// A deadlock is proven when a loop has missed its limit and then, for as long
// again, not ticked either. The first miss alone proves nothing: a process that
// was frozen and goes on finds every loop late, and each of them well. A process
// that stops is not triggered: the time to stop is bounded, and the abort would
// lose the requests in flight.
func Watchdog(s *healthkit.Snapshot, now time.Time) string {
	if at, ok := provenAt(s); ok && !now.Before(at) {
		return "WATCHDOG=trigger"
	}
	if s.Live() {
		return daemon.SdNotifyWatchdog
	}
	return ""
}

// provenAt returns when the first of the stuck loops will have proven its
// deadlock.
func provenAt(s *healthkit.Snapshot) (at time.Time, ok bool) {
	if s.Phase > healthkit.PhaseServing {
		return time.Time{}, false
	}
	for _, p := range s.Loops {
		if !p.Stuck {
			continue
		}
		if t := p.Since.Add(p.Limit); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Extension returns the EXTEND_TIMEOUT_USEC message for a stop that began at
// began, and "" when there is none to send: the process does not stop, has
// stopped, is not live, or has used up its budget. It asks for step, less at
// the end of the budget, so a stop that hangs is killed after all.
func Extension(s *healthkit.Snapshot, began, now time.Time, step, budget time.Duration) string {
	if s.Phase <= healthkit.PhaseServing || s.Phase == healthkit.PhaseStopped || !s.Live() {
		return ""
	}
	ask := min(step, budget-now.Sub(began))
	if ask < time.Microsecond {
		return ""
	}
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(ask.Microseconds(), 10)
}
