package reports

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

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

// appendMember adds a member to a JSON object, unless there was an error.
func appendMember(object []byte, key string, v any, err *error) []byte {
	if *err != nil {
		return nil
	}
	var raw []byte
	raw, *err = json.Marshal(v)
	return fmt.Appendf(object[:len(object)-1], ",%q:%s}", key, raw)
}
