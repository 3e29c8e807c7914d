package judge

import (
	"slices"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
)

const (
	// referenceAlpha makes the intervals that load and reference client are compared by
	// two-sided ones of 99.9 %. All streams together have as much of it as all requests have.
	//
	// Two that sample the same rate disagree only if one of the two intervals misses it, so a
	// trial is called invalid for that in at most 2 x 2 x 2 x referenceAlpha = 0.4 % of all
	// cases, however many streams there are; in fact it takes both to miss by far on opposite
	// sides, which is some 0.01 %. Both clients are asked at times that have nothing to do with
	// what fails, so what fails together widens neither.
	referenceAlpha = 0.0005

	// leastReference is how many requests of a stream the reference client must have sent for
	// it to be compared: of fewer, half may be lost unseen.
	leastReference = 20
)

// StreamReference is the independent client's view of one stream in the window.
type StreamReference struct {
	Name        string
	Planned, OK uint64
	Lo, Hi      float64 // interval of its success rate
	Load        Tally   // the load's own ok of planned
	Agrees      bool
}

// reference compares what the independent client saw with what the load did: of all requests,
// and of each stream.
func reference(d *record.TrialData, t *Trial) Reference {
	var w Reference
	streams := newStreamTally(d.Trial.Streams)
	for i := range d.Reference {
		s := &d.Reference[i]
		if !t.counts(timeline.Hit{Intended: s.Intended, Sample: s}) {
			continue
		}
		w.Planned++
		if s.Class == record.OK {
			w.OK++
		}
		streams.add(s)
	}
	w.Lo, w.Hi, w.Agrees = agree(Tally{w.OK, w.Planned}, Tally{t.OK, t.Planned}, referenceAlpha)
	for _, of := range streams.counts {
		at := slices.IndexFunc(t.Streams, func(c StreamCount) bool { return c.Name == of.Name })
		if at < 0 || of.Planned < leastReference || t.Streams[at].Planned < leastReference || clustered(&d.Trial, of.Name) {
			continue
		}
		w.Streams = append(w.Streams, StreamReference{Name: of.Name, Planned: of.Planned, OK: of.OK, Load: Tally{t.Streams[at].OK, t.Streams[at].Planned}})
	}
	for i := range w.Streams {
		of := &w.Streams[i]
		of.Lo, of.Hi, of.Agrees = agree(Tally{of.OK, of.Planned}, of.Load, referenceAlpha/float64(len(w.Streams)))
		w.Agrees = w.Agrees && of.Agrees
	}
	return w
}

// agree reports whether the intervals of two counts overlap, with the first one's.
func agree(of, load Tally, alpha float64) (lo, hi float64, ok bool) {
	lo, hi = lowerBound(of.N, of.Of, alpha), upperBound(of.N, of.Of, alpha)
	return lo, hi, lo <= upperBound(load.N, load.Of, alpha) && lowerBound(load.N, load.Of, alpha) <= hi
}

// clustered reports whether a stream's requests share the fate of their connections: kept ones,
// through a balancer that gives each connection, and not each request, to an instance. Some 8
// connections are then not enough to say what the share of one instance's requests is.
func clustered(m *record.Trial, stream string) bool {
	return !m.SharesRequests() && slices.ContainsFunc(m.Streams, func(s record.Stream) bool { return s.Name == stream && s.Reuse })
}

// referenceReasons say where the reference client does not confirm the load. A disagreement in
// which each of the two, by itself, saw more failures than a gate allows is a remark: how much
// was lost is not sure, and that it was too much is. What the harness lost shows nothing of that.
func referenceReasons(d *record.TrialData, t *Trial) (invalid, remarks []Reason) {
	w := &t.Reference
	if withheld(d) { // then there is no window
		return nil, nil
	}
	if w.Planned == 0 {
		return []Reason{{Kind: ReferenceSilent}}, nil
	}
	load := Tally{t.OK, t.Planned}
	var differs []Reason
	if _, _, ok := agree(Tally{w.OK, w.Planned}, load, referenceAlpha); !ok {
		differs = append(differs, Reason{Kind: ReferenceDisagrees, Tally: Tally{w.OK, w.Planned}, Lo: w.Lo, Hi: w.Hi, Load: load})
	}
	for _, of := range w.Streams {
		if !of.Agrees && differs == nil { // where all of them differ, one of them says no more
			differs = append(differs, Reason{Kind: ReferenceDisagrees, Names: []string{of.Name}, Tally: Tally{of.OK, of.Planned}, Lo: of.Lo, Hi: of.Hi, Load: of.Load})
		}
	}
	switch {
	case len(differs) > 0 && harnessSamples(d.Samples)+harnessSamples(d.Reference) == 0 && slices.ContainsFunc(d.Gates, func(g record.Gate) bool { return bothMiss(g, t) }):
		for i := range differs {
			differs[i].Kind = ReferenceDiffers
		}
		return nil, differs
	case len(differs) == 0 && t.Failed == 0 && w.OK < w.Planned:
		return []Reason{{Kind: ReferenceSawMore, Tally: Tally{w.Planned - w.OK, w.Planned}}}, nil
	}
	return differs, nil
}

// bothMiss reports whether load and reference client each saw more failures than a gate allows:
// surely more, of what is a sample of the requests that it limits.
func bothMiss(g record.Gate, t *Trial) bool {
	least := g.Limit // share of the requests that must be ok
	surely := func(ok, of uint64) bool { return upperBound(ok, of, alpha) < least }
	switch {
	case t.Planned == 0 || g.Warn || g.Stream != "": // the reference client asks less often
		return false
	case g.Metric == metric.SuccessRate && g.Op == ">=":
		return surely(t.OK, t.Planned) && surely(t.Reference.OK, t.Reference.Planned)
	case g.Metric == "failed" && g.Op == "<=":
		limit := g.Limit
		if g.Share {
			limit *= float64(t.Planned)
		}
		least = 1 - limit/float64(t.Planned)
		return float64(t.Failed) > limit && surely(t.Reference.OK, t.Reference.Planned)
	case g.Metric == metric.Downtime && g.Op == "<=":
		least = 1 - g.Limit/1000*t.Meta.Rate/float64(t.Planned)
		return milliseconds(t.Downtime) > g.Limit && surely(t.Reference.OK, t.Reference.Planned)
	}
	return false
}
