package reports

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

const hostile = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x00\x1b[31m\u202e]]>&amp;{{.}}\n\xff"

const (
	baselineLen = 5 * time.Second        // load before the action
	fixtureLen  = 35 * time.Second       // length of the load
	syncTime    = 3 * time.Second        // of a new instance
	binWidth    = 100 * time.Millisecond // of the timeline
)

// instanceCourse is what happened to one instance, from the trial's base.
type instanceCourse struct {
	id, rev                         string
	started, ready, term, gone      time.Duration
	serving                         time.Duration // when it can serve
	notServing                      time.Duration // when it no longer can
	routedUntil                     time.Duration
	oldOne, hasGone, deniesUnsynced bool
}

// courses rolls three instances to a new revision, one more at a time. Naive instances
// are ready long before they can serve.
func courses(naive bool, jitter time.Duration) ([]instanceCourse, time.Duration) {
	var cs []instanceCourse
	at := baselineLen
	for i := range 3 {
		cs = append(cs, instanceCourse{id: fmt.Sprintf("proxy-r1-%d", i+1), rev: "r1", oldOne: true, hasGone: true})
	}
	for i := range 3 {
		n := instanceCourse{id: fmt.Sprintf("proxy-r2-%d", i+1), rev: "r2", started: at, notServing: fixtureLen, routedUntil: fixtureLen}
		n.serving = at + syncTime + time.Duration(i)*20*time.Millisecond + jitter
		n.ready = n.serving + 60*time.Millisecond
		drain := 1100 * time.Millisecond
		if naive {
			n.ready = at + 110*time.Millisecond
			n.deniesUnsynced = true
			drain = 30 * time.Millisecond
		}
		old := &cs[i]
		old.term, old.gone = n.ready, n.ready+drain
		old.notServing = old.gone
		old.routedUntil = old.term
		if naive {
			old.notServing, old.routedUntil = old.term, old.gone
		}
		at = old.gone
		cs = append(cs, n)
	}
	return cs, at
}

// noise is a small deterministic generator; goldens must not depend on a library's.
type noise uint64

func (n *noise) next() float64 {
	*n = *n*6364136223846793005 + 1442695040888963407
	return float64(*n>>33) / float64(1<<31)
}

func fixtureTimeline(naive bool, rate int, seed noise) (timeline.Timeline, judge.Trial) {
	cs, done := courses(naive, time.Duration(seed%7)*10*time.Millisecond)
	tl := timeline.Timeline{To: fixtureLen, BinWidth: binWidth, Action: timeline.Span{From: baselineLen, To: done}}
	var t judge.Trial
	t.Window = timeline.Span{From: baselineLen, To: fixtureLen}
	for from := time.Duration(0); from < fixtureLen; from += binWidth {
		routed, able, denying := 0, 0, 0
		mid := from + binWidth/2
		for _, c := range cs {
			if mid < c.ready || mid >= c.routedUntil {
				continue
			}
			routed++
			switch {
			case mid >= c.serving && mid < c.notServing:
				able++
			case c.deniesUnsynced:
				denying++
			}
		}
		b := timeline.Bin{From: from, Planned: rate / 10}
		if routed > 0 {
			b.OK = b.Planned * able / routed
			b.Denied = b.Planned * denying / routed
		}
		b.Failed = b.Planned - b.OK
		b.Denied = min(b.Denied, b.Failed) * 9 / 10
		if b.OK > 0 {
			busy := 1.0
			if b.Failed > 0 {
				busy = 2.5
			}
			b.P50 = time.Duration(busy * (0.55 + 0.1*seed.next()) * float64(time.Millisecond))
			b.P99 = time.Duration(busy * (1.8 + 1.5*seed.next()*seed.next()) * float64(time.Millisecond))
		}
		tl.Bins = append(tl.Bins, b)
		if from >= baselineLen {
			t.Planned += uint64(b.Planned)
			t.OK += uint64(b.OK)
			t.Failed += uint64(b.Failed)
		}
	}
	for from := time.Duration(0); from < fixtureLen; from += binWidth {
		p := timeline.Pressure{Span: timeline.Span{From: from, To: from + binWidth}, Share: 0.2 + 0.2*seed.next()}
		if from >= 8*time.Second && from < 9*time.Second {
			p.Share = 0.9
		}
		tl.Pressure = append(tl.Pressure, p)
	}
	for _, c := range cs {
		tl.Lanes = append(tl.Lanes, c.lane())
		for _, s := range tl.Lanes[len(tl.Lanes)-1].FalseReady {
			t.FalseReady += s.To - s.From
		}
	}
	return tl, t
}

func (c instanceCourse) lane() timeline.Lane {
	l := timeline.Lane{Instance: c.id, Revision: c.rev, Sync: -1, ByAction: !c.oldOne}
	state := func(from, to time.Duration, s timeline.State, open bool) timeline.StateSpan {
		return timeline.StateSpan{Span: timeline.Span{From: from, To: to, Open: open}, State: s}
	}
	if c.oldOne {
		l.Verdict = []timeline.StateSpan{state(0, c.term, timeline.Ready, false), state(c.term, c.gone, timeline.Draining, false), state(c.gone, fixtureLen, timeline.Gone, true)}
		l.Truth = []timeline.StateSpan{state(0, c.notServing, timeline.Serving, false), state(c.notServing, c.gone, timeline.NotServing, false)}
		if c.notServing > c.term {
			l.FalseUnready = []timeline.Span{{From: c.term, To: c.notServing}}
		}
		return l
	}
	l.Sync = c.serving - c.started
	l.Verdict = []timeline.StateSpan{state(c.started, c.ready, timeline.Starting, false), state(c.ready, fixtureLen, timeline.Ready, true)}
	l.Truth = []timeline.StateSpan{state(c.started, c.serving, timeline.NotServing, false), state(c.serving, fixtureLen, timeline.Serving, true)}
	if c.serving > c.ready {
		l.FalseReady = []timeline.Span{{From: c.ready, To: c.serving}}
	} else {
		l.FalseUnready = []timeline.Span{{From: c.serving, To: c.ready}}
	}
	return l
}

func fixtureTrial(scenario, driver, action, design string, naive bool, n int) judge.Trial {
	const rate = 1000
	tl, t := fixtureTimeline(naive, rate, noise(n*31+len(design)))
	t.Meta = record.Trial{Scenario: scenario, Driver: driver, Action: action, Design: design, N: n, Rate: rate,
		Planned: 35000, LoadTo: fixtureLen, BaselineTo: baselineLen, WindowFrom: baselineLen, WindowTo: fixtureLen,
		ReplicasBefore: 3, ReplicasAfter: 3, Revisions: record.Revisions{Before: "r1", After: "r2"}, ProbeEvery: 50 * time.Millisecond,
		LabBalancer: true, Routing: "The balancer learns of one that stopped when its checks have failed."}
	t.Folder = fmt.Sprintf("trials/%s-%s-%s-%d", driver, action, design, n)
	t.Valid = true
	t.Timeline = tl
	t.Sent = t.Planned
	t.SuccessRate = float64(t.OK) / float64(t.Planned)
	t.Downtime = time.Duration(t.Failed) * time.Second / rate
	t.Convergence = new(tl.Action.To - tl.Action.From)
	t.Sync = new(syncTime + time.Duration(n)*7*time.Millisecond)
	t.Recovery = new(time.Duration(0))
	t.Denials = 1500
	t.Down = map[time.Duration]time.Duration{10 * time.Millisecond: 0, 100 * time.Millisecond: 0, time.Second: 0}
	t.Degraded = map[time.Duration]time.Duration{10 * time.Millisecond: 0, 100 * time.Millisecond: 0, time.Second: 0}
	ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
	t.ScheduleLag = judge.Percentiles{N: 35000, P50: ms(0.134), P90: ms(0.2), P99: ms(0.31), P999: ms(1.9), Max: ms(4.2)}
	t.Latency = judge.Percentiles{N: t.OK, P50: ms(0.61), P90: ms(1.02), P99: ms(3.4), P999: ms(9.8), Max: ms(41.3)}
	t.LatencyUncorrected = judge.Percentiles{N: t.OK, P50: ms(0.48), P90: ms(0.9), P99: ms(3.1), P999: ms(9.1), Max: ms(40.7)}
	t.Values = map[string]float64{"slowest_request": 41.3, "standstill": 12.5}
	if t.Failed > 0 {
		t.Values = map[string]float64{"slowest_request": 241.3, "standstill": 1412.5 + float64(n)}
		t.Intermittent = timeline.Intermittent{Total: ms(9988), Period: ms(11), Planned: 9989, Failures: 909, Instances: 1}
	}
	t.Baseline = judge.BaselinePhase{Planned: 5000, Instances: 3, P99: ms(2.9)}
	t.Reference = judge.Reference{Planned: 600, OK: 600 * t.OK / t.Planned, Lo: t.SuccessRate - 0.03, Hi: math.Min(1, t.SuccessRate+0.03), Agrees: true}
	t.Pressure, t.Idle, t.Meta.Pressure.Waited = new(0.37), new(0.41), "/proc/pressure/cpu"
	t.Cost = record.Cost{CPU: 7200 * time.Millisecond, Children: 21 * time.Second, MaxRSS: 61 << 20}
	connections := map[string]int{"keepalive-get": 32, "keepalive-post": 32}
	for i, s := range []string{"keepalive-get", "keepalive-post", "newconn-get"} {
		part := []uint64{40, 40, 20}[i]
		t.Streams = append(t.Streams, judge.StreamCount{Name: s, Connections: connections[s], Planned: t.Planned * part / 100, OK: t.OK * part / 100})
	}
	for i, l := range tl.Lanes {
		t.Instances = append(t.Instances, judge.InstanceCount{ID: l.Instance, Revision: l.Revision, OK: t.OK / 6, Failed: t.Failed * uint64(i/3) / 3})
	}
	if t.Failed > 0 {
		t.Recovery = new(3300 * time.Millisecond)
		t.DisruptionLag = new(121 * time.Millisecond)
		t.Outages = 2
		t.LongestOutage = timeline.Outage{From: baselineLen + 121*time.Millisecond, To: baselineLen + 3131*time.Millisecond, LastOK: baselineLen + 120*time.Millisecond, Failures: int(t.Failed)}
		t.Down[100*time.Millisecond] = 2700 * time.Millisecond
		t.Degraded[100*time.Millisecond] = 3300 * time.Millisecond
		t.SentToUnready = t.Failed
		t.Breaches = 12
		t.Causes = []judge.CauseCount{
			{Cause: judge.BeforeReady, Count: t.Failed * 9 / 10, From: ms(121), To: ms(3131), Instances: []string{"proxy-r2-1", "proxy-r2-2", "proxy-r2-3"}, Revision: "r2", Class: record.HTTPStatus(403), Reason: "session not synced"},
			{Cause: judge.AfterStop, Count: t.Failed - t.Failed*9/10, From: ms(130), To: ms(3120), Instances: []string{"proxy-r1-1"}, Revision: "r1", Class: record.Reset},
		}
		t.Errors = []judge.ErrorCount{
			{Class: record.HTTPStatus(403), Reason: "session not synced", Count: t.Failed * 9 / 10},
			{Class: record.Reset, Count: t.Failed / 10},
		}
	}
	return t
}

func fixtureCell(scenario, driver, action, design string, naive bool) judge.Cell {
	c := judge.Cell{Scenario: scenario, Driver: driver, Action: action, Design: design}
	for n := 1; n <= 4; n++ {
		t := fixtureTrial(scenario, driver, action, design, naive, n)
		if n == 2 {
			t.Valid = false
			t.InvalidReasons = []judge.Reason{{Kind: judge.LoadLate, Time: 73 * time.Millisecond, Limit: 50 * time.Millisecond}}
			t.ScheduleLag.P99 = 73 * time.Millisecond
		}
		if n == 4 {
			t.Meta.Repeats = 2
		}
		c.Trials = append(c.Trials, t)
	}
	estimate(&c)
	return c
}

// estimate fills in the cell's estimates by hand; judge has the real statistics.
func estimate(c *judge.Cell) {
	c.Estimates, c.Bounds = make(map[string]judge.Estimate), judge.Bounds{}
	var losts, rates []float64
	sum := c.Totals()
	for i := range c.Trials {
		if t := &c.Trials[i]; t.Valid {
			losts, rates = append(losts, format.InMillis(t.Downtime)), append(rates, t.SuccessRate)
		}
	}
	n := sum.Valid
	if n == 0 {
		return
	}
	p := float64(sum.OK) / float64(sum.Planned)
	c.Bounds = judge.Bounds{Lo: p - 0.0017, Hi: math.Min(1, p+0.0016)}
	if sum.Lost() == 0 {
		c.Bounds.Lo = 0.99996671
	}
	slices.Sort(rates)
	c.Estimates[metric.SuccessRate] = judge.Estimate{Median: rates[n/2], Lo: rates[0], Hi: rates[n-1], N: n}
	lo, hi := slices.Min(losts), slices.Max(losts)
	c.Estimates[metric.Downtime] = judge.Estimate{Median: losts[0], Lo: lo, Hi: hi, N: n}
	c.Estimates[metric.LongestOutage], c.Estimates[metric.Recovery] = judge.Estimate{N: n}, judge.Estimate{N: n}
	for _, name := range []string{metric.Intermittent, metric.Standstill, metric.SlowestRequest} {
		var of []float64
		for i := range c.Trials {
			if t := &c.Trials[i]; t.Valid {
				v := t.Values[name]
				if name == metric.Intermittent {
					v = format.InMillis(t.Intermittent.Total)
				}
				of = append(of, v)
			}
		}
		slices.Sort(of)
		c.Estimates[name] = judge.Estimate{Median: of[n/2], Lo: of[0], Hi: of[n-1], N: n}
	}
	if hi > 0 {
		c.Estimates[metric.LongestOutage] = judge.Estimate{Median: 3010, Lo: 2998, Hi: 3041, N: n}
		c.Estimates[metric.Recovery] = judge.Estimate{Median: 3300, Lo: 3290, Hi: 3400, N: n}
	}
}

// fixtureRun is a run of quickstart: naive loses three seconds, stack-aware nothing.
func fixtureRun() *judge.Run {
	gates := []record.Gate{
		{Design: "stack-aware", Metric: "success_rate", Op: ">=", Limit: 0.9999},
		{Design: "stack-aware", Metric: "breaches", Op: "<=", Limit: 0},
	}
	run := &judge.Run{
		Record: record.Run{Schema: record.RunSchema, Tool: record.Tool{Version: "v0.1.0", Commit: "0123456789ab"},
			ID: "20261122-150405-quickstart", Started: "2026-11-22T15:04:05Z", Command: "rollout-lab run quickstart --trials 3",
			Labels: map[string]string{"commit": "89abcdef"},
			Environment: record.Environment{OS: "linux", Arch: "amd64", CPUs: 2, Kernel: "6.18.0", Go: "go1.26.0",
				Runtimes: map[string]string{"process": "builtin", "docker": "20.10.24"}, Fingerprint: "9f86d081884c7d65"},
			Scenarios: []record.Scenario{{Name: "quickstart", About: "three instances, rolled to a new revision under load", SHA256: "2c26b46b68ffc68ff99b453c1d304134",
				Source: "name: quickstart\n", Rate: 1000, Window: 30 * time.Second, Action: "rollout", Replicas: 3, Trials: record.TrialRange{Least: 3, Most: 3},
				Designs: []string{"naive", "stack-aware"}, Gates: gates, Positive: []string{"naive"}}},
		},
		End:     &record.RunEnd{Ended: "2026-11-22T15:10:05Z", Duration: 6 * time.Minute},
		Verdict: judge.Pass,
		Cells: []judge.Cell{
			fixtureCell("quickstart", "process", "rollout", "naive", true),
			fixtureCell("quickstart", "process", "rollout", "stack-aware", false),
		},
		Controls: []judge.Control{{Cell: "quickstart/process/naive", Kind: "positive", Held: true, Why: judge.Reason{Kind: judge.SomeFailed, Tally: judge.Tally{N: 8970, Of: 90000}}}},
		Comparisons: []judge.Comparison{{Scenario: "quickstart", Driver: "process", Action: "rollout", A: "naive", B: "stack-aware",
			Metric: "downtime", Trials: judge.Tally{N: 3, Of: 3}, Shift: -2990, Lo: -3020, Hi: -2960, P: 0.1, PWorse: 1, Margin: 598.4, Verdict: judge.Pass,
			Why: judge.Reason{Kind: judge.NoWorse, Names: []string{"stack-aware", "naive", "downtime"}, Value: 598.4}}},
	}
	for _, g := range gates {
		r := judge.GateResult{Cell: run.Cells[1].Key(), Gate: g, Observed: 1, Lo: 0.99996671, Hi: 1, HasInterval: true, Alpha: 0.05, Verdict: judge.Pass, Why: judge.Reason{Kind: judge.RateAtLeast, Tally: judge.Tally{N: 90000, Of: 90000}, Lo: 0.99996671, Hi: 1, Lossy: judge.Tally{Of: 3}, Value: 0.631597}}
		if g.Metric == "breaches" {
			r.Observed, r.HasInterval = 0, false
			r.Why = judge.Reason{Kind: judge.WorstTrial, Gate: &g, Trial: 1, Tally: judge.Tally{Of: 3}}
		}
		run.Gates = append(run.Gates, r)
	}
	run.Gates = append(run.Gates, judge.GateResult{Cell: run.Cells[1].Key(), Gate: record.Gate{Design: "stack-aware", Metric: "completed", Op: ">=", Limit: 1},
		Observed: 1, Verdict: judge.Pass, Implicit: true, Why: judge.Reason{Kind: judge.CompletedEach, Tally: judge.Tally{Of: 3}}})
	return run
}

// comparedRun is the same run, held against earlier ones: downtime is worse by less than its
// margin, a gate warns, and one could not be decided.
func comparedRun() *judge.Run {
	run := fixtureRun()
	key := run.Cells[1].Key()
	run.Record.Scenarios[0].Conditions = map[string]string{"load.rate": "1000", "phases.window.to": "35s"}
	run.Record.Baseline = &record.Baseline{File: "base.json", AnyEnvironment: true, Cells: []record.PastCell{{Scenario: "quickstart", Driver: "process", Action: "rollout", Design: "stack-aware",
		Differs: []record.Difference{{Field: "environment.kernel", Was: "6.1", Is: "6.18.0"}},
		Trials: []record.PastTrial{
			{RunID: "20261119-090000-aaaaaa", N: 1, Started: "2026-11-19T09:00:00Z", Commit: "0011223344556677", Fingerprint: "aaaaaaaaaaaaaaaa"},
			{RunID: "20261119-090000-aaaaaa", N: 2, Started: "2026-11-19T09:00:00Z", Commit: "0011223344556677", Fingerprint: "aaaaaaaaaaaaaaaa"},
		}}}}
	within := judge.Reason{Kind: judge.WorseWithin, Names: []string{"stack-aware", record.PastRuns, "downtime"}, Value: 50, Lo: 3, Hi: 12, P: 0.0002}
	against := record.Gate{Design: "stack-aware", Metric: "downtime", Against: record.PastRuns}
	share := record.Gate{Design: "stack-aware", Metric: "failed", Op: "<=", Limit: 0.001, Share: true, Stream: "newconn-get", Warn: true}
	warned := judge.Reason{Kind: judge.WorstTrial, Gate: &share, Value: 0.00321, Trial: 2, Tally: judge.Tally{Of: 3}}
	other := record.Gate{Design: "stack-aware", Metric: "recovery", Against: "naive", Margin: 80 * time.Millisecond, Warn: true}
	unclear := judge.Reason{Kind: judge.MayBeWorse, Names: []string{"stack-aware", "naive", "recovery"}, Value: 80, Lo: -10, Hi: 900, P: 0.2}
	run.Gates = append(run.Gates,
		judge.GateResult{Cell: key, Gate: against, Observed: 8, Lo: 3, Hi: 12, HasInterval: true, PWorse: 0.0002, Margin: 50, Verdict: judge.Pass, Why: within},
		judge.GateResult{Cell: key, Gate: share, Observed: 0.00321, PWorse: 1, Verdict: judge.Warned, Why: warned},
		judge.GateResult{Cell: key, Gate: other, Observed: 100, Lo: -10, Hi: 900, HasInterval: true, PWorse: 0.2, Margin: 80, Verdict: judge.Inconclusive, Why: unclear})
	run.Comparisons = append([]judge.Comparison{
		{Scenario: "quickstart", Driver: "process", Action: "rollout", A: record.PastRuns, B: "stack-aware", Metric: "downtime", Trials: judge.Tally{N: 30, Of: 3},
			Shift: 8, Lo: 3, Hi: 12, P: 0.0004, PWorse: 0.0002, Margin: 50, Gated: true, Verdict: judge.Pass, Why: within},
		{Scenario: "quickstart", Driver: "process", Action: "rollout", A: "naive", B: "stack-aware", Metric: "recovery", Trials: judge.Tally{N: 3, Of: 3},
			Shift: 100, Lo: -10, Hi: 900, P: 0.4, PWorse: 0.2, Margin: 80, Gated: true, Verdict: judge.Inconclusive, Why: unclear},
	}, run.Comparisons...)
	run.Warnings = []judge.Reason{
		{Kind: judge.WorseWithinMargin, Cell: key, Gate: &against, Because: []judge.Reason{within}},
		{Kind: judge.GateWarns, Cell: key, Gate: &share, Because: []judge.Reason{warned}},
		{Kind: judge.ComparedAllTheSame, Cell: key, Differs: []record.Difference{{Field: "environment.kernel", Was: "6.1", Is: "6.18.0"}}},
	}
	return run
}

// hostileRun is a run whose every text came from an enemy.
func hostileRun() *judge.Run {
	run := fixtureRun()
	r := &run.Record
	r.ID, r.Command, r.Started, r.Tool.Version, r.Tool.Commit = hostile, hostile, hostile, hostile, hostile
	r.Labels = map[string]string{hostile: hostile}
	r.Environment = record.Environment{OS: hostile, Arch: hostile, Kernel: hostile, Go: hostile, Fingerprint: hostile, Runtimes: map[string]string{hostile: hostile}}
	s := &r.Scenarios[0]
	s.Name, s.About, s.SHA256, s.Source, s.Action = hostile, hostile, hostile, hostile, hostile
	s.Designs = []string{hostile}
	run.Verdict = judge.Fail
	enemy := judge.Reason{Kind: judge.RecordDamaged, Cell: hostile, Text: hostile, Names: []string{hostile}}
	run.Reasons = []judge.Reason{enemy, {Kind: judge.TrialInvalid, Cell: hostile, Trial: 1, Because: []judge.Reason{enemy}}, {Kind: judge.CellNotRun, Cell: hostile, Text: hostile},
		{Kind: judge.GateMissed, Cell: hostile, Gate: &record.Gate{Metric: hostile, Op: hostile}, Because: []judge.Reason{enemy}}}
	run.End.Skipped = []record.Skipped{{Scenario: hostile, Driver: hostile, Design: hostile, Why: hostile, Unavailable: true}}
	for i := range run.Cells {
		c := &run.Cells[i]
		c.Scenario, c.Driver, c.Action, c.Design = hostile, hostile, hostile, fmt.Sprint(hostile, i)
		for j := range c.Trials {
			t := &c.Trials[j]
			t.Folder = hostile
			t.Meta.Design, t.Meta.Scenario, t.Meta.Driver, t.Meta.Action = c.Design, hostile, hostile, hostile
			t.InvalidReasons = []judge.Reason{enemy}
			t.Meta.Pressure.Waited = hostile
			t.Meta.Notes, t.Meta.Routing = []string{hostile, hostile}, hostile
			for k := range t.Streams {
				t.Streams[k].Name = hostile
			}
			for k := range t.Errors {
				t.Errors[k] = judge.ErrorCount{Class: hostile, Reason: hostile, Count: 7}
			}
			for k := range t.Causes {
				t.Causes[k] = judge.CauseCount{Cause: hostile, Count: 7, Instances: []string{hostile}, Revision: hostile, Class: hostile, Reason: hostile}
			}
			for k := range t.Instances {
				t.Instances[k].ID, t.Instances[k].Revision = hostile, hostile
			}
			for k := range t.Timeline.Lanes {
				t.Timeline.Lanes[k].Instance, t.Timeline.Lanes[k].Revision = hostile, hostile
				t.Timeline.Lanes[k].Verdict[0].State = hostile
			}
		}
	}
	for i := range run.Gates {
		run.Gates[i].Cell, run.Gates[i].Why, run.Gates[i].Verdict = run.Cells[1].Key(), enemy, judge.Fail
		run.Gates[i].Gate.Metric, run.Gates[i].Gate.Op, run.Gates[i].Gate.Design = hostile, hostile, hostile
	}
	run.Controls = []judge.Control{{Cell: hostile, Kind: hostile, Why: enemy}}
	run.Comparisons[0].Why, run.Comparisons[0].Metric, run.Comparisons[0].A = enemy, hostile, hostile
	return run
}
