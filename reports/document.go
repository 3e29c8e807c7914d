package reports

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// Milliseconds is a duration that JSON has as a number of milliseconds, to the nanosecond.
type Milliseconds time.Duration

// MarshalJSON writes the number exactly, without going through a float.
func (m Milliseconds) MarshalJSON() ([]byte, error) {
	return appendMillis(time.Duration(m)), nil
}

// UnmarshalJSON reads a number of milliseconds, rounded to the nanosecond.
func (m *Milliseconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("milliseconds: %w", err)
	}
	*m = Milliseconds(math.Round(f * 1e6))
	return nil
}

func appendMillis(d time.Duration) []byte {
	whole, rest := int64(d)/1e6, int64(d)%1e6
	if rest == 0 {
		return fmt.Appendf(nil, "%d", whole)
	}
	sign := ""
	if d < 0 {
		sign, whole, rest = "-", -whole, -rest
	}
	return []byte(format.TrimZeros(fmt.Sprintf("%s%d.%06d", sign, whole, rest)))
}

// The comment of each field below is its description in results.schema.json and in
// docs/results.md; a test fails for a field without one. Durations are milliseconds, rates
// 0..1. Every field is always there: what did not happen, or is not known, is null.

// Document is results.json: the result of a run.
type Document struct {
	// The name and version of this layout. Programs should refuse another one.
	Schema string `json:"schema"`
	// The program that made the record.
	Tool Tool `json:"tool"`
	// What names the run, in its folder as well.
	RunID string `json:"run_id"`
	// When the run began, in RFC 3339 and UTC.
	Started string `json:"started"`
	// How long the run took. Null: it was cut short.
	DurationMS *Milliseconds `json:"duration_ms"`
	// The command line that makes the same run again.
	Command string `json:"command"`
	// What was run, in the words of whoever ran it: --label k=v.
	Labels map[string]string `json:"labels"`
	// How long the run might take: --max-time. Null: as long as it took.
	MaxTimeMS *Milliseconds `json:"max_time_ms"`
	// Which rate the machine held. Null: nobody asked, because nothing gave a reason to.
	Preflight *Preflight `json:"preflight"`
	// Why there were no more trials of a scenario on a driver, where their number is open or the time was up.
	Stopped []Stopped `json:"stopped"`
	// Whether the run was cut short, or a planned trial is missing or damaged.
	Partial bool `json:"partial"`
	// The machine that the run ran on.
	Environment Environment `json:"environment"`
	// What earlier runs showed, against which the run is held. Null: none was named.
	Baseline *PastRuns `json:"baseline"`
	// The first of scenarios. Null: there is none.
	Scenario *Scenario `json:"scenario"`
	// What was asked for.
	Scenarios []Scenario `json:"scenarios"`
	// Fail when a gate was missed or the target failed; else inconclusive when anything stands in the way of a pass; else pass. The exit code says the same.
	Verdict judge.Verdict `json:"verdict"`
	// The verdict in one sentence: where the target failed, which gate was missed, if one was, and what each design lost. Where it is inconclusive, why.
	Headline string `json:"headline"`
	// Why it came out so, in a sentence or two: the cause of what was lost, or what held. Empty where the headline says it.
	Why string `json:"why"`
	// What to do about it. Empty where there is nothing.
	Do string `json:"do"`
	// What stands in the way of a pass: first why, and what to do about it; then one sentence each. Empty only where the verdict is pass.
	Reasons []string `json:"reasons"`
	// What a reader must know whatever the verdict is, one sentence each: gates that warn and were missed, what is surely worse by less than its margin, a baseline from another environment.
	Warnings []string `json:"warnings"`
	// What was measured: each scenario on each driver with each design.
	Cells []Cell `json:"cells"`
	// The gates, each held against the cells of its design; behind a scenario's own the implicit ones.
	Gates []Gate `json:"gates"`
	// The designs of a scenario held against each other or against earlier runs. One that no gate asks for informs and decides nothing.
	Comparisons []Comparison `json:"comparisons"`
	// The checks that the experiment can tell good from bad.
	Controls []Control `json:"controls"`
	// The cells of which a trial could not be run.
	Skipped []SkippedDesign `json:"skipped"`
	// Which design survives which scenario of a suite, for each suite on each driver. Empty: no scenario is of a suite.
	Suites []Suite `json:"suites"`
}

// Tool is the program that made the record.
type Tool struct {
	// The version of rollout-lab.
	Version string `json:"version"`
	// The commit that it was built from. Empty: not known.
	Commit string `json:"commit"`
}

// Environment is the machine that the run ran on.
type Environment struct {
	// The operating system, as Go calls it.
	OS string `json:"os"`
	// The architecture, as Go calls it.
	Arch string `json:"arch"`
	// The number of processors that the lab could use.
	CPUs int `json:"cpus"`
	// The release of the kernel. Empty: not known.
	Kernel string `json:"kernel"`
	// The version of Go that the lab was built with.
	Go string `json:"go"`
	// The version of each runtime that was used, by the driver's name.
	Runtimes map[string]string `json:"runtimes"`
	// A hash of all of the above. Runs of different fingerprints must not be compared.
	Fingerprint string `json:"fingerprint"`
}

// Scenario is what was asked for.
type Scenario struct {
	// The name of the scenario.
	Name string `json:"name"`
	// The SHA-256 of the scenario as it was run, with its variables filled in, in hexadecimal.
	SHA256 string `json:"sha256"`
	// The requests per second of the load.
	Rate float64 `json:"rate"`
	// The length of the window that is judged.
	WindowMS Milliseconds `json:"window_ms"`
	// The action: none, rollout, rollout-rollback, restart, scale-out, scale-in or command.
	Action string `json:"action"`
	// The number of instances before the action; 0 where it is not known.
	Replicas int `json:"replicas"`
	// How many trials of each cell there were to be, repeats of invalid ones not among them.
	Trials TrialRange `json:"trials"`
	// What the scenario is about, in its author's words.
	About string `json:"about"`
	// The designs, in the order in which the scenario has them.
	Designs []string `json:"designs"`
	// What its trials are measured under, by key: runs that differ in one of them are not compared. What is under test, its program and its designs, is none of it.
	Conditions map[string]string `json:"conditions"`
}

// PastRuns is what earlier runs showed, against which a run is held.
type PastRuns struct {
	// The file, as it was named.
	File string `json:"file"`
	// Why there is none. Empty: there is one.
	Missing string `json:"missing"`
	// The commit of its newest trial. Empty: not known.
	Commit string `json:"commit"`
	// How old its newest trial was when the run began, in days of 24 hours; 1 is all of one. Null: it has none.
	AgeDays *float64 `json:"age_days"`
	// How many of its trials the run is held against, over all cells.
	Trials int `json:"trials"`
	// The fingerprint of the environment of its newest trial. Empty: it has none.
	Fingerprint string `json:"fingerprint"`
	// The names of what is not as it was, such as load.rate or environment.kernel. Unless different_environment allows it, what differs so is not compared.
	Differs []string `json:"differs"`
	// Whether what was measured in another environment is compared all the same, as was asked for.
	DifferentEnvironment bool `json:"different_environment"`
}

// Cell is a scenario on a driver with a design.
type Cell struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The action, as in scenarios.
	Action string `json:"action"`
	// The name of the design.
	Design string `json:"design"`
	// Every trial that was run, invalid ones too, in the order in which they were run.
	Trials []Trial `json:"trials"`
	// The valid trials together.
	Summary Summary `json:"summary"`
}

// Summary is the valid trials of a cell together. It also has the metrics that are pooled:
// see MarshalJSON.
type Summary struct {
	// The requests of the valid trials added up.
	Pooled Pooled `json:"pooled"`
	// Requests planned in the windows of the valid trials.
	Planned uint64 `json:"planned"`
	// How many trials are valid.
	ValidTrials int `json:"valid_trials"`
	// How many trials are invalid. They are in no other number of the summary.
	InvalidTrials int `json:"invalid_trials"`
	// Why the requests of failed were lost, in the valid trials together, the most frequent cause first. The counts add up to failed.
	Causes []Cause `json:"causes"`
	// How the requests of the valid trials fared by revision, as in trials. The lost ones add up to failed. Empty: the action leads to no other revision.
	Revisions []RevisionLosses `json:"revisions"`
	// The mean downtime held against what 99.9 % over 30 days allow, which is 43.2 minutes. Null: no valid trial.
	ErrorBudget *ErrorBudget `json:"error_budget"`

	// By the metric's name.
	Estimates map[string]Estimate `json:"-"`
	Sums      map[string]uint64   `json:"-"`
}

// Pooled is the success rate of all valid trials together.
type Pooled struct {
	// Requests that were ok.
	OK uint64 `json:"ok"`
	// Requests that were planned.
	Planned uint64 `json:"planned"`
	// ok divided by planned, 0..1. Null: nothing was planned.
	Rate *float64 `json:"rate"`
	// The one-sided 95 % Clopper-Pearson lower bound of rate, 0..1; it assumes that requests fail independently of each other. Null: nothing was planned.
	Lo *float64 `json:"lo"`
	// The one-sided 95 % upper bound, likewise, 0..1. Both bounds together hold at 90 %. Null: nothing was planned.
	Hi *float64 `json:"hi"`
}

// Estimate is a metric over the valid trials, in the metric's own unit.
type Estimate struct {
	// The median over the trials, in the metric's unit. Null: n is 0.
	Median *float64 `json:"median"`
	// The least of the trials, in the metric's unit. Null: n is 0.
	Lo *float64 `json:"lo"`
	// The greatest of the trials, in the metric's unit. Null: n is 0.
	Hi *float64 `json:"hi"`
	// The number of trials that have a value.
	N int `json:"n"`
}

// ErrorBudget holds the mean downtime against 99.9 % over 30 days.
type ErrorBudget struct {
	// The share of the budget that one action takes; 1 is all of it.
	Share float64 `json:"share"`
	// How many such actions the budget affords in 30 days. Null: any number, nothing was lost.
	Affords *uint64 `json:"affords"`
}

// Trial is one deployment, one load and at most one action. It also has every metric under
// its key: see MarshalJSON.
type Trial struct {
	// The number of the trial within its cell, from 1.
	N int `json:"n"`
	// The number of the trial that this one repeats, 0 for a planned one.
	Repeats int `json:"repeats"`
	// Whether the record was cut short or is damaged.
	Partial bool `json:"partial"`
	// Whether the trial counts. An invalid one counts neither for nor against a design, except that a breach is one wherever it was seen.
	Valid bool `json:"valid"`
	// Why the trial is invalid, one sentence each. Empty: it is valid.
	InvalidReasons []string `json:"invalid_reasons"`
	// The flags, with their numbers, by which it may be valid: --rate 400. Empty: it is valid, or none is known.
	Try []string `json:"try"`
	// failed_by_target: the target did something wrong that no limit stands for, whether or not the numbers count. Else valid or invalid.
	Outcome judge.Outcome `json:"outcome"`
	// What the target did wrong, one sentence each. Empty: nothing that is no number.
	Failures []string `json:"failures"`
	// What a reader of the numbers must know, and where the runtime deployed something else than was asked for, one sentence each.
	Notes []string `json:"notes"`

	// Requests that were due in the window, and those that the action cut under way.
	Planned uint64 `json:"planned"`
	// Those of them that were sent.
	Sent uint64 `json:"sent"`
	// Those of them that were ok: the expected status and body, all of it read, before the deadline counted from the intended send time; or denied, where they had to be.
	OK uint64 `json:"ok"`
	// The longest outage with its bracket. Null: nothing failed.
	LongestOutage *Outage `json:"longest_outage"`
	// How many outages began in the window.
	Outages int `json:"outages"`
	// bins_down_ms and bins_degraded_ms at every width of the bins.
	Bins []BinTimes `json:"bins"`
	// The median time from the start of an instance to its first successful direct probe, over the instances that the action started. Null: none was started, or none was seen to serve.
	SyncMS *Milliseconds `json:"sync_ms"`
	// Requests that had to be denied, over the whole load.
	Denials uint64 `json:"denials"`
	// Requests that an instance was sent while its direct probe failed.
	SentToUnready uint64 `json:"sent_to_unready"`

	// The 99th percentile of schedule_lag_ms. Null: nothing was sent.
	ScheduleLagP99MS *Milliseconds `json:"schedule_lag_p99_ms"`
	// From the intended to the real send time, over the whole load. Null: nothing was sent.
	ScheduleLagMS *Percentiles `json:"schedule_lag_ms"`
	// Response time from the intended send time, over the requests in the window that were ok. Null: there was none.
	LatencyMS *Percentiles `json:"latency_ms"`
	// The same from the real send time, which leaves out the wait of requests that could not be sent in time. Null: there was none.
	LatencyUncorrectedMS *Percentiles `json:"latency_uncorrected_ms"`

	// How each stream of the load fared in the window.
	Streams []Stream `json:"streams"`
	// The failures in the window by class, the most frequent first.
	Errors []Failure `json:"errors"`
	// How each instance answered in the window.
	Instances []Instance `json:"instances"`
	// Why the requests of failed were lost, the most frequent cause first. The counts add up to failed.
	Causes []Cause `json:"causes"`
	// What the revision before the action is called.
	Before string `json:"revision_before"`
	// What the revision after the action is called; of one that is taken back, in between. The same: the action leads to no other one.
	After string `json:"revision_after"`
	// Whether the scenario says that they are not the same program.
	Differ bool `json:"revisions_differ"`
	// How the requests fared by the revision that they were sent to and the stretch in which they were sent. The lost ones add up to failed. Empty: the action leads to no other revision.
	Revisions []RevisionLosses `json:"revisions"`
	// The stretch before the action, in which nothing happens and nothing may fail.
	Baseline Baseline `json:"baseline"`
	// An independent client's view of the window. Null: it sent nothing.
	Reference *Reference `json:"reference"`
	// What the trial cost the machine.
	Cost Cost `json:"cost"`
	// The largest share, 0..1, of a second of the window in which some task was ready to run and waited for a CPU. Null: the system does not tell.
	CPUPressure *float64 `json:"cpu_pressure"`
	// Where that is from, for people. Empty: the system does not tell.
	CPUPressureSource string `json:"cpu_pressure_source"`
	// The share, 0..1, of the machine's CPUs that the baseline phase left idle. Null: the system does not tell.
	CPUIdle *float64 `json:"cpu_idle"`
	// The folder of the trial's record, relative to the run's.
	Files string `json:"files"`

	// By the metric's name; one without a value is not in it.
	Metrics map[string]float64 `json:"-"`

	// Absent are the metrics that the file that it was read from does not know.
	Absent []string `json:"-"`
}

// Outage is the longest outage with its bracket. Offsets count from the start of the window.
type Outage struct {
	// The intended send time of its first failure.
	FromMS Milliseconds `json:"from_ms"`
	// The intended send time of the first of the successes that end it.
	ToMS Milliseconds `json:"to_ms"`
	// The intended send time of the last success before it. Null: there was none.
	LastOKMS *Milliseconds `json:"last_ok_ms"`
	// Requests that failed in it.
	Failures int `json:"failures"`
	// Whether the load ended before the outage did: it is at least as long as from_ms to to_ms.
	Open bool `json:"open"`
	// How exactly the times are known, in milliseconds: 1/rate. Null: no rate is known.
	ResolutionMS *float64 `json:"resolution_ms"`
}

// BinTimes is down and degraded time at one width of the bins.
type BinTimes struct {
	// The width of the bins.
	BinMS Milliseconds `json:"bin_ms"`
	// The total of the bins with less than 50 % ok.
	DownMS Milliseconds `json:"down_ms"`
	// The total of the bins with less than 99 % ok, the ones that are down among them.
	DegradedMS Milliseconds `json:"degraded_ms"`
}

// Percentiles of a duration.
type Percentiles struct {
	// The median.
	P50 Milliseconds `json:"p50"`
	// The 90th percentile.
	P90 Milliseconds `json:"p90"`
	// The 99th percentile.
	P99 Milliseconds `json:"p99"`
	// The 99.9th percentile.
	P999 Milliseconds `json:"p999"`
	// The greatest value.
	Max Milliseconds `json:"max"`
	// The number of values.
	N uint64 `json:"n"`
}

// Stream is how one stream fared in the window.
type Stream struct {
	// The name of the stream, such as keepalive-get or keepalive.
	Name string `json:"name"`
	// How many kept connections its requests used in turn. A balancer of connections leaves each with one instance. 0: each request has a connection of its own.
	Connections int `json:"connections"`
	// Its requests that were sent.
	Planned uint64 `json:"planned"`
	// Those of them that were ok.
	OK uint64 `json:"ok"`
}

// Failure is how often a class of failure occurred in the window.
type Failure struct {
	// The class: http_NNN (a complete answer with a status that was not expected), refused, reset, timeout, truncated, wrong_body, wrong_header, eof, dns, tls (no trust in a certificate, or a refused handshake), refused_retryable (a server of HTTP/2 said that it did not process it: a client that repeats loses nothing), harness (the harness's own trouble), unsent, other. More may come.
	Class record.Class `json:"class"`
	// Requests that failed so.
	Count uint64 `json:"count"`
	// The reason most often given with it. Empty: none was.
	Reason string `json:"reason"`
}

// RevisionLosses is how requests fared that were sent to one revision in one stretch.
type RevisionLosses struct {
	// The revision that they were sent to. Empty: it is not known, or they were sent to nobody.
	Revision string `json:"revision"`
	// Which revisions had an instance when they were sent, routed to or not: only_before, both, only_after, or none that the runtime told of.
	Stretch judge.Stretch `json:"stretch"`
	// Those that were ok.
	OK uint64 `json:"ok"`
	// Those that were lost.
	Lost uint64 `json:"lost"`
}

// RequestAnswers is how the new revision answered one request in the window.
type RequestAnswers struct {
	// The method and the path.
	Request string `json:"request"`
	// Answers that were wrong, and that it alone gives.
	Wrong uint64 `json:"wrong"`
	// All of its answers to it.
	Answers uint64 `json:"answers"`
}

// Cause is why requests were lost. Each lost request has one.
type Cause struct {
	// before_ready: sent to an instance that could not serve yet. after_stop: sent to an instance that had been told to stop. connection_closed: its connection was closed under it by such an instance. no_instance: nobody was routed to. broken_while_ready: sent to an instance that had served and no longer could, unasked. too_slow: not answered by its deadline, by an instance that serves. new_revision: the new revision alone gives that wrong answer. refused_retryable: a server of HTTP/2 refused it and said that it did nothing with it. tls: the two sides of TLS did not come to trust each other. Of a service at an address, where the instance is not known: refused: nobody listened. kept_connection_broken: the connection, which had been kept, ended under it. connection_broken: the same of a new one. wrong_answer: not answered as it has to be. unanswered: not answered by its deadline. harness: never sent, or failed by trouble of the harness. unknown: none of these can be shown. More may come.
	Cause judge.Cause `json:"cause"`
	// Requests that were lost for it.
	Count uint64 `json:"count"`
	// When the first of them was due, from the start of the window.
	FromMS Milliseconds `json:"from_ms"`
	// When the last of them was due.
	ToMS Milliseconds `json:"to_ms"`
	// The instances that they were sent to, as far as that is known.
	Instances []string `json:"instances"`
	// The revision of all of these instances. Empty: they differ, or it is not known.
	Revision string `json:"revision"`
	// Of new_revision: the requests that the new revision answers wrongly, the most frequent first. Empty: another cause, or the record does not name the requests.
	Requests []RequestAnswers `json:"requests"`
	// The most frequent class of failure among them, as in errors.
	Class record.Class `json:"class"`
	// The reason most often given with them. Empty: none was.
	Reason string `json:"reason"`
	// Of those that hit their deadline, the share, 0..1, of the time until then that passed before the lab had sent them; the rest they waited for the target. Null: none did.
	LateShare *float64 `json:"late_share"`
	// The fault that was there when the most of them were sent. Empty: none was, or it differs between the trials.
	Fault string `json:"fault"`
	// How many of them were sent while it was there, or were lost in its wake.
	DuringFault uint64 `json:"during_fault"`
	// The cause and what to do about it, in sentences.
	Text string `json:"text"`
}

// Instance is how one instance answered in the window.
type Instance struct {
	// The name of the instance. Empty: no instance answered, or none was named.
	ID string `json:"id"`
	// Its revision. Empty: not known.
	Revision string `json:"revision"`
	// Its answers that were ok.
	OK uint64 `json:"ok"`
	// Requests sent to it that failed.
	Failed uint64 `json:"failed"`
}

// Baseline is the stretch of the trial before the action.
type Baseline struct {
	// Requests that were due in it.
	Planned uint64 `json:"planned"`
	// Those of them that were not ok.
	Failed uint64 `json:"failed"`
	// How many different instances answered in it.
	Instances int `json:"instances"`
	// The 99th percentile of the response time in it; 0 without a request that was ok.
	P99MS Milliseconds `json:"p99_ms"`
}

// Reference is the independent client's view of the window.
type Reference struct {
	// Requests that it sent in the window.
	Planned uint64 `json:"planned"`
	// Those of them that were ok.
	OK uint64 `json:"ok"`
	// The lower end of the two-sided 99.9 % interval of its success rate, 0..1. Null: not known.
	Lo *float64 `json:"lo"`
	// The upper end, 0..1. Null: not known.
	Hi *float64 `json:"hi"`
	// Whether its interval and that of the load overlap, of all requests and of each stream.
	Agrees bool `json:"agrees"`
	// The streams that it sent enough requests of to compare.
	Streams []ReferenceStream `json:"streams"`
}

// ReferenceStream is the independent client's view of one stream in the window.
type ReferenceStream struct {
	// Of the stream, as in streams.
	Name string `json:"name"`
	// Requests that it sent in the window.
	Planned uint64 `json:"planned"`
	// Those of them that were ok.
	OK uint64 `json:"ok"`
	// The lower end of the interval of its success rate, 0..1: 99.9 % for all streams together.
	Lo float64 `json:"lo"`
	// The upper end, 0..1.
	Hi float64 `json:"hi"`
	// Whether that interval and the load's overlap.
	Agrees bool `json:"agrees"`
}

// Cost is what the trial cost the machine.
type Cost struct {
	// Processor time of the lab's own process during the load.
	CPUMS Milliseconds `json:"cpu_ms"`
	// Processor time of the processes that it started and that have ended since the trial began; 0 where that is not known.
	ChildrenMS Milliseconds `json:"children_cpu_ms"`
	// The most memory that the lab has had resident so far, in bytes.
	MaxRSSBytes int64 `json:"max_rss_bytes"`
}

// GateVerdict is a verdict, or warn.
type GateVerdict judge.Verdict

// Gate is a gate held against the cell that it names.
type Gate struct {
	// The cell, as scenario/driver/design; scenario/design where no such cell was run.
	Cell string `json:"cell"`
	// The name of the metric, as in scenarios.
	Metric string `json:"metric"`
	// The operator, >= or <=. Empty: it is held against something else than a limit.
	Op string `json:"op"`
	// The limit, in the metric's unit, or as unit says. Null: the scenario has no number there.
	Limit *float64 `json:"limit"`
	// What limit, observed, lo and hi are counted in: share (0..1), count or duration (milliseconds). It is the metric's own unit, but for a limit on a count that is a share of the requests.
	Unit string `json:"unit"`
	// The stream of the load whose requests alone are meant. Empty: all.
	Stream string `json:"stream"`
	// What the design is held against instead of a limit: another design, or baseline, which are earlier runs. Empty: a limit.
	Against string `json:"against"`
	// How much more than there is no matter. Null: it is a limit, or there was nothing to compare.
	MarginMS *float64 `json:"margin_ms"`
	// The one-sided p of the exact test that the design is worse than there, 0..1. Null: it is a limit, or there was nothing to compare.
	P *float64 `json:"p"`
	// fail or warn. With warn the verdict of a missed gate is warn, and the run's does not change.
	Level string `json:"level"`
	// Whether the scenario did not ask for it: that the action was completed is a gate of each design that is not known to fail.
	Implicit bool `json:"implicit"`
	// What was observed, in the metric's unit, or as unit says: the pooled success rate, the worst valid trial, or the shift from what it is held against. Null: there are no data, or the thing never happened; why says which.
	Observed *float64 `json:"observed"`
	// The one-sided lower bound of a success rate or a shift, in the metric's unit. Null: neither, or no data.
	Lo *float64 `json:"lo"`
	// The one-sided upper bound, likewise, in the metric's unit. Null: neither, or no data.
	Hi *float64 `json:"hi"`
	// The confidence of each bound, 0..1: 0.95, or more where the number of trials is open and there might be more. Null: no bounds.
	Confidence *float64 `json:"confidence"`
	// Whether the limit was met, or the design is no worse. Warn: it was missed, and only warns. Inconclusive: the data do not say, or not every planned trial is valid.
	Verdict GateVerdict `json:"verdict"`
	// The design that the gate is for.
	Design string `json:"design"`
	// Why it was judged so, in one sentence.
	Why string `json:"why"`
}

// Comparison holds two designs, or a design and what earlier runs showed of it, against each
// other on one metric.
type Comparison struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The action, as in scenarios.
	Action string `json:"action"`
	// The design that is compared with; baseline for earlier runs.
	A string `json:"a"`
	// The design that is compared.
	B string `json:"b"`
	// The name of the metric, as in scenarios.
	Metric string `json:"metric"`
	// The stream of the load whose requests alone are meant. Empty: all.
	Stream string `json:"stream"`
	// How many valid trials there are of a.
	TrialsA uint64 `json:"trials_a"`
	// How many valid trials there are of b.
	TrialsB uint64 `json:"trials_b"`
	// The Hodges-Lehmann shift from a to b, in the metric's unit. Null: not known.
	Shift *float64 `json:"shift"`
	// Its one-sided 95 % lower bound, in the metric's unit. Null: not known.
	Lo *float64 `json:"lo"`
	// Its one-sided 95 % upper bound, in the metric's unit. Both bounds together hold at 90 %. Null: not known.
	Hi *float64 `json:"hi"`
	// The two-sided p of the exact permutation test over the trials, 0..1: how likely trials that are all alike would be dealt so, or further apart. Null: not known.
	P *float64 `json:"p"`
	// The one-sided p of the same test, 0..1: that b is worse. Null: not known.
	PWorse *float64 `json:"p_worse"`
	// How much worse is no matter. Null: not known.
	MarginMS *float64 `json:"margin_ms"`
	// Whether a gate asks for it. Else it informs, and its verdict decides nothing.
	Gated bool `json:"gated"`
	// Fail: b is worse than a by more than the margin. Pass: it is not. Inconclusive: the trials do not say.
	Verdict judge.Verdict `json:"verdict"`
	// Why it was judged so, in one sentence.
	Why string `json:"why"`
}

// Control is a check that the experiment can tell good from bad.
type Control struct {
	// The cell, as scenario/driver/design.
	Cell string `json:"cell"`
	// negative: nothing is done, so nothing may fail. positive: the design is known to fail, so it must.
	Kind string `json:"kind"`
	// Whether it came out as it had to.
	Held bool `json:"held"`
	// Why it is said to have held or not, in one sentence.
	Why string `json:"why"`
}

// SkippedDesign is a cell of which a trial could not be run.
type SkippedDesign struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The name of the design.
	Design string `json:"design"`
	// Why it was not run.
	Why string `json:"why"`
	// Whether it was deployed and did not serve, which is a fail. Else the runtime or the lab is to blame.
	ByTarget bool `json:"by_target"`
}

// Suite says which design survives which of a suite's scenarios on one driver.
type Suite struct {
	// The name of the suite.
	Name string `json:"name"`
	// The name of the driver.
	Driver string `json:"driver"`
	// The designs, what survives the most first.
	Designs []string `json:"designs"`
	// The scenarios, what most designs survive first.
	Scenarios []SuiteScenario `json:"scenarios"`
}

// SuiteScenario is how the designs of a suite fared in one of its scenarios.
type SuiteScenario struct {
	// The name of the scenario.
	Scenario string `json:"scenario"`
	// One for each of the suite's designs, in their order.
	Cells []SuiteCell `json:"cells"`
}

// SuiteCell is how one design fared in one scenario.
type SuiteCell struct {
	// The name of the design.
	Design string `json:"design"`
	// survives: it holds every limit that is set on it, or where none is, those that are set on others. breaks: it misses one, or the target failed. unknown: no data, or a planned trial does not count. not_tested: it is none of the scenario's designs.
	Survival judge.Survival `json:"survival"`
	// Why it breaks, or why that is not known, in one sentence. Empty: it survives, or was not tested.
	Why string `json:"why"`
	// How many trials are valid: what the numbers rest on.
	ValidTrials int `json:"valid_trials"`
	// Requests planned in the windows of the valid trials.
	Planned uint64 `json:"planned"`
	// Those of them that were not ok. Null: no valid trial.
	Lost *uint64 `json:"lost"`
	// The median of detection_ms, over the valid trials in which every instance that a fault was done to was noticed. Null: there is none.
	DetectionMS *float64 `json:"detection_ms"`
	// Valid trials in which the runtime did not notice every instance that a fault was done to.
	Undetected int `json:"undetected"`
	// false_evictions of the valid trials added up. Null: not known.
	FalseEvictions *uint64 `json:"false_evictions"`
	// Breaches of the valid trials added up. Null: no valid trial, or no request had to be denied.
	Breaches *uint64 `json:"breaches"`
}

// MarshalJSON writes the fields and, by its key, every metric that a trial has not got in
// an object of its own. A metric without a value is null.
func (t Trial) MarshalJSON() ([]byte, error) {
	type fields Trial
	b, err := json.Marshal(fields(t))
	for _, m := range trialMetrics() {
		var v any
		if f, ok := t.Metrics[m.Name]; ok {
			v = f
		}
		b = appendMember(b, m.Key, v, &err)
	}
	return b, err
}

// UnmarshalJSON reads what MarshalJSON has written.
func (t *Trial) UnmarshalJSON(b []byte) error {
	type fields Trial
	values := make(map[string]json.RawMessage)
	if err := errors.Join(json.Unmarshal(b, (*fields)(t)), json.Unmarshal(b, &values)); err != nil {
		return err
	}
	t.Metrics = make(map[string]float64)
	for _, m := range trialMetrics() {
		var v *float64
		if raw, ok := values[m.Key]; !ok {
			t.Absent = append(t.Absent, m.Name)
			continue
		} else if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("%s: %w", m.Key, err)
		}
		if v != nil {
			t.Metrics[m.Name] = *v
		}
	}
	return nil
}

// trialMetrics are the metrics that stand in a trial itself.
func trialMetrics() []metric.Metric {
	return slices.DeleteFunc(metric.All(), func(m metric.Metric) bool { return strings.Contains(m.Key, ".") })
}

// MarshalJSON writes the fields and, by its key, every metric that is pooled: an estimate,
// or a sum.
func (s Summary) MarshalJSON() ([]byte, error) {
	type fields Summary
	b, err := json.Marshal(fields(s))
	for _, m := range metric.All() {
		switch {
		case estimated(m):
			b = appendMember(b, m.Key, s.Estimates[m.Name], &err)
		case m.Pooling == metric.Sum:
			b = appendMember(b, m.Key, s.Sums[m.Name], &err)
		}
	}
	return b, err
}

// UnmarshalJSON reads what MarshalJSON has written.
func (s *Summary) UnmarshalJSON(b []byte) error {
	type fields Summary
	values := make(map[string]json.RawMessage)
	err := errors.Join(json.Unmarshal(b, (*fields)(s)), json.Unmarshal(b, &values))
	s.Estimates, s.Sums = make(map[string]Estimate), make(map[string]uint64)
	for _, m := range metric.All() {
		raw, ok := values[m.Key]
		switch {
		case !ok:
		case estimated(m):
			var e Estimate
			err = errors.Join(err, json.Unmarshal(raw, &e))
			s.Estimates[m.Name] = e
		case m.Pooling == metric.Sum:
			var n uint64
			err = errors.Join(err, json.Unmarshal(raw, &n))
			s.Sums[m.Name] = n
		}
	}
	return err
}

// estimated reports whether the trials of a cell give an estimate of a metric.
func estimated(m metric.Metric) bool {
	return m.Pooling == metric.Median || m.Pooling == metric.Rate
}

// appendMember adds a member to a JSON object, unless there was an error.
func appendMember(object []byte, key string, v any, err *error) []byte {
	if *err != nil {
		return nil
	}
	var raw []byte
	raw, *err = json.Marshal(v)
	return fmt.Appendf(object[:len(object)-1], ",%q:%s}", key, raw)
}
