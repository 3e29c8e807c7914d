package judge

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

// finder finds the cause of a lost request from what is known of the instances.
type finder struct {
	d         *record.TrialData
	instances map[string]*instance
	slack     time.Duration // a change of the truth is seen so much later
	// wrong has the revisions that gave each wrong answer.
	wrong map[record.Class]map[string]bool
	// answers are how often instances of the new revision gave each wrong answer, and how often
	// of that after they had first served.
	answers map[record.Class]*Tally
}

// instance is what is known of one.
type instance struct {
	lane    *timeline.Lane
	stopped []timeline.Span // from each time that it was told to stop, to its next start
	gone    time.Duration   // when it was gone for the last time
	ended   string          // how it last ended without having been told to stop
	serves  time.Duration   // when a direct probe first found it serving; never when none did
	// wrong has, for each wrong answer, when direct probes that were given it were sent.
	wrong map[record.Class][]time.Duration
	// silent has when those were sent that were given no answer at all.
	silent []time.Duration
}

const never = time.Duration(1<<63 - 1)

func newFinder(d *record.TrialData, t *Trial) *finder {
	f := &finder{d: d, instances: make(map[string]*instance), slack: d.Trial.ProbeEvery, wrong: make(map[record.Class]map[string]bool), answers: make(map[record.Class]*Tally)}
	for i := range t.Timeline.Lanes {
		l := &t.Timeline.Lanes[i]
		in := &instance{lane: l, gone: never, serves: never, wrong: make(map[record.Class][]time.Duration)}
		for _, span := range l.Truth {
			if span.State == timeline.Serving {
				in.serves = min(in.serves, span.From)
			}
		}
		f.instances[l.Instance] = in
	}
	for _, e := range d.Events {
		if in := f.instances[e.Instance]; in != nil {
			in.hear(e)
		}
	}
	for i := range d.Probes {
		p := &d.Probes[i]
		in := f.instances[p.Instance]
		switch {
		case in == nil || p.OK:
		case !isAnswer(p.Class):
			in.silent = append(in.silent, p.At)
		default:
			in.wrong[p.Class] = append(in.wrong[p.Class], p.At)
			if !in.toldBy(p.At) {
				f.gaveWrong(p.Class, in.lane.Revision)
			}
		}
	}
	for i := range d.Samples {
		s := &d.Samples[i]
		revision := f.answeredWrongly(s)
		if revision == "" && f.unnamed(s) {
			revision = common(f.candidates(s), func(in *instance) string { return in.lane.Revision })
		}
		f.gaveWrong(s.Class, revision)
		if in := f.instances[s.Instance]; in != nil && revision != "" && revision == d.Trial.Revisions.After {
			f.answers[s.Class] = in.answered(s, f.answers[s.Class])
		}
	}
	return f
}

// answered counts a wrong answer of the instance.
func (in *instance) answered(s *record.Sample, so *Tally) *Tally {
	if so == nil {
		so = new(Tally)
	}
	if so.Of++; in.serves <= s.Sent {
		so.N++
	}
	return so
}

// lasting is the share of a revision's wrong answers from which on those that it gave after it
// had served say that it gives them whether or not it is ready. The last of an instance that was
// not may come a moment behind its first good one.
const lasting = 0.1

// lasts reports whether another program than the one before goes on to give a wrong answer once
// it has served: then it was no answer of one that could not serve yet.
func (f *finder) lasts(class record.Class) bool {
	so := f.answers[class]
	return f.d.Trial.Revisions.Differ && so != nil && float64(so.N) >= lasting*float64(so.Of)
}

// gaveWrong takes in that a revision, "" when it is not known, gave a wrong answer.
func (f *finder) gaveWrong(class record.Class, revision string) {
	if revision == "" {
		return
	}
	if f.wrong[class] == nil {
		f.wrong[class] = make(map[string]bool)
	}
	f.wrong[class][revision] = true
}

// isAnswer reports whether a request of the class was answered, and wrongly.
func isAnswer(class record.Class) bool {
	return class == record.WrongBody || class == record.WrongHeader || strings.HasPrefix(string(class), "http_")
}

// unnamed reports whether the request was answered wrongly by an instance that nothing names:
// the answer does not, and no balancer of the lab does.
func (f *finder) unnamed(s *record.Sample) bool {
	return isAnswer(s.Class) && s.Revision == "" && f.instances[s.Instance] == nil && !f.d.Trial.LabBalancer
}

// hear takes in what the runtime said of the instance.
func (in *instance) hear(e record.Event) {
	n := len(in.stopped)
	switch e.Kind {
	case record.Terminating:
		if n == 0 || in.stopped[n-1].To != never {
			in.stopped = append(in.stopped, timeline.Span{From: e.At, To: never})
		}
	case record.Started:
		// The runtime started it again, and says after what.
		if _, how, again := strings.Cut(e.Detail, ", after "); again && (n == 0 || in.stopped[n-1].To != never) {
			in.ended = how
		}
		if in.gone = never; n > 0 {
			in.stopped[n-1].To = min(in.stopped[n-1].To, e.At)
		}
	case record.Gone:
		if in.gone = e.At; n == 0 || in.stopped[n-1].To != never {
			in.ended = e.Detail
		}
	}
}

// answeredWrongly is the revision of the instance that itself gave an answer, and a wrong
// one; "" where none did. It names its revision, or the lab's balancer names the instance:
// that gives a reason with each answer of its own.
func (f *finder) answeredWrongly(s *record.Sample) string {
	if s.Class == record.OK || s.Status == 0 || connectionClass(s) != "" {
		return ""
	}
	if in := f.instances[s.Instance]; s.Revision == "" && s.Reason == "" && f.d.Trial.LabBalancer && in != nil {
		return in.lane.Revision
	}
	return s.Revision
}

// connectionClass is how the connection to the instance failed, as the load saw it or as
// a balancer gives it for its reason; "" when it did not.
func connectionClass(s *record.Sample) record.Class {
	class := s.Class
	if class == record.HTTPStatus(http.StatusBadGateway) && s.Revision == "" {
		class = record.Class(s.Reason)
	}
	if s.Reason == drivers.RefusedReason && s.Revision == "" {
		class = record.Refused // the client of one that passes connections on saw a reset
	}
	switch class {
	case record.Refused, record.Reset, record.EOF, record.Truncated:
		return class
	}
	return ""
}

// find is the cause of a lost request and the instance that it was sent to, as far as that
// is known. One that was never sent has no sample.
func (f *finder) find(s *record.Sample) (Cause, string) {
	if s == nil || s.Class == record.Harness {
		return OfHarness, ""
	}
	switch s.Class { // these say it themselves
	case record.RefusedRetryable:
		return NotProcessed, s.Instance
	case record.TLS:
		return Distrust, s.Instance
	}
	if s.Reason == drivers.UnprocessedReason && f.d.Trial.LabBalancer {
		return NotProcessed, s.Instance
	}
	cause, instance := f.blame(s)
	if (cause == Unknown || cause == TooSlow) && f.d.Trial.Address != "" {
		cause = f.manner(s)
	}
	return cause, instance
}

// manner is how a request was lost, where it is not known on which instance.
func (f *finder) manner(s *record.Sample) Cause {
	switch {
	case s.Class == record.Refused:
		return Refused
	case s.Class == record.Timeout:
		return Unanswered
	case s.Class == record.Reset, s.Class == record.EOF, s.Class == record.Truncated:
		if f.kept(s) {
			return KeptBroken
		}
		return ConnectionLost
	case s.Status != 0:
		return WrongAnswer
	}
	return Unknown
}

// blame is the cause of a request that was sent, from what is known of the instances.
func (f *finder) blame(s *record.Sample) (Cause, string) {
	if in := f.instances[s.Instance]; in != nil {
		return f.of(in, s), s.Instance
	}
	if s.Reason == drivers.NoInstanceReason || !f.anyRouted(s.Sent) {
		return NoInstance, ""
	}
	return f.guess(s)
}

// anyRouted reports whether the runtime called an instance ready.
func (f *finder) anyRouted(at time.Duration) bool {
	for _, in := range f.instances {
		if in.lane.VerdictAt(at) == timeline.Ready {
			return true
		}
	}
	return len(f.instances) == 0 // then nothing is known of any
}

// of is the cause of a request that was lost on an instance.
func (f *finder) of(in *instance, s *record.Sample) Cause {
	broke := connectionClass(s)
	if told, ok := in.told(s); ok && (s.Sent >= told || broke != "") {
		// Where a new connection of a direct probe had already failed, the instance listened no
		// more, whatever stood in front of it made of that.
		deaf := in.lane.TruthAt(s.Sent) == timeline.NotServing
		if s.Sent < told || (broke != "" && broke != record.Refused && f.kept(s) && !deaf) {
			return ConnectionClosed
		}
		return AfterStop
	}
	unable := in.unable(s, f.slack)
	served := in.serves <= s.Sent
	revision := f.answeredWrongly(s)
	if revision == "" && f.unnamed(s) {
		revision = in.lane.Revision // if it is the one
	}
	onlyNew := revision == f.d.Trial.Revisions.After && f.onlyNew(s.Class)
	switch {
	case unable && !served && in.serves < never && !(onlyNew && f.lasts(s.Class)):
		return BeforeReady
	case onlyNew:
		return NewRevision
	case unable && !served:
		return BeforeReady
	case unable, in.left(s, f.slack):
		return BrokenWhileReady
	case s.Class == record.Timeout:
		return TooSlow
	}
	return Unknown
}

// onlyNew reports whether the new revision, and no other, gave a wrong answer.
func (f *finder) onlyNew(class record.Class) bool {
	r := f.d.Trial.Revisions
	return r.After != r.Before && len(f.wrong[class]) == 1 && f.wrong[class][r.After]
}

// kept reports whether the request went over a connection that had served others: its own,
// or one of the lab's balancer, which keeps its connections whatever the load does.
func (f *finder) kept(s *record.Sample) bool {
	return f.d.Trial.SharesRequests() || slices.ContainsFunc(f.d.Trial.Streams, func(st record.Stream) bool { return st.Name == s.Stream && st.Reuse })
}

// told is when the instance was told to stop, if that was before the request had ended and
// it has not been started again.
func (in *instance) told(s *record.Sample) (at time.Duration, ok bool) {
	for _, span := range in.stopped {
		if span.From <= s.Done && s.Sent < span.To {
			return span.From, true
		}
	}
	return 0, false
}

// toldBy reports whether the instance had been told to stop at an instant, and not been
// started again.
func (in *instance) toldBy(at time.Duration) bool {
	return slices.ContainsFunc(in.stopped, func(span timeline.Span) bool { return span.From <= at && at < span.To })
}

// gave reports whether a direct probe was given the same wrong answer around the request.
func (in *instance) gave(s *record.Sample, slack time.Duration) bool {
	return slices.ContainsFunc(in.wrong[s.Class], func(at time.Duration) bool { return s.Sent-slack <= at && at <= s.Done+slack })
}

// mute reports whether a direct probe was given no answer around an instant.
func (in *instance) mute(at, slack time.Duration) bool {
	return slices.ContainsFunc(in.silent, func(sent time.Duration) bool { return at-slack <= sent && sent <= at+slack })
}

// unable reports whether a direct probe found the instance not serving while the request
// was under way; where that is not known, whether none had found it serving before.
func (in *instance) unable(s *record.Sample, slack time.Duration) bool {
	known := false
	for _, span := range in.lane.Truth {
		if span.From > s.Done+slack || span.To <= s.Sent {
			continue
		}
		if known = true; span.State == timeline.NotServing {
			return true
		}
	}
	return !known && in.serves < never && in.serves > s.Sent
}

// left reports whether the runtime took the instance out around the request, unasked.
func (in *instance) left(s *record.Sample, slack time.Duration) bool {
	for _, span := range in.lane.Verdict {
		if span.From <= s.Done+slack*3 && span.To > s.Sent && (span.State == timeline.Unready || span.State == timeline.Gone) {
			return true
		}
	}
	return false
}

// lingers is how long a request may still be sent to an instance that is gone, by a
// balancer that has not heard of it.
const lingers = time.Second

// candidates are the instances that a request may have been sent to, in order.
func (f *finder) candidates(s *record.Sample) (all []*instance) {
	for _, id := range f.names() {
		in := f.instances[id]
		_, told := in.told(s)
		if routed := in.lane.VerdictAt(s.Sent) == timeline.Ready; !told && !routed || in.gone != never && s.Sent > in.gone+lingers {
			continue
		}
		all = append(all, in)
	}
	return all
}

// suspects are those of the candidates that may have done so: that gave a direct probe no
// answer either when the request was sent, or that gave one the same wrong answer at that time; else,
// where only the new revision is known to answer so, those of that.
func (f *finder) suspects(s *record.Sample) []*instance {
	all := f.candidates(s)
	only := func(is func(*instance) bool) []*instance {
		return slices.DeleteFunc(slices.Clone(all), func(in *instance) bool { return !is(in) })
	}
	if s.Class == record.Timeout {
		if mute := only(func(in *instance) bool { return in.mute(s.Sent, f.slack) }); len(mute) > 0 {
			return mute
		}
	}
	if !f.unnamed(s) {
		return all
	}
	if same := only(func(in *instance) bool { return in.gave(s, f.slack) }); len(same) > 0 {
		return same
	}
	after := f.d.Trial.Revisions.After
	old := func(in *instance) bool { return in.lane.Revision != after && len(in.wrong[s.Class]) > 0 }
	if young := only(func(in *instance) bool { return in.lane.Revision == after }); len(young) > 0 && f.onlyNew(s.Class) && !slices.ContainsFunc(all, old) {
		return young
	}
	return all
}

// guess is the cause of a request that no known instance answered, from the instances that it
// may have been sent to: the one that all of them agree on. Where they do not, a connection is
// broken by one that was told to stop rather than by one that cannot serve yet.
func (f *finder) guess(s *record.Sample) (Cause, string) {
	cause, instances := f.guesses(s)
	if len(instances) == 1 {
		return cause, instances[0]
	}
	return cause, ""
}

// guesses is as guess, with all instances that it may be.
func (f *finder) guesses(s *record.Sample) (Cause, []string) {
	votes := make(map[Cause][]string)
	for _, in := range f.suspects(s) {
		if cause := f.of(in, s); cause != Unknown && cause != TooSlow {
			votes[cause] = append(votes[cause], in.lane.Instance)
		}
	}
	cause := Unknown
	switch {
	case len(votes) == 0 && s.Class == record.Timeout:
		cause = TooSlow
	case len(votes) == 1:
		for only := range votes {
			cause = only
		}
	case connectionClass(s) != "" && len(votes[ConnectionClosed]) > 0:
		cause = ConnectionClosed
	case connectionClass(s) != "" && len(votes[AfterStop]) > 0:
		cause = AfterStop
	}
	return cause, votes[cause]
}

// mayHaveHad reports whether a lost request was sent to an instance, as far as that is known: that
// it can have been one of several is enough.
func (f *finder) mayHaveHad(id string, s *record.Sample) bool {
	switch cause, instance := f.find(s); {
	case instance != "":
		return instance == id
	case cause == OfHarness, cause == NotProcessed, cause == Distrust, cause == NoInstance:
		return false
	}
	_, all := f.guesses(s)
	return slices.Contains(all, id)
}

// names are those of the instances, in order.
func (f *finder) names() []string {
	names := make([]string, 0, len(f.instances))
	for id := range f.instances {
		names = append(names, id)
	}
	slices.Sort(names)
	return names
}
