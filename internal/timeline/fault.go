package timeline

import (
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Fault is what became of a planned fault, as the events tell it.
type Fault struct {
	record.Fault
	// Span is from its first injection to its last healing, Open where something of it was never
	// healed. One that is over as soon as it has happened ends with its last injection. It is
	// zero where nothing was injected.
	Span
	Touched []Touch  // by injection
	Errors  []string // what the lab could not do, in its words
}

// Touch is a fault in one thing: an instance of the subject, or what has no name here.
type Touch struct {
	Instance string // "" where it is none of the subject's
	Span            // while it was there; at one instant where it does not last
	Proven   bool   // something else than what injected it says so
	Seen     string // what that has seen
}

// Lasts reports whether the fault is there until it is healed.
func (f *Fault) Lasts() bool { return f.For > 0 }

// Injected reports whether it has been in effect anywhere.
func (f *Fault) Injected() bool { return len(f.Touched) > 0 }

// Healed reports whether nothing of it is left that lasts.
func (f *Fault) Healed() bool { return f.Injected() && !f.Open }

// Faults are the planned faults with what the events tell of each, in the order of the plan.
func Faults(d *record.TrialData) []Fault {
	var all []Fault
	for _, planned := range d.Trial.Faults {
		all = append(all, fault(d, planned))
	}
	return all
}

func fault(d *record.TrialData, planned record.Fault) Fault {
	f := Fault{Fault: planned}
	last := end(d)
	for _, e := range d.Events {
		if e.Fault != planned.Name {
			continue
		}
		// The one that it speaks of is the last that was done to the same thing.
		of := f.lastOf(e.Instance)
		switch e.Kind {
		case record.FaultInjected:
			f.Touched = append(f.Touched, Touch{Instance: e.Instance, Span: Span{From: e.At, To: e.At}})
			if f.Lasts() {
				f.Touched[len(f.Touched)-1].Span = Span{From: e.At, To: max(last, e.At), Open: true}
			}
		case record.FaultProven:
			if of != nil {
				of.Proven, of.Seen = true, e.Detail
			}
		case record.FaultHealed:
			if of != nil && of.Open {
				of.Span = Span{From: of.From, To: e.At}
			}
		case record.FaultError:
			f.Errors = append(f.Errors, e.Detail)
		}
	}
	for i, t := range f.Touched {
		if i == 0 {
			f.Span = t.Span
			continue
		}
		f.Span = Span{From: min(f.From, t.From), To: max(f.To, t.To), Open: f.Open || t.Open}
	}
	return f
}

func (f *Fault) lastOf(instance string) *Touch {
	for i := len(f.Touched) - 1; i >= 0; i-- {
		if f.Touched[i].Instance == instance {
			return &f.Touched[i]
		}
	}
	return nil
}

// Of is how the fault was in an instance for the last time before an instant; ok is false
// where it was not. It may be noticed before whoever injects it can say that it is there, and
// not before it was due.
func (f *Fault) Of(instance string, at time.Duration) (touch Touch, ok bool) {
	for _, t := range f.Touched {
		if t.Instance == instance && min(f.At, t.From) <= at {
			touch, ok = t, true
		}
	}
	return touch, ok
}

// NoneRouted is the time of the window in which no instance of the lanes was routed to.
func NoneRouted(lanes []Lane, window Span) []Span {
	var routed []Span
	for i := range lanes {
		routed = append(routed, in(lanes[i].Verdict, Ready)...)
	}
	slices.SortFunc(routed, func(a, b Span) int { return int(min(max(a.From-b.From, -1), 1)) })
	var none []Span
	from := window.From
	for _, r := range routed {
		none = gap(none, from, min(r.From, window.To))
		from = max(from, r.To)
	}
	return gap(none, from, window.To)
}

func gap(all []Span, from, to time.Duration) []Span {
	if from >= to {
		return all
	}
	return append(all, Span{From: from, To: to})
}
