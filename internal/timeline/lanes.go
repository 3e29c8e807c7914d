package timeline

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// staleAfter is how many periods of the direct probes a result holds for.
const staleAfter = 3

// Lanes are the lanes of the instances that events or probes tell of, by first appearance
// in the events, then in the probes.
//
// The verdict is what the runtime's events say. Ready, Unready and Gone decide about
// routing, and Started and Terminating do not: an instance that is asked to stop is
// Ready until the runtime stops routing to it, and Draining from then on.
//
// The truth is a step function of the results of the direct probes: the result of a
// probe holds from when it was sent until the next one to the same instance was, but for
// no longer than three periods of the probes, or one period more than the probe took. So
// each change of the truth is seen up to one period late. Where no result holds, the
// truth is unknown, and that time counts as neither agreement nor disagreement: it is in
// no span of Truth, and InState tells how much of it there is.
//
// FalseReady is where the verdict is Ready and the truth NotServing. FalseUnready is
// where the verdict is Starting or Unready and the truth Serving; Draining and Gone are
// not among them, for there the runtime does not say that the instance cannot serve, but
// that it was told to go, and serving meanwhile is what a lame duck is for.
func Lanes(d *record.TrialData, window Span) []Lane {
	type raw struct {
		lane   Lane
		events []record.Event
		probes []record.ProbeResult
	}
	var all []*raw
	byID := make(map[string]*raw)
	of := func(id, revision string) *raw {
		r := byID[id]
		if r == nil {
			r = &raw{lane: Lane{Instance: id, Sync: -1}}
			byID[id] = r
			all = append(all, r)
		}
		if r.lane.Revision == "" {
			r.lane.Revision = revision
		}
		return r
	}
	for _, e := range d.Events {
		if e.Instance != "" && speaksOfInstance(e.Kind) {
			r := of(e.Instance, e.Revision)
			r.events = append(r.events, e)
		}
	}
	for _, p := range d.Probes {
		r := of(p.Instance, p.Revision)
		r.probes = append(r.probes, p)
	}

	last := end(d)
	lanes := make([]Lane, len(all))
	for i, r := range all {
		l := &r.lane
		l.Verdict = verdict(r.events, last)
		l.Truth = truth(r.probes, d.Trial.ProbeEvery, last)
		serving, failing := in(l.Truth, Serving), in(l.Truth, NotServing)
		l.FalseReady = intersect(in(l.Verdict, Ready), failing)
		l.FalseUnready = intersect(in(l.Verdict, Starting, Unready), serving)
		if i := slices.IndexFunc(r.events, func(e record.Event) bool { return e.Kind == record.Started }); i >= 0 {
			began := r.events[i].At
			l.ByAction = d.Trial.Action != record.NoAction && began >= window.From
			if j := slices.IndexFunc(r.probes, func(p record.ProbeResult) bool { return p.OK && p.At >= began }); j >= 0 {
				l.Sync = r.probes[j].At - began
			}
		}
		lanes[i] = *l
	}
	return lanes
}

func speaksOfInstance(k record.EventKind) bool {
	switch k {
	case record.Started, record.Ready, record.Unready, record.Terminating, record.Gone:
		return true
	}
	return false
}

// verdict turns what the runtime said of one instance into spans without gaps, from the
// first event to the end of the record.
func verdict(events []record.Event, last time.Duration) []StateSpan {
	var spans []StateSpan
	var routed, wasReady, terminating, gone bool
	for _, e := range events {
		switch e.Kind {
		case record.Started:
			if gone { // a new life under the same name
				routed, wasReady = false, false
			}
			terminating, gone = false, false
		case record.Ready:
			routed, wasReady = true, true
		case record.Unready:
			routed = false
		case record.Terminating:
			terminating = true
		case record.Gone:
			routed, gone = false, true
		}
		state := Starting
		switch {
		case gone:
			state = Gone
		case routed:
			state = Ready
		case terminating:
			state = Draining
		case wasReady:
			state = Unready
		}
		spans = step(spans, e.At, state)
	}
	return finish(spans, last)
}

// truth turns the probes of one instance, by At, into spans; there are gaps where it is unknown.
func truth(probes []record.ProbeResult, every, last time.Duration) []StateSpan {
	var spans []StateSpan
	for i, p := range probes {
		to := max(staleAfter*every, p.Took+every)
		if i+1 < len(probes) {
			to = min(p.At+to, probes[i+1].At)
		} else {
			to = min(p.At+to, max(last, p.At))
		}
		state := NotServing
		if p.OK {
			state = Serving
		}
		if n := len(spans); n > 0 && spans[n-1].State == state && spans[n-1].To == p.At {
			spans[n-1].To = to
		} else if to > p.At {
			spans = append(spans, StateSpan{Span: Span{From: p.At, To: to}, State: state})
		}
	}
	if n := len(spans); n > 0 {
		spans[n-1].Open = spans[n-1].To >= last
	}
	return spans
}

// step begins a state at an instant and ends the one before it.
func step(spans []StateSpan, at time.Duration, state State) []StateSpan {
	if n := len(spans); n > 0 {
		if spans[n-1].State == state {
			return spans
		}
		spans[n-1].To = at
		if spans[n-1].From == at { // two events at once: the later one stands
			spans = spans[:n-1]
			return step(spans, at, state)
		}
	}
	return append(spans, StateSpan{Span: Span{From: at}, State: state})
}

func finish(spans []StateSpan, last time.Duration) []StateSpan {
	if n := len(spans); n > 0 {
		spans[n-1].To, spans[n-1].Open = max(last, spans[n-1].From), true
	}
	return spans
}

// in are the spans in one of the states.
func in(spans []StateSpan, states ...State) []Span {
	var out []Span
	for _, s := range spans {
		if slices.Contains(states, s.State) {
			out = append(out, s.Span)
		}
	}
	return out
}

// intersect is where spans of both lists are, which must be sorted and not overlap within
// a list.
func intersect(a, b []Span) []Span {
	var out []Span
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if part, ok := a[i].cut(b[j]); ok {
			part.Open = a[i].Open && b[j].Open
			out = append(out, part)
		}
		if a[i].To < b[j].To {
			i++
		} else {
			j++
		}
	}
	return out
}

// InState is the time of the window that the lane's verdict was in a state, and how much
// of it the truth was unknown.
func (l *Lane) InState(state State, window Span) (total, unknown time.Duration) {
	spans := in(l.Verdict, state)
	total = Total(spans, window)
	known := intersect(spans, in(l.Truth, Serving, NotServing))
	return total, total - Total(known, window)
}

// TruthAt is what a direct probe says of the instance at an instant; "" when it is unknown.
func (l *Lane) TruthAt(at time.Duration) State { return stateAt(l.Truth, at) }

// VerdictAt is what the runtime says of the instance at an instant; "" before it was heard of.
func (l *Lane) VerdictAt(at time.Duration) State { return stateAt(l.Verdict, at) }

func stateAt(spans []StateSpan, at time.Duration) State {
	i, found := slices.BinarySearchFunc(spans, at, func(s StateSpan, at time.Duration) int {
		return int(min(max(s.From-at, -1), 1))
	})
	if !found {
		i--
	}
	if i < 0 || !spans[i].Holds(at) {
		return ""
	}
	return spans[i].State
}
