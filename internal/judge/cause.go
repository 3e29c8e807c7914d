package judge

import (
	"cmp"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// Cause is why a request was lost. Each lost request has one.
type Cause string

// The causes, as results.json names them.
const (
	BeforeReady      Cause = "before_ready"       // it was sent to an instance that could not serve yet
	AfterStop        Cause = "after_stop"         // it was sent to an instance that had been told to stop
	ConnectionClosed Cause = "connection_closed"  // its connection was closed under it by an instance that had been told to stop
	NoInstance       Cause = "no_instance"        // no instance was routed to
	BrokenWhileReady Cause = "broken_while_ready" // it was sent to an instance that had served and no longer could, unasked
	TooSlow          Cause = "too_slow"           // it was not answered by its deadline, by an instance that serves
	NewRevision      Cause = "new_revision"       // the new revision alone gives that wrong answer
	NotProcessed     Cause = "refused_retryable"  // a server of HTTP/2 refused it and said that it did nothing with it
	Distrust         Cause = "tls"                // the two sides of TLS did not come to trust each other
	// Where nobody knows the instances, how it was lost is all that can be said.
	Refused        Cause = "refused"                // nobody listened at the address
	KeptBroken     Cause = "kept_connection_broken" // the connection, which had been kept, ended under it
	ConnectionLost Cause = "connection_broken"      // the same of a new one
	WrongAnswer    Cause = "wrong_answer"           // it was answered, and not as it has to be
	Unanswered     Cause = "unanswered"             // it was not answered by its deadline

	OfHarness Cause = "harness" // it was never sent, or failed by trouble of the harness
	Unknown   Cause = "unknown" // none of these can be shown
)

// CauseCount is how many of a trial's lost requests have a cause, and what they have in
// common.
type CauseCount struct {
	Cause
	Count     uint64
	From, To  time.Duration // when the first and the last of them was due, from the start of the window
	Instances []string      // that they were sent to, in order; those that are not known are missing
	Revision  string        // of all of these instances, "" where they differ or it is not known
	Class     record.Class  // the most frequent one
	Reason    string        // the one given most often with any class, "" when none was
	Ended     string        // how the processes of all of these instances ended unasked, "" where they did not, or differ
	// Fault is the one that was there when most of those were sent that were sent during one, with
	// what the runtime did about it; nil where there was none. DuringFault are how many.
	Fault       *Fault
	DuringFault uint64
	// Both are those of them that were sent while both revisions ran, see Stretch.
	Both uint64
	// Queued is where those of them that hit their deadline spent the time until then.
	Queued Queueing
	// Requests are those that the new revision answers wrongly, of a cause NewRevision; none
	// where the record does not name them.
	Requests []RequestCount
}

// Queueing is where requests spent the time that they had, added up, and what is usual.
type Queueing struct {
	Unsent time.Duration // before the lab had sent them
	Sent   time.Duration // from then on, on the way and with the target
	Usual  time.Duration // what 99 of 100 requests took in the baseline phase, 0 where that is not known
}

// LateShare is the share of the time that passed in the lab, 0..1; ok is false where no request
// hit its deadline.
func (q Queueing) LateShare() (share float64, ok bool) {
	if q.Unsent+q.Sent <= 0 {
		return 0, false
	}
	return float64(q.Unsent) / float64(q.Unsent+q.Sent), true
}

// blame gives each lost request of the window to one cause, and each request to a revision,
// as far as that is known.
func blame(f *finder, t *Trial) {
	d := f.d
	tallies := make(map[Cause]*causeTally)
	revisions, requests := newRevisionTally(f, t), newRequestTally(d.Trial.Streams)
	for h := range timeline.Hits(d) {
		if !t.counts(h) {
			continue
		}
		var cause Cause
		var instance string
		if !h.OK() {
			cause, instance = f.find(h.Sample)
		}
		sent := revisions.add(h, cause, instance)
		if sent.Revision == d.Trial.Revisions.After && h.Sample != nil && (sent.Stretch != BothRan || f.named(h.Sample)) {
			requests.add(h.Sample, cause == NewRevision)
		}
		if h.OK() {
			continue
		}
		of := tallies[cause]
		if of == nil {
			of = &causeTally{CauseCount: CauseCount{Cause: cause}, classes: make(failureTally), faults: make(map[*Fault]uint64)}
			tallies[cause] = of
		}
		of.add(h, h.Intended-t.Window.From, instance)
		if fault := f.during(t, cause, h.Sample, instance); fault != nil {
			of.faults[fault]++
		}
		if sent.Stretch == BothRan {
			of.Both++
		}
	}
	t.Revisions, t.NewAnswers = revisions.list(), requests.list()
	for _, of := range tallies {
		if of.Queued != (Queueing{}) {
			of.Queued.Usual = t.Baseline.P99
		}
		t.Causes = append(t.Causes, of.sum(f))
	}
	answeredWrongly(t.Causes, t.NewAnswers)
	sortCauses(t.Causes)
}

// answeredWrongly gives the cause of a new revision the requests that it answers wrongly.
func answeredWrongly(causes []CauseCount, answers []RequestCount) {
	for i := range causes {
		if causes[i].Cause == NewRevision {
			causes[i].Requests = slices.DeleteFunc(slices.Clone(answers), func(r RequestCount) bool { return r.Wrong == 0 })
		}
	}
}

// Causes adds up those of the valid trials, the most frequent first.
func (c *Cell) Causes() (all []CauseCount) {
	var answers []RequestCount
	most := make(map[Cause]uint64) // that one trial lost
	for _, t := range c.valid() {
		for _, of := range t.Causes {
			i := slices.IndexFunc(all, func(sum CauseCount) bool { return sum.Cause == of.Cause })
			if i < 0 {
				of.Instances = slices.Clone(of.Instances)
				all = append(all, of)
			} else {
				all[i].join(of, of.Count > most[of.Cause])
			}
			most[of.Cause] = max(most[of.Cause], of.Count)
		}
		answers = joinRequests(answers, t.NewAnswers)
	}
	answeredWrongly(all, answers)
	sortCauses(all)
	return all
}

// join adds those of another trial. What differs between the two is said of neither, but
// for the class and the reason, which are those of the trial that lost the most.
func (c *CauseCount) join(o CauseCount, most bool) {
	if most {
		c.Class, c.Reason = o.Class, o.Reason
	}
	switch {
	case c.Fault == nil || o.Fault == nil || c.Fault.Name != o.Fault.Name:
		c.Fault, c.DuringFault = nil, 0
	case most:
		c.Fault, c.DuringFault = o.Fault, c.DuringFault+o.DuringFault
	default:
		c.DuringFault += o.DuringFault
	}
	c.Queued = Queueing{c.Queued.Unsent + o.Queued.Unsent, c.Queued.Sent + o.Queued.Sent, max(c.Queued.Usual, o.Queued.Usual)}
	c.Count += o.Count
	c.Both += o.Both
	c.From, c.To = min(c.From, o.From), max(c.To, o.To)
	for _, id := range o.Instances {
		if !slices.Contains(c.Instances, id) {
			c.Instances = append(c.Instances, id)
		}
	}
	if c.Revision != o.Revision {
		c.Revision = ""
	}
	if c.Ended != o.Ended {
		c.Ended = ""
	}
}

func sortCauses(all []CauseCount) {
	slices.SortFunc(all, func(a, b CauseCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause))
	})
}

type causeTally struct {
	CauseCount
	classes failureTally
	faults  map[*Fault]uint64
}

func (c *causeTally) add(h timeline.Hit, at time.Duration, instance string) {
	if c.Count++; c.Count == 1 {
		c.From, c.To = at, at
	}
	c.From, c.To = min(c.From, at), max(c.To, at)
	c.classes.add(h.Sample)
	if s := h.Sample; s != nil && s.Class == record.Timeout {
		unsent := max(s.Sent-s.Intended, 0)
		c.Queued.Unsent, c.Queued.Sent = c.Queued.Unsent+unsent, c.Queued.Sent+max(s.Latency()-unsent, 0)
	}
	if instance != "" && !slices.Contains(c.Instances, instance) {
		c.Instances = append(c.Instances, instance)
	}
}

func (c *causeTally) sum(f *finder) CauseCount {
	reasons := make(map[string]uint64)
	for _, of := range c.classes {
		for reason, n := range of.reasons {
			reasons[reason] += n
		}
	}
	c.Class, c.Reason = c.classes.list()[0].Class, mostFrequent(reasons)
	var of []*instance
	for _, id := range c.Instances {
		of = append(of, f.instances[id])
	}
	c.Revision = common(of, func(in *instance) string { return in.lane.Revision })
	if len(of) == 0 && c.Cause == NewRevision {
		c.Revision = f.d.Trial.Revisions.After
	}
	c.Ended = common(of, func(in *instance) string { return in.ended })
	for fault, n := range c.faults {
		if n > c.DuringFault || n == c.DuringFault && fault.Name < c.Fault.Name {
			c.Fault, c.DuringFault = fault, n
		}
	}
	return c.CauseCount
}

// common is what is the same of all instances, "" where it differs or one is not known.
func common(all []*instance, of func(*instance) string) (same string) {
	for i, in := range all {
		if in == nil || i > 0 && of(in) != same {
			return ""
		}
		same = of(in)
	}
	return same
}
