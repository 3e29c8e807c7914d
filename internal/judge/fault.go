package judge

import (
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// Fault is what became of a planned fault, and what the runtime did about it.
type Fault struct {
	timeline.Fault
	Instances []InstanceFault // those of the subject that it was done to, by injection
	// Evicted are instances that the runtime took out or restarted while the fault was there, or
	// behind it and before the next one, and had no reason to: see Trial.FalseEvictions.
	Evicted []string
}

// InstanceFault is a fault in one instance, and what the runtime did about it. Times are nil
// where it did not happen in the window.
type InstanceFault struct {
	ID        string
	Routed    bool           // it was routed to when the fault was injected
	Detection *time.Duration // from the injection until the runtime no longer called it ready
	Ejection  *time.Duration // from the injection to the last request to it, where it was taken out
	Return    *time.Duration // from the healing until it, or another in its place, is routed to
	Restarts  int            // how often the runtime started it anew
}

// Eviction is an instance that the runtime took out or restarted unasked.
type Eviction struct {
	Instance string
	At       time.Duration
}

// Faults whose kind says more than that they are done to something.
const (
	deadlockFault = "deadlock" // no request shows it, and the instance is broken all the same
	revisionFault = "revision" // it is in every instance of the revision after
	commandFault  = "command"  // what it is done to is the user's secret
)

// takesOut are the faults that are themselves the end of what they are done to.
var takesOut = []string{string(drivers.FaultKill), string(drivers.FaultEvict), string(drivers.FaultNodeDrain)}

// watcher holds what the runtime did against what was done to its instances.
type watcher struct {
	*finder
	t      *Trial
	action timeline.Span // in which what starts and stops may be the action's doing; zero for none
	from   time.Duration // what the runtime does is looked at from here on
}

// react fills in what the runtime did about the trial's faults, and what it did unasked.
func react(f *finder, t *Trial) {
	w := &watcher{finder: f, t: t, from: t.Window.From}
	if action, ok := timeline.Action(f.d); ok && t.Meta.Action != record.NoAction {
		if w.action = action; t.Meta.UntilCalm != (record.UntilCalm{}) {
			w.action.To = max(action.To, t.Window.To) // what a command has begun goes on behind it
		}
	}
	for i, of := range t.Timeline.Faults {
		began := of.At
		if of.Injected() {
			began = min(began, of.From)
		}
		if began = max(began, t.Window.From); i == 0 || began < w.from {
			w.from = began
		}
	}
	for _, of := range t.Timeline.Faults {
		t.Faults = append(t.Faults, w.fault(of))
	}
	t.FalseEvictions = w.falseEvictions()
	for _, e := range t.FalseEvictions {
		if at := behind(t, e.At); at >= 0 {
			t.Faults[at].Evicted = append(t.Faults[at].Evicted, e.Instance)
		}
	}
	t.NoneRouted = timeline.NoneRouted(t.Timeline.Lanes, t.Window)
	t.Restarts = w.restarts("")
}

// behind is the place of the last fault that was injected before an instant; -1 where none was.
func behind(t *Trial, at time.Duration) int {
	last := -1
	for i := range t.Faults {
		if f := &t.Faults[i]; f.Injected() && min(f.At, f.From) <= at && (last < 0 || f.From >= t.Faults[last].From) {
			last = i
		}
	}
	return last
}

func (w *watcher) fault(of timeline.Fault) Fault {
	out := Fault{Fault: of}
	for _, touch := range of.Touched {
		if in := w.instances[touch.Instance]; in != nil {
			out.Instances = append(out.Instances, w.reaction(&of, touch, in))
		}
	}
	return out
}

// reaction is what the runtime did about a fault in an instance. The runtime may have seen the
// fault before whoever injected it could say that it is there; not before it was due.
func (w *watcher) reaction(of *timeline.Fault, touch timeline.Touch, in *instance) InstanceFault {
	out := InstanceFault{ID: touch.Instance, Restarts: w.restarts(touch.Instance)}
	due, left := max(min(of.At, touch.From), w.t.Window.From), never
	for _, span := range in.lane.Verdict {
		if span.State == timeline.Ready && span.From <= touch.From && due < span.To {
			out.Routed = true
			if left = span.To; span.Open || left >= w.t.Window.To {
				left = never
			}
			break
		}
	}
	if left < never {
		out.Detection = new(max(0, left-touch.From))
		out.Ejection = w.ejection(touch, min(in.routedFrom(left), w.t.Window.To))
	}
	if !out.Routed || touch.Open {
		return out // it cannot be back where it never was, or while the fault is still there
	}
	back := touch.To
	if left < never {
		if back = in.routedFrom(max(left, touch.To)); back == never && in.gone < never {
			back = w.replaced(due, max(left, touch.To))
		}
	}
	if back < w.t.Window.To {
		out.Return = new(max(0, back-touch.To))
	}
	return out
}

// routedFrom is the first instant from one on at which the instance is routed to.
func (in *instance) routedFrom(at time.Duration) time.Duration {
	for _, span := range in.lane.Verdict {
		if span.State == timeline.Ready && at < span.To {
			return max(at, span.From)
		}
	}
	return never
}

// ejection is from the injection to the last request that was sent to the instance before it
// was back; nil where no request is known to have been sent to it. A request that was lost has no
// answer that could name an instance: it counts where all that is known of it points to this one, or
// to several with it, as where a fault is in more than one.
func (w *watcher) ejection(touch timeline.Touch, back time.Duration) *time.Duration {
	last, known := time.Duration(0), false
	for i := range w.d.Samples {
		s := &w.d.Samples[i]
		known = known || s.Instance == touch.Instance
		if s.Sent >= touch.From+last && s.Sent < back && w.sentTo(touch.Instance, s) {
			last = s.Sent - touch.From
		}
	}
	if !known {
		return nil
	}
	return &last
}

// sentTo reports whether a request was sent to an instance, as far as that is known.
func (w *watcher) sentTo(id string, s *record.Sample) bool {
	if s.Instance != "" || s.Class == record.OK {
		return s.Instance == id
	}
	return w.mayHaveHad(id, s)
}

// replaced is the first instant from one on at which as many instances are routed to as there
// were at another one before.
func (w *watcher) replaced(before, from time.Duration) time.Duration {
	routed := func(at time.Duration) (n int) {
		for _, in := range w.instances {
			if in.lane.VerdictAt(at) == timeline.Ready {
				n++
			}
		}
		return n
	}
	if routed(from) >= routed(before) {
		return from
	}
	first := never
	for _, in := range w.instances {
		for _, span := range in.lane.Verdict {
			if span.State == timeline.Ready && span.From >= from && span.From < first && routed(span.From) >= routed(before) {
				first = span.From
			}
		}
	}
	return first
}

// acts reports whether an action was under way.
func (w *watcher) acts(at time.Duration) bool {
	return w.action != timeline.Span{} && w.action.From <= at && at <= w.action.To
}

// restarts is how often the runtime started an instance, or any one where the ID is "", though
// neither an action nor a fault asked for it: one that had ended, or one more without an action.
// One in the place of an instance that a fault told to go is part of the move.
func (w *watcher) restarts(id string) (n int) {
	lived, moved := make(map[string]bool), w.moved()
	for _, e := range w.d.Events {
		if e.Kind != record.Started || e.Instance == "" {
			continue
		}
		again := lived[e.Instance]
		lived[e.Instance] = true
		if id != "" && e.Instance != id || e.At < w.from || e.At >= w.t.Window.To {
			continue
		}
		// To start something is the action's doing, and to start again what it has stopped.
		if w.acts(e.At) && (!again || w.instances[e.Instance].endedBy(e)) {
			continue
		}
		if !again && len(moved) > 0 && moved[0] <= e.At {
			moved = moved[1:]
			continue
		}
		n++
	}
	return n
}

// moved is when a fault told instances to go elsewhere, by time: each of them is owed one in its
// place.
func (w *watcher) moved() (at []time.Duration) {
	for id, in := range w.instances {
		for _, span := range in.stopped {
			if !w.acts(span.From) && (w.drains(span.From) || w.evicts(id, span.From)) {
				at = append(at, span.From)
				break
			}
		}
	}
	slices.Sort(at)
	return at
}

// drains reports whether a node was being drained: all that it ran was told to go.
func (w *watcher) drains(at time.Duration) bool {
	return slices.ContainsFunc(w.t.Timeline.Faults, func(f timeline.Fault) bool {
		return f.Kind == string(drivers.FaultNodeDrain) && f.Injected() && min(f.At, f.From) <= at && at <= f.To
	})
}

// evicts reports whether an instance was evicted by then.
func (w *watcher) evicts(id string, at time.Duration) bool {
	return slices.ContainsFunc(w.t.Timeline.Faults, func(f timeline.Fault) bool {
		_, done := f.Of(id, at)
		return done && f.Kind == string(drivers.FaultEvict)
	})
}

// endedBy reports whether the life before a start ended because the instance was told to stop.
func (in *instance) endedBy(started record.Event) bool {
	return slices.ContainsFunc(in.stopped, func(span timeline.Span) bool { return span.To == started.At })
}

// falseEvictions are the instances that the runtime took out or restarted though neither an
// action nor a fault had asked for it, and that were not broken, each once, by time.
func (w *watcher) falseEvictions() (all []Eviction) {
	for id, in := range w.instances {
		if at, ok := w.falselyEvicted(id, in); ok {
			all = append(all, Eviction{id, at})
		}
	}
	slices.SortFunc(all, func(a, b Eviction) int {
		if a.At != b.At {
			return int(min(max(a.At-b.At, -1), 1))
		}
		return strings.Compare(a.Instance, b.Instance)
	})
	return all
}

func (w *watcher) falselyEvicted(id string, in *instance) (at time.Duration, ok bool) {
	for _, span := range in.lane.Verdict {
		if span.State == timeline.Ready && !span.Open && w.looksAt(span.To) && !w.asked(in, span.To) && !w.broken(id, in, span) {
			return span.To, true
		}
	}
	return 0, false
}

func (w *watcher) looksAt(at time.Duration) bool { return at >= w.from && at < w.t.Window.To }

// tellsLate is how long behind the end of its routing a runtime may say that an instance was
// told to stop: it has the two from different sources.
const tellsLate = time.Second

// asked reports whether an instance was taken out because an action, or the drain of a node, had
// it stop.
func (w *watcher) asked(in *instance, left time.Duration) bool {
	return slices.ContainsFunc(in.stopped, func(span timeline.Span) bool {
		return span.From <= left+tellsLate && left < span.To && (w.acts(span.From) || w.drains(span.From))
	})
}

// broken reports whether there was a reason to take an instance out at the end of a stretch in
// which it was routed to: a fault was done to it and it could not serve, as far as is known, or
// the fault is one that ends it, or one that no request shows.
func (w *watcher) broken(id string, in *instance, routed timeline.StateSpan) bool {
	left, touched := routed.To, len(w.t.Timeline.Faults) == 0
	for i := range w.t.Timeline.Faults {
		f := &w.t.Timeline.Faults[i]
		if f.Kind == commandFault && f.Injected() || f.Kind == revisionFault && in.lane.Revision == w.t.Meta.Revisions.After {
			touched = true // as far as is known
		}
		touch, ok := f.Of(id, left)
		if !ok {
			continue
		}
		touched = true
		switch takes := slices.Contains(takesOut, f.Kind); {
		case takes && routed.From <= touch.From,
			f.Kind == deadlockFault && left <= touch.To,
			left < touch.From+2*w.slack: // too soon for a probe to have seen it
			return true
		}
	}
	return touched && !w.served(in, left)
}

// served reports whether the direct probes, as far as they say anything, have found an instance
// serving up to an instant.
func (w *watcher) served(in *instance, at time.Duration) bool {
	known := false
	for _, span := range in.lane.Truth {
		if span.From > at || span.To <= at-2*w.slack {
			continue
		}
		if known = true; span.State != timeline.Serving {
			return false
		}
	}
	return known
}

// faultReasons asks of each planned fault whether it was there and is gone: a fault that did not
// happen proves nothing about a design, and one that stayed is in numbers that are not its own.
// Of a trial that was cut short that is one reason already.
func faultReasons(d *record.TrialData, t *Trial) (why []Reason) {
	cut := func(e record.Event) bool { return e.Kind == record.TrialInterrupt }
	if d.End == nil || withheld(d) || slices.ContainsFunc(d.Events, cut) {
		return nil
	}
	for _, f := range t.Timeline.Faults {
		text := strings.Join(f.Errors, "; ")
		say := func(kind Kind, n int, over time.Duration) {
			why = append(why, Reason{Kind: kind, Names: []string{f.Name, f.Target}, Tally: Tally{uint64(n), uint64(len(f.Touched))}, Time: over, Text: text})
		}
		proven := 0
		for _, touch := range f.Touched {
			if touch.Proven {
				proven++
			}
		}
		switch outlived := f.Injected() && (f.Open || f.Lasts() && f.To >= t.Window.To); {
		case proven < len(f.Touched), !f.Injected() && text == "":
			say(FaultNotProven, proven, 0)
		case outlived:
			say(FaultOutlived, proven, max(0, min(f.To, t.Window.To)-f.At-f.For))
		case text != "":
			say(FaultError, proven, 0)
		}
	}
	return why
}

// byFault are the causes that a fault can be behind: what an action or a release does by itself is
// not among them.
var byFault = []Cause{BrokenWhileReady, TooSlow, NoInstance, BeforeReady, NewRevision, Refused, KeptBroken, ConnectionLost, WrongAnswer, Unanswered, Unknown}

// wake is how long behind its end what is lost may be a fault's: runtimes are as late to take
// something back as to take it out.
const wake = 5 * time.Second

// during is the fault that was there when a lost request was sent, in the instance that it was
// sent to or in what all of them share; nil where there was none.
func (f *finder) during(t *Trial, cause Cause, s *record.Sample, instance string) *Fault {
	if s == nil || !slices.Contains(byFault, cause) {
		return nil
	}
	var shared *Fault
	for i := range t.Faults {
		of := &t.Faults[i]
		if !of.Injected() || s.Done < min(of.At, of.From) || s.Sent > of.To+wake && (of.Lasts() || of.Detection() != nil && of.Return() != nil) {
			continue
		}
		in := f.instances[instance]
		switch _, touched := of.Of(instance, s.Done); {
		case touched && instance != "":
			return of
		case of.Kind == revisionFault && in != nil && in.lane.Revision == t.Meta.Revisions.After:
			return of
		case instance == "" || len(of.Instances) == 0 && of.Kind != revisionFault:
			shared = of
		}
	}
	if shared == nil && cause == NoInstance && t.Meta.Action == record.NoAction {
		if last := behind(t, s.Sent); last >= 0 { // nothing else takes all instances away
			shared = &t.Faults[last]
		}
	}
	return shared
}

// Detection and Return are the longest over the instances that were routed to when the fault was
// injected; nil where there is none, or it did not happen to all of them.
func (f *Fault) Detection() *time.Duration {
	return f.slowest(func(in InstanceFault) *time.Duration { return in.Detection })
}
func (f *Fault) Return() *time.Duration {
	return f.slowest(func(in InstanceFault) *time.Duration { return in.Return })
}

func (f *Fault) slowest(of func(InstanceFault) *time.Duration) (longest *time.Duration) {
	for _, in := range f.Instances {
		took := of(in)
		switch {
		case !in.Routed:
		case took == nil:
			return nil
		case longest == nil || *took > *longest:
			longest = took
		}
	}
	return longest
}

// Hit are the instances that were routed to when the fault was injected into them.
func (f *Fault) Hit() (ids []string) {
	for _, in := range f.Instances {
		if in.Routed {
			ids = append(ids, in.ID)
		}
	}
	return ids
}
