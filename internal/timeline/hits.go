package timeline

import (
	"iter"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Hit is one hit of the schedule. Sample is nil when the record holds none: the hit was
// never sent, or what became of it is lost. Either way it was not served.
type Hit struct {
	Seq      uint64
	Intended time.Duration
	Sample   *record.Sample
}

// OK reports whether the hit was sent and met what it had to meet.
func (h Hit) OK() bool { return h.Sample != nil && h.Sample.Class == record.OK }

// Hits yields every hit that the schedule of the load has, in the order of the schedule,
// sent or not. A hit without a sample is placed by the rate, counted from the sample
// before it (from the one behind it when there is none before, and at LoadFrom +
// (seq+1)/rate when there is no sample at all).
func Hits(d *record.TrialData) iter.Seq[Hit] {
	return func(yield func(Hit) bool) {
		t := &d.Trial
		// The anchor is the hit that the next missing one is counted from.
		anchor, seq := t.LoadFrom+Period(t), uint64(0)
		if len(d.Samples) > 0 {
			anchor, seq = d.Samples[0].Intended, d.Samples[0].Seq
		}
		missing := func(k uint64) Hit {
			return Hit{Seq: k, Intended: anchor + hitsLast(t, int64(k)-int64(seq))}
		}
		next := uint64(0)
		for i := range d.Samples {
			s := &d.Samples[i]
			for ; next < s.Seq; next++ {
				if !yield(missing(next)) {
					return
				}
			}
			if !yield(Hit{Seq: s.Seq, Intended: s.Intended, Sample: s}) {
				return
			}
			anchor, seq, next = s.Intended, s.Seq, s.Seq+1
		}
		for ; next < t.Planned; next++ {
			if !yield(missing(next)) {
				return
			}
		}
	}
}

// Period is the time from one hit of the load to the next, 1/rate; 0 for a trial without
// a rate.
func Period(t *record.Trial) time.Duration { return hitsLast(t, 1) }

// hitsLast is how long n hits take, without the error of n rounded periods.
func hitsLast(t *record.Trial, n int64) time.Duration {
	if t.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(n) / t.Rate * float64(time.Second))
}

// Len is how long the span is.
func (s Span) Len() time.Duration { return s.To - s.From }

// Holds reports whether an instant lies in the span, whose end is not part of it.
func (s Span) Holds(at time.Duration) bool { return s.From <= at && at < s.To }

// cut is the part of s that lies in w; ok is false when there is none.
func (s Span) cut(w Span) (part Span, ok bool) {
	part = Span{From: max(s.From, w.From), To: min(s.To, w.To), Open: s.Open && s.To <= w.To}
	return part, part.From < part.To
}

// Total is how much of the window the spans cover. They must not overlap.
func Total(spans []Span, window Span) time.Duration {
	var total time.Duration
	for _, s := range spans {
		if part, ok := s.cut(window); ok {
			total += part.Len()
		}
	}
	return total
}

// Load is the span of the load: what was planned, stretched where a recorded hit was
// intended outside it.
func Load(d *record.TrialData) Span {
	load := Span{From: d.Trial.LoadFrom, To: d.Trial.LoadTo}
	if n := len(d.Samples); n > 0 {
		load.From = min(load.From, d.Samples[0].Intended)
		load.To = max(load.To, d.Samples[n-1].Intended)
	}
	return load
}

// end is the end of the record: when the trial ended, or the last thing known of it.
func end(d *record.TrialData) time.Duration {
	last := Load(d).To
	if n := len(d.Events); n > 0 {
		last = max(last, d.Events[n-1].At)
	}
	if n := len(d.Probes); n > 0 {
		last = max(last, d.Probes[n-1].At)
	}
	if d.End != nil {
		last = max(last, d.End.At)
	}
	return last
}

// Action is the span from the start of the action to its completion, as the record's
// events tell; ok is false when it never started. It is Open, and ends with the record,
// when the runtime never said that it is complete: of a rollout that is taken back, both.
func Action(d *record.TrialData) (action Span, ok bool) {
	started := slices.IndexFunc(d.Events, func(e record.Event) bool { return e.Kind == record.ActionStarted })
	if started < 0 {
		return Span{}, false
	}
	action = Span{From: d.Events[started].At, To: end(d), Open: true}
	missing := d.Trial.Steps()
	for _, e := range d.Events[started:] {
		if e.Kind != record.ActionDone && e.Kind != record.ActionStopped {
			continue
		}
		if missing--; missing == 0 {
			if e.Kind == record.ActionDone {
				action.To, action.Open = e.At, false
			}
			break
		}
	}
	return action, true
}
