package judge

import (
	"cmp"
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// count fills in everything that is counted request by request.
func count(d *record.TrialData, t *Trial) {
	baseline := baselineOf(&d.Trial, t.Window)
	served := make(map[string]bool)
	streams, instances, failures := newStreamTally(d.Trial.Streams), newInstanceTally(), make(failureTally)
	unready := newUnreadyTally(t.Timeline.Lanes)
	for h := range timeline.Hits(d) {
		t.addDenial(h.Sample)
		if !t.counts(h) {
			switch {
			case baseline.Holds(h.Intended):
				t.Baseline.add(h, served)
			case h.Intended >= t.Window.From || h.Sample == nil || h.OK():
			case h.Intended < baseline.From:
				t.WarmUp++
			default:
				t.Early++
			}
			continue
		}
		t.add(h)
		if !h.OK() {
			failures.add(h.Sample)
			if t.DisruptionLag == nil {
				t.DisruptionLag = new(max(0, h.Intended-t.Window.From))
			}
		}
		if h.Sample != nil {
			streams.add(h.Sample)
			instances.add(h.Sample)
			unready.add(h.Sample)
		}
	}
	t.Baseline.Instances = len(served)
	t.Streams, t.Instances, t.Errors, t.SentToUnready = streams.counts, instances.list(), failures.list(), unready.count
}

// add counts a request that was due in the baseline phase, and who served it.
func (b *BaselinePhase) add(h timeline.Hit, served map[string]bool) {
	b.Planned++
	switch {
	case !h.OK():
		b.Failed++
	case h.Sample.Instance != "":
		served[h.Sample.Instance] = true
	}
}

// addDenial counts a request that had to be denied, whenever that was: to let somebody in is
// no better before the action or behind the window.
func (t *Trial) addDenial(s *record.Sample) {
	if s == nil || !s.Expect.MustDeny() {
		return
	}
	t.Denials++
	if s.Breach() {
		t.Breaches++
	}
}

// add counts a request that the trial is judged by.
func (t *Trial) add(h timeline.Hit) {
	t.Planned++
	if h.OK() {
		t.OK++
	} else {
		t.Failed++
	}
	s := h.Sample
	if s == nil {
		return
	}
	t.Sent++
	if s.Attempts > 1 {
		t.HiddenRetries += uint64(s.Attempts - 1)
	}
}

// streamTally counts by stream: those of the plan in its order, and behind them any other.
type streamTally struct {
	counts []StreamCount
	index  map[string]int
}

func newStreamTally(planned []record.Stream) *streamTally {
	s := &streamTally{index: make(map[string]int)}
	for _, p := range planned {
		s.of(p.Name).Connections = p.Connections
	}
	return s
}

func (s *streamTally) of(name string) *StreamCount {
	i, known := s.index[name]
	if !known {
		i = len(s.counts)
		s.index[name] = i
		s.counts = append(s.counts, StreamCount{Name: name})
	}
	return &s.counts[i]
}

func (s *streamTally) add(sample *record.Sample) {
	c := s.of(sample.Stream)
	c.Planned++
	if sample.Class == record.OK {
		c.OK++
	}
}

// answerer is who answered, as the answer says.
type answerer struct{ id, revision string }

// instanceTally counts by answerer, in the order in which they first answered.
type instanceTally struct {
	counts []InstanceCount
	index  map[answerer]int
}

func newInstanceTally() *instanceTally { return &instanceTally{index: make(map[answerer]int)} }

func (in *instanceTally) add(s *record.Sample) {
	who := answerer{s.Instance, s.Revision}
	i, known := in.index[who]
	if !known {
		i = len(in.counts)
		in.index[who] = i
		in.counts = append(in.counts, InstanceCount{ID: s.Instance, Revision: s.Revision})
	}
	if s.Class == record.OK {
		in.counts[i].OK++
	} else {
		in.counts[i].Failed++
	}
}

// list has those that nobody answered last.
func (in *instanceTally) list() []InstanceCount {
	all := joinUnnamed(in.counts)
	slices.SortStableFunc(all, func(a, b InstanceCount) int { return cmp.Compare(unknown(a.ID), unknown(b.ID)) })
	return all
}

// joinUnnamed adds the counts of answers that name an instance without its revision, as a
// balancer's do for an endpoint that it cannot reach, to that instance's first entry.
func joinUnnamed(counts []InstanceCount) []InstanceCount {
	named := make(map[string]int)
	var out []InstanceCount
	for _, c := range counts {
		if c.Revision == "" {
			continue
		}
		if _, ok := named[c.ID]; !ok {
			named[c.ID] = len(out)
		}
		out = append(out, c)
	}
	for _, c := range counts {
		if c.Revision != "" {
			continue
		}
		if i, ok := named[c.ID]; ok && c.ID != "" {
			out[i].OK += c.OK
			out[i].Failed += c.Failed
		} else {
			out = append(out, c)
		}
	}
	return out
}

func unknown(id string) int {
	if id == "" {
		return 1
	}
	return 0
}

// failureTally counts failures by class, and the reasons given with each.
type failureTally map[record.Class]*failure

type failure struct {
	count   uint64
	reasons map[string]uint64
}

// add counts a failure; one that was never sent has no sample.
func (f failureTally) add(s *record.Sample) {
	class, reason := record.Unsent, ""
	if s != nil {
		class, reason = s.Class, s.Reason
	}
	of := f[class]
	if of == nil {
		of = &failure{reasons: make(map[string]uint64)}
		f[class] = of
	}
	of.count++
	if reason != "" {
		of.reasons[reason]++
	}
}

// list has the most frequent class first.
func (f failureTally) list() (all []ErrorCount) {
	for class, of := range f {
		all = append(all, ErrorCount{Class: class, Reason: mostFrequent(of.reasons), Count: of.count})
	}
	slices.SortFunc(all, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class))
	})
	return all
}

// mostFrequent is the reason given most often, the first by name among equals.
func mostFrequent(reasons map[string]uint64) string {
	best := ""
	for r, n := range reasons {
		if n > reasons[best] || (n == reasons[best] && r < best) {
			best = r
		}
	}
	return best
}

// unreadyTally counts the requests that an instance was sent while a direct probe found it
// not serving.
type unreadyTally struct {
	lanes map[string]*timeline.Lane
	count uint64
}

func newUnreadyTally(lanes []timeline.Lane) *unreadyTally {
	u := &unreadyTally{lanes: make(map[string]*timeline.Lane)}
	for i := range lanes {
		u.lanes[lanes[i].Instance] = &lanes[i]
	}
	return u
}

func (u *unreadyTally) add(s *record.Sample) {
	if l := u.lanes[s.Instance]; l != nil && l.TruthAt(s.Sent) == timeline.NotServing {
		u.count++
	}
}
