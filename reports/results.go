package reports

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// SchemaName names the layout of results.json. Within v1 fields are only ever added.
const SchemaName = "rollout-lab.results/v1"

//go:embed results.schema.json
var schema []byte

// Schema returns the JSON Schema of results.json.
func Schema() []byte { return bytes.Clone(schema) }

// WriteJSON writes results.json. The bytes depend on nothing but doc.
func WriteJSON(w io.Writer, doc Document) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("write results.json: %w", err)
	}
	return nil
}

// Results is the content of results.json for a judged run.
func Results(run *judge.Run) Document {
	r := &run.Record
	why := adviseOnRun(run)
	doc := Document{
		Schema: SchemaName, Tool: Tool(r.Tool), RunID: r.ID, Started: r.Started, Command: r.Command, Labels: maps.Clone(r.Labels),
		Partial: run.Partial,
		Environment: Environment{OS: r.Environment.OS, Arch: r.Environment.Arch, CPUs: r.Environment.CPUs,
			Kernel: r.Environment.Kernel, Go: r.Environment.Go, Fingerprint: r.Environment.Fingerprint,
			Runtimes: maps.Clone(r.Environment.Runtimes)},
		Verdict: run.Verdict, Headline: headline(run), Why: why.Why, Do: why.Do, Reasons: reasons(run), Warnings: Sentences(run.Warnings), Baseline: newBaseline(r),
		Scenarios: []Scenario{}, Cells: []Cell{}, Gates: []Gate{}, Comparisons: []Comparison{},
		Controls: []Control{}, Skipped: []SkippedDesign{}, LeftOut: []LeftOut{}, Suites: newSuites(run), Stopped: newStopped(run), Preflight: newPreflight(run),
	}
	for _, l := range r.LeftOut {
		doc.LeftOut = append(doc.LeftOut, LeftOut(l))
	}
	if r.MaxTime > 0 {
		doc.MaxTimeMS = new(Milliseconds(r.MaxTime))
	}
	if doc.Environment.Runtimes == nil {
		doc.Environment.Runtimes = map[string]string{}
	}
	if doc.Labels == nil {
		doc.Labels = map[string]string{}
	}
	if run.End != nil {
		doc.DurationMS = new(Milliseconds(run.End.Duration))
		for _, s := range run.End.Skipped {
			doc.Skipped = append(doc.Skipped, SkippedDesign{Scenario: s.Scenario, Driver: s.Driver, Design: s.Design, Why: s.Why, ByTarget: s.ByTarget})
		}
	}
	for _, s := range r.Scenarios {
		doc.Scenarios = append(doc.Scenarios, Scenario{Name: s.Name, SHA256: s.SHA256, Rate: zeroUnlessFinite(s.Rate),
			WindowMS: Milliseconds(s.Window), Action: s.Action, Replicas: s.Replicas, Trials: TrialRange(s.Trials), About: s.About, Designs: present(s.Designs), Conditions: map[string]string{}})
		maps.Copy(doc.Scenarios[len(doc.Scenarios)-1].Conditions, s.Conditions)
	}
	if len(doc.Scenarios) > 0 {
		doc.Scenario = &doc.Scenarios[0]
	}
	for i := range run.Cells {
		doc.Cells = append(doc.Cells, newCell(&run.Cells[i]))
	}
	for _, g := range run.Gates {
		out := newGate(g)
		if !g.NoValue {
			out.Observed = finite(g.Observed)
			if g.HasInterval {
				out.Lo, out.Hi, out.Confidence = finite(g.Lo), finite(g.Hi), finite(math.Round(1e6*(1-g.Alpha))/1e6)
			}
		}
		doc.Gates = append(doc.Gates, out)
	}
	for _, c := range run.Comparisons {
		doc.Comparisons = append(doc.Comparisons, newComparison(c))
	}
	for _, c := range run.Controls {
		doc.Controls = append(doc.Controls, Control{Cell: c.Cell, Kind: c.Kind, Held: c.Held, Why: Sentence(c.Why)})
	}
	return doc
}

func newGate(g judge.GateResult) Gate {
	out := Gate{Cell: g.Cell, Metric: g.Gate.Metric, Op: g.Gate.Op, Unit: string(limitUnit(g.Gate)), Stream: g.Gate.Stream,
		Against: g.Gate.Against, Level: "fail", Implicit: g.Implicit, Verdict: GateVerdict(g.Verdict), Design: g.Gate.Design, Why: Sentence(g.Why)}
	if g.Gate.Warn {
		out.Level = "warn"
	}
	if g.Gate.Against == "" {
		out.Limit = finite(g.Gate.Limit)
		return out
	}
	switch {
	case g.Gate.Margin > 0:
		out.MarginMS = finite(format.InMillis(g.Gate.Margin))
	case g.Margin > 0:
		out.MarginMS = finite(g.Margin)
	}
	if !g.NoValue {
		out.P = finite(g.PWorse)
	}
	return out
}

func newComparison(c judge.Comparison) Comparison {
	out := Comparison{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action, A: c.A, B: c.B, Metric: c.Metric, Stream: c.Stream,
		TrialsA: c.Trials.N, TrialsB: c.Trials.Of, Gated: c.Gated, Verdict: c.Verdict, Why: Sentence(c.Why)}
	if c.Compared() {
		out.Shift, out.Lo, out.Hi, out.P = finite(c.Shift), finite(c.Lo), finite(c.Hi), finite(c.P)
		out.PWorse, out.MarginMS = finite(c.PWorse), finite(c.Margin)
	}
	return out
}

func newCell(c *judge.Cell) Cell {
	out := Cell{Scenario: c.Scenario, Driver: c.Driver, Action: c.Action, Design: c.Design, Trials: []Trial{}, Summary: newSummary(c)}
	for i := range c.Trials {
		out.Trials = append(out.Trials, newTrial(&c.Trials[i]))
	}
	return out
}

func newSummary(c *judge.Cell) Summary {
	sum := c.Totals()
	out := Summary{Pooled: Pooled{OK: sum.OK, Planned: sum.Planned}, Planned: sum.Planned, ValidTrials: sum.Valid, InvalidTrials: sum.Invalid,
		Causes: newCauses(c.Causes(), metaOf(c)), Revisions: newRevisionCounts(c.Revisions()), Estimates: make(map[string]Estimate), Sums: make(map[string]uint64)}
	if sum.Planned > 0 {
		out.Pooled.Rate = finite(float64(sum.OK) / float64(sum.Planned))
		out.Pooled.Lo, out.Pooled.Hi = finite(c.Bounds.Lo), finite(c.Bounds.Hi)
	}
	if b, ok := sum.Budget(); ok {
		out.ErrorBudget = &ErrorBudget{Share: b.Share, Affords: b.Affords}
	}
	for name, e := range c.Estimates {
		out.Estimates[name] = Estimate{}
		if e.N > 0 {
			out.Estimates[name] = Estimate{Median: finite(e.Median), Lo: finite(e.Lo), Hi: finite(e.Hi), N: e.N}
		}
	}
	for _, m := range metric.All() {
		if m.Pooling == metric.Sum {
			out.Sums[m.Name] = uint64(c.Sum(m.Name))
		}
	}
	return out
}

func newTrial(t *judge.Trial) Trial {
	out := Trial{
		N: t.Meta.N, Repeats: t.Meta.Repeats, Partial: t.Partial, Valid: t.Valid, InvalidReasons: Sentences(t.InvalidReasons), Try: remedies(t.InvalidReasons, &t.Meta),
		Outcome: t.Outcome(), Failures: Sentences(t.Failures),
		Notes:   trialNotes(t),
		Planned: t.Planned, Sent: t.Sent, OK: t.OK, Outages: t.Outages, SyncMS: optional(t.Sync),
		Denials: t.Denials, SentToUnready: t.SentToUnready, Metrics: make(map[string]float64),
		ScheduleLagMS: newPercentiles(t.ScheduleLag), LatencyMS: newPercentiles(t.Latency), LatencyUncorrectedMS: newPercentiles(t.LatencyUncorrected),
		Before: t.Meta.Revisions.Before, After: t.Meta.Revisions.After, Differ: t.Meta.Revisions.Differ, Revisions: newRevisionCounts(t.Revisions),
		Causes: newCauses(t.Causes, &t.Meta), Bins: []BinTimes{}, Streams: []Stream{}, Errors: []Failure{}, Instances: []Instance{},
		Baseline:    Baseline{Planned: t.Baseline.Planned, Failed: t.Baseline.Failed, Instances: t.Baseline.Instances, P99MS: Milliseconds(t.Baseline.P99)},
		Cost:        Cost{CPUMS: Milliseconds(t.Cost.CPU), ChildrenMS: Milliseconds(t.Cost.Children), MaxRSSBytes: t.Cost.MaxRSS},
		CPUPressure: t.Pressure, CPUPressureSource: t.Meta.Pressure.Waited, CPUIdle: t.Idle,
		Files: t.Folder,
	}
	for _, m := range trialMetrics() {
		if v, ok := t.Value(m.Name); ok && finite(v) != nil {
			out.Metrics[m.Name] = v
		}
	}
	if out.ScheduleLagMS != nil {
		out.ScheduleLagP99MS = &out.ScheduleLagMS.P99
	}
	if o := t.LongestOutage; o != (timeline.Outage{}) {
		out.LongestOutage = &Outage{FromMS: Milliseconds(o.From - t.Window.From), ToMS: Milliseconds(o.To - t.Window.From), Failures: o.Failures, Open: o.Open}
		if o.LastOK >= 0 {
			out.LongestOutage.LastOKMS = new(Milliseconds(o.LastOK - t.Window.From))
		}
		if t.Meta.Rate > 0 {
			out.LongestOutage.ResolutionMS = finite(1000 / t.Meta.Rate)
		}
	}
	for _, width := range slices.Sorted(maps.Keys(t.Down)) {
		out.Bins = append(out.Bins, BinTimes{Milliseconds(width), Milliseconds(t.Down[width]), Milliseconds(t.Degraded[width])})
	}
	for _, s := range t.Streams {
		out.Streams = append(out.Streams, Stream(s))
	}
	for _, e := range t.Errors {
		out.Errors = append(out.Errors, Failure{Class: e.Class, Count: e.Count, Reason: e.Reason})
	}
	for _, in := range t.Instances {
		out.Instances = append(out.Instances, Instance(in))
	}
	if w := t.Reference; w.Planned > 0 {
		out.Reference = &Reference{Planned: w.Planned, OK: w.OK, Lo: finite(w.Lo), Hi: finite(w.Hi), Agrees: w.Agrees, Streams: []ReferenceStream{}}
		for _, of := range w.Streams {
			out.Reference.Streams = append(out.Reference.Streams, ReferenceStream{Name: of.Name, Planned: of.Planned, OK: of.OK, Lo: of.Lo, Hi: of.Hi, Agrees: of.Agrees})
		}
	}
	return out
}

func newCauses(causes []judge.CauseCount, m *record.Trial) []Cause {
	out := []Cause{}
	var lost uint64
	for _, c := range causes {
		lost += c.Count
	}
	for _, c := range causes {
		var late *float64
		if share, ok := c.Queued.LateShare(); ok {
			late = &share
		}
		fault := ""
		if c.Fault != nil {
			fault = c.Fault.Name
		}
		out = append(out, Cause{Fault: fault, DuringFault: c.DuringFault, LateShare: late, Cause: c.Cause, Count: c.Count, FromMS: Milliseconds(c.From), ToMS: Milliseconds(c.To),
			Instances: present(c.Instances), Revision: c.Revision, Requests: newRequestCounts(c.Requests), Class: c.Class, Reason: c.Reason, Text: causeText(c, lost, m)})
	}
	return out
}

func newPercentiles(p judge.Percentiles) *Percentiles {
	if p.N == 0 {
		return nil
	}
	return &Percentiles{P50: Milliseconds(p.P50), P90: Milliseconds(p.P90), P99: Milliseconds(p.P99),
		P999: Milliseconds(p.P999), Max: Milliseconds(p.Max), N: p.N}
}

func optional(d *time.Duration) *Milliseconds {
	if d == nil {
		return nil
	}
	return new(Milliseconds(*d))
}

// finite is nil for what JSON cannot say.
func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func zeroUnlessFinite(f float64) float64 {
	if p := finite(f); p != nil {
		return *p
	}
	return 0
}

// present is never nil, so that JSON has [] and not null.
func present(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
