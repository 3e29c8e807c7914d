package judge

import (
	"cmp"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// Stretch says which revisions ran at a moment: those of which an instance existed, from its
// start to its end, routed to or not. A new one can do harm before anything is routed to it.
type Stretch string

// The stretches, as results.json names them.
const (
	OnlyBefore Stretch = "only_before" // the revision before the action alone
	BothRan    Stretch = "both"        // both at once
	OnlyAfter  Stretch = "only_after"  // the new revision alone
	NoneRan    Stretch = "none"        // neither, or none that the runtime has told of
)

var stretches = []Stretch{OnlyBefore, BothRan, OnlyAfter, NoneRan}

// RevisionCount is how the requests of a trial fared that were sent to a revision in a
// stretch, by the moment at which they were sent. Over all counts Lost adds up to all that
// was lost, and OK to all that was not.
type RevisionCount struct {
	Revision string // "" where it is not known, or where they were sent to nobody
	Stretch  Stretch
	OK, Lost uint64
}

// revisionTally counts the requests of a trial by revision and stretch, if its action leads
// to another revision.
type revisionTally struct {
	*finder
	ran    revisionSpans
	counts map[RevisionCount]*RevisionCount // by those without requests
}

func newRevisionTally(f *finder, t *Trial) *revisionTally {
	return &revisionTally{f, newRevisionSpans(&f.d.Trial, t.Timeline.Lanes), make(map[RevisionCount]*RevisionCount)}
}

// add counts a request, and returns under what. A lost one has a cause, and the instance that
// it was sent to, as far as that is known.
func (r *revisionTally) add(h timeline.Hit, cause Cause, instance string) (sent RevisionCount) {
	at := h.Intended
	if h.Sample != nil {
		at = h.Sample.Sent
	}
	key := RevisionCount{Stretch: r.ran.at(at)}
	key.Revision = r.sentTo(h, key.Stretch, cause, instance)
	of := r.counts[key]
	if of == nil {
		of = new(key)
		r.counts[key] = of
	}
	if h.OK() {
		of.OK++
	} else {
		of.Lost++
	}
	return key
}

// sentTo is the revision that a request was sent to, as far as that is known: as its answer
// says, as the instance is known that answered, as its cause has it; or the only one there was.
func (r *revisionTally) sentTo(h timeline.Hit, stretch Stretch, cause Cause, id string) string {
	s := h.Sample
	if s == nil || cause == NoInstance || cause == OfHarness {
		return ""
	}
	if s.Revision != "" {
		return s.Revision
	}
	if h.OK() {
		id = s.Instance
	}
	if in := r.instances[id]; in != nil {
		return in.lane.Revision
	}
	switch of := r.d.Trial.Revisions; {
	case stretch == OnlyBefore:
		return of.Before
	case stretch == OnlyAfter:
		return of.After
	case !h.OK() && stretch == BothRan:
		return common(r.suspects(s), func(in *instance) string { return in.lane.Revision })
	}
	return ""
}

// named reports whether it is known who answered a request, whatever the answer was. Where it
// is not, and both revisions ran, the wrong answers alone can be laid to one: no share of all
// follows from those.
func (f *finder) named(s *record.Sample) bool {
	return s.Revision != "" || f.instances[s.Instance] != nil
}

func (r *revisionTally) list() (all []RevisionCount) {
	revisions := r.d.Trial.Revisions
	if revisions.Before == revisions.After {
		return nil
	}
	for _, of := range r.counts {
		all = append(all, *of)
	}
	sortRevisions(all, revisions)
	return all
}

// revisionSpans are when the instances of each revision existed.
type revisionSpans struct{ before, after []timeline.Span }

func newRevisionSpans(m *record.Trial, lanes []timeline.Lane) revisionSpans {
	var r revisionSpans
	for i := range lanes {
		l := &lanes[i]
		for _, span := range l.Verdict {
			switch {
			case span.State == timeline.Gone:
			case l.Revision == m.Revisions.Before:
				r.before = append(r.before, span.Span)
			case l.Revision == m.Revisions.After:
				r.after = append(r.after, span.Span)
			}
		}
	}
	r.before, r.after = union(r.before), union(r.after)
	return r
}

// union joins spans that touch or overlap.
func union(spans []timeline.Span) (out []timeline.Span) {
	slices.SortFunc(spans, func(a, b timeline.Span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range spans {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To, out[n-1].Open = max(out[n-1].To, s.To), out[n-1].Open || s.Open
		} else {
			out = append(out, s)
		}
	}
	return out
}

func (r revisionSpans) at(at time.Duration) Stretch {
	in := func(spans []timeline.Span) bool {
		return slices.ContainsFunc(spans, func(s timeline.Span) bool { return s.Holds(at) || s.Open && at >= s.From })
	}
	switch before, after := in(r.before), in(r.after); {
	case before && after:
		return BothRan
	case before:
		return OnlyBefore
	case after:
		return OnlyAfter
	}
	return NoneRan
}

// sortRevisions has the stretches in their order, and in each the revision before first.
func sortRevisions(all []RevisionCount, r record.Revisions) {
	rank := func(revision string) int {
		if i := slices.Index([]string{r.Before, r.After}, revision); i >= 0 {
			return i
		}
		return 2 // what is unknown comes last
	}
	slices.SortFunc(all, func(a, b RevisionCount) int {
		return cmp.Or(cmp.Compare(slices.Index(stretches, a.Stretch), slices.Index(stretches, b.Stretch)),
			cmp.Compare(rank(a.Revision), rank(b.Revision)), cmp.Compare(a.Revision, b.Revision))
	})
}

// Revisions adds up those of the valid trials.
func (c *Cell) Revisions() (all []RevisionCount) {
	for _, t := range c.valid() {
		for _, of := range t.Revisions {
			i := slices.IndexFunc(all, func(sum RevisionCount) bool { return sum.Revision == of.Revision && sum.Stretch == of.Stretch })
			if i < 0 {
				all = append(all, of)
				continue
			}
			all[i].OK += of.OK
			all[i].Lost += of.Lost
		}
		sortRevisions(all, t.Meta.Revisions)
	}
	return all
}

// RequestCount is how often the new revision answered one request, and how often of that
// wrongly, as it alone does.
type RequestCount struct {
	Name           string // GET /orders
	Wrong, Answers uint64
}

// requestTally counts the answers of a revision by request, those of the streams whose
// requests are on record.
type requestTally struct {
	names  map[string][]string // by stream
	counts map[string]*RequestCount
}

func newRequestTally(streams []record.Stream) *requestTally {
	r := &requestTally{names: make(map[string][]string), counts: make(map[string]*RequestCount)}
	for _, s := range streams {
		r.names[s.Name] = s.Requests
	}
	return r
}

// add counts an answer, if it is one.
func (r *requestTally) add(s *record.Sample, wrong bool) {
	names := r.names[s.Stream]
	if s.Status == 0 || s.Request >= len(names) || s.Expect != record.Serve {
		return
	}
	of := r.counts[names[s.Request]]
	if of == nil {
		of = &RequestCount{Name: names[s.Request]}
		r.counts[of.Name] = of
	}
	of.Answers++
	if wrong {
		of.Wrong++
	}
}

// list has those that were answered wrongly the most first.
func (r *requestTally) list() (all []RequestCount) {
	for _, of := range r.counts {
		all = append(all, *of)
	}
	sortRequests(all)
	return all
}

func sortRequests(all []RequestCount) {
	slices.SortFunc(all, func(a, b RequestCount) int {
		return cmp.Or(cmp.Compare(b.Wrong, a.Wrong), cmp.Compare(a.Name, b.Name))
	})
}

// joinRequests adds up the counts of two trials.
func joinRequests(a, b []RequestCount) []RequestCount {
	sum := slices.Clone(a)
	for _, of := range b {
		i := slices.IndexFunc(sum, func(s RequestCount) bool { return s.Name == of.Name })
		if i < 0 {
			sum = append(sum, of)
			continue
		}
		sum[i].Wrong += of.Wrong
		sum[i].Answers += of.Answers
	}
	sortRequests(sum)
	return sum
}
