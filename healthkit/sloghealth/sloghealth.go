// Package sloghealth writes what changes in a healthkit registry to a log: a record for each
// change of a component, of a work loop, of the readiness of the process and of its phase. A
// report that changes no state is no record, whatever its reason.
//
// The level says what a change means. A component that fails or goes stale is an Error when it
// keeps the process unready or makes it not live, and a Warning when it does not: it is
// optional, excused, or the process is on its way out. A loop that is stuck is an Error, less than
// ready is a Warning, and what goes as it should is Info.
//
// Reasons are logged as they are, whoever reads the log: they are texts of errors.
package sloghealth

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// The messages, and the attributes that come with them; a reason only when there is one.
const (
	MsgComponent = "component changed"   // component, from, to, reason; changes, when there was more than one
	MsgRetracted = "component retracted" // component, from
	MsgStuck     = "loop stuck"          // loop, limit
	MsgResumed   = "loop resumed"        // loop, limit
	MsgReady     = "ready"               // after: for the first time, how long it took
	MsgNotReady  = "not ready"           // reason
	MsgPhase     = "phase changed"       // from, to, reason
)

// To returns a Follower that logs changes until ctx ends or the registry is closed, and then
// those that are left; it returns nil. It begins with what differs from an empty registry. It
// looks as soon as something has changed; what has changed twice by then is one record.
func To(l *slog.Logger) healthkit.Follower {
	return func(ctx context.Context, r *healthkit.Registry) error {
		was := &healthkit.Snapshot{}
		log := func(now *healthkit.Snapshot) {
			for _, c := range changes(was, now) {
				l.LogAttrs(context.WithoutCancel(ctx), c.level, c.msg, c.attrs...)
			}
			was = now
		}
		for now := range r.Watch(ctx) {
			log(now)
		}
		log(r.Snapshot())
		return nil
	}
}

type change struct {
	level slog.Level
	msg   string
	attrs []slog.Attr
}

func changes(was, now *healthkit.Snapshot) []change {
	var out []change
	// That it serves is said by the readiness.
	if now.Phase != was.Phase && now.Phase > healthkit.PhaseServing {
		out = append(out, change{slog.LevelInfo, MsgPhase, fromTo(was.Phase, now.Phase, now.PhaseReason)})
	}
	out = append(out, componentChanges(was, now)...)
	out = append(out, loopChanges(was, now)...)
	if now.Ready() == was.Ready() || now.Phase > healthkit.PhaseServing {
		return out
	}
	if !now.Ready() {
		reason := strings.TrimPrefix(now.Reason(), MsgNotReady+": ")
		return append(out, change{slog.LevelWarn, MsgNotReady, []slog.Attr{slog.String("reason", reason)}})
	}
	ready := change{level: slog.LevelInfo, msg: MsgReady}
	if !was.Started {
		ready.attrs = []slog.Attr{slog.Duration("after", now.FirstReady.Sub(now.Created))}
	}
	return append(out, ready)
}

func componentChanges(was, now *healthkit.Snapshot) []change {
	var out []change
	for _, c := range now.Components {
		old, ok := was.Component(c.Name)
		if !ok || old.Transitions > c.Transitions { // another one of that name
			old = healthkit.ComponentStatus{}
		}
		n := c.Transitions - old.Transitions
		if n == 0 {
			continue
		}
		attrs := append([]slog.Attr{slog.String("component", c.Name)}, fromTo(old.State, c.State, c.Reason)...)
		if n > 1 {
			attrs = append(attrs, slog.Uint64("changes", n))
		}
		out = append(out, change{levelOf(now, c), MsgComponent, attrs})
	}
	for _, old := range was.Components {
		if _, ok := now.Component(old.Name); !ok {
			out = append(out, change{slog.LevelInfo, MsgRetracted, []slog.Attr{
				slog.String("component", old.Name), slog.String("from", old.State.String()),
			}})
		}
	}
	return out
}

func levelOf(s *healthkit.Snapshot, c healthkit.ComponentStatus) slog.Level {
	switch fails := c.State == healthkit.Failed || c.State == healthkit.Stale; {
	case fails && (c.FailsLiveness || c.Blocking() && s.Phase <= healthkit.PhaseServing):
		return slog.LevelError
	case fails || c.State == healthkit.Degraded:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func loopChanges(was, now *healthkit.Snapshot) []change {
	var out []change
	for _, loop := range now.Loops {
		i := slices.IndexFunc(was.Loops, func(o healthkit.LoopStatus) bool { return o.Name == loop.Name })
		if stuck := i >= 0 && was.Loops[i].Stuck; stuck == loop.Stuck {
			continue
		}
		c := change{slog.LevelInfo, MsgResumed, []slog.Attr{slog.String("loop", loop.Name), slog.Duration("limit", loop.Limit)}}
		if loop.Stuck {
			c.level, c.msg = slog.LevelError, MsgStuck
		}
		out = append(out, c)
	}
	return out
}

func fromTo[S interface{ String() string }](from, to S, reason string) []slog.Attr {
	attrs := []slog.Attr{slog.String("from", from.String()), slog.String("to", to.String())}
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	return attrs
}
