// Package metric is the table of the numbers about a trial that a gate can put a limit on:
// what each is called, counted in and defined as. Scenarios, judge and reports read this
// table and have none of their own. How a metric is computed is not here but in package
// judge; a test there holds the two together.
package metric

import (
	"slices"
	"time"
)

// Unit is what a metric is counted in.
type Unit string

// The units of metrics.
const (
	Share    Unit = "share"    // 0..1; a scenario may write a percentage
	Count    Unit = "count"    // a whole number
	Duration Unit = "duration" // milliseconds; a scenario writes 250ms
)

// Direction is which way a metric is better.
type Direction string

// The directions of metrics.
const (
	Lower  Direction = "lower"
	Higher Direction = "higher"
)

// Pooling is how the valid trials of a cell become one number.
type Pooling string

// The ways to pool. Whatever the way, a limit on anything but a Rate is held against the
// worst trial.
const (
	Each   Pooling = "each"   // not at all: every trial stands for itself
	Sum    Pooling = "sum"    // added up
	Median Pooling = "median" // the median, with the range of the trials
	Rate   Pooling = "rate"   // the counts behind it are added up, with exact bounds
)

// Alpha is one minus the confidence of the bounds of a Rate, each for itself.
const Alpha = 0.05

// The names of metrics that code must name; every other one is in the table alone.
const (
	SuccessRate   = "success_rate"
	Downtime      = "downtime"
	LongestOutage = "longest_outage"
	Recovery      = "recovery"
	Convergence   = "convergence"
	Breaches      = "breaches"
	Failed        = "failed"
	Completed     = "completed"

	Intermittent   = "intermittent"
	Standstill     = "standstill"
	SlowestRequest = "slowest_request"
	LateFailures   = "late_failures"

	Detection      = "detection"
	Ejection       = "ejection"
	Return         = "return"
	FalseEvictions = "false_evictions"
	NoneRoutable   = "none_routable"
	Restarts       = "restarts"
	StaleAllowed   = "stale_allowed"
)

// Metric is a row of the table.
type Metric struct {
	Name    string // in scenarios and gates
	Key     string // in a trial of results.json; a dot leads into an object
	Words   string // as people read it
	Unit    Unit
	Better  Direction
	Pooling Pooling
	About   string // its definition, without a full stop
	Remark  string // what a reader of a report must know beside it, in sentences

	// OfPlanned: it counts some of the requests planned in the window, so a limit on it may be a
	// share of them. ByStream: it can be told of a single stream of the load.
	OfPlanned, ByStream bool

	// None says what it means that a trial has no value. For a limit such a trial is later
	// than any, except where NoneIsZero.
	None       string
	NoneIsZero bool

	// OfFault: it says nothing of a trial without a fault.
	OfFault bool

	// What a limit on it takes to be decided; 0 where it takes nothing.
	Behind time.Duration // load behind the limit, over which the metric must hold
	Rate   float64       // requests a second
	Bin    time.Duration // it counts bins of this width, or of 1/rate where that is longer
}

// Comparable reports whether two measurements of it can be held against each other: it is a
// time of which less is better.
func (m Metric) Comparable() bool { return m.Unit == Duration && m.Better == Lower }

// All lists the metrics in the order in which reports show them.
func All() []Metric { return slices.Clone(table) }

// Names lists the names of all metrics, in the same order.
func Names() []string {
	names := make([]string, len(table))
	for i, m := range table {
		names[i] = m.Name
	}
	return names
}

// ByName returns the metric of a name.
func ByName(name string) (m Metric, ok bool) {
	for _, m := range table {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

const nothingPlanned = "no request was planned"

var table = []Metric{
	{
		Name: SuccessRate, Key: "success_rate", Words: "success rate", Unit: Share, Better: Higher, Pooling: Rate, ByStream: true,
		About:  "requests that were served (or denied, where they had to be) of those planned in the window",
		Remark: "Ok means: the expected status, the expected body, the whole body read, before the deadline counted from the intended send time. A request that must be denied is ok when it is denied; one that was never sent is a failure. The matrix adds up the valid trials. Its bounds are two one-sided 95 % Clopper-Pearson bounds of that sum: each alone holds at 95 %, both together at 90 %. They assume that requests fail independently of each other; requests that one event loses together do not, so the range over the trials says more about the next trial. Percentages are cut off, never rounded up; only an upper bound is rounded up.",
		None:   nothingPlanned,
	},
	{
		Name: Failed, Key: "failed", Words: "failed", Unit: Count, Better: Lower, Pooling: Sum, OfPlanned: true, ByStream: true,
		About: "requests planned in the window that were not ok, unsent ones among them, and those that the action cut under way",
		None:  nothingPlanned,
	},
	{
		Name: Downtime, Key: "downtime_ms", Words: "downtime", Unit: Duration, Better: Lower, Pooling: Median, ByStream: true,
		About:  "failed requests divided by the rate; of a stream, by its share of the rate",
		Remark: "How long the service was gone, had all failures come at once. The matrix has the median over the valid trials and their range.",
		None:   nothingPlanned,
	},
	{
		Name: LongestOutage, Key: "longest_outage_ms", Words: "longest outage", Unit: Duration, Better: Lower, Pooling: Median,
		About:  "the longest time from a failure to the first of 10 successes in a row, or of those of a whole second",
		Remark: "By intended send time; the brackets are the last success before and the first of those after, so it is known to one request, 1/rate. The matrix has the median over the valid trials and their range.",
		None:   "nothing failed", NoneIsZero: true,
	},
	{
		Name: "bins_down", Key: "bins_down_ms", Words: "bins down", Unit: Duration, Better: Lower, Pooling: Each,
		About: "total of the bins of 100 ms, or of the time between two requests if that is more, with less than 50 % ok",
		None:  nothingPlanned,
		Bin:   100 * time.Millisecond,
	},
	{
		Name: "bins_degraded", Key: "bins_degraded_ms", Words: "bins degraded", Unit: Duration, Better: Lower, Pooling: Each,
		About: "total of the bins of 100 ms, or of the time between two requests if that is more, with less than 99 % ok, the ones that are down among them",
		None:  nothingPlanned,
		Bin:   100 * time.Millisecond,
	},
	{
		Name: Intermittent, Key: "intermittent_ms", Words: "intermittent", Unit: Duration, Better: Lower, Pooling: Median,
		About:  "total of the stretches of 1 s and more in which failures came again and again, at most 1 s or 20 requests apart, with successes between them",
		Remark: "One broken instance of several loses requests like that, and it is no outage: to the longest outage, one dead instance of ten is 10 s and more, and one of eleven a millisecond. Ten failures in a row are an outage and no part of it.",
		None:   nothingPlanned,
	},
	{
		Name: "intermittent_share", Key: "intermittent_share", Words: "intermittent share", Unit: Share, Better: Lower, Pooling: Each,
		About: "the share, 0..1, of the requests planned in those stretches that failed",
		None:  "nothing failed intermittently", NoneIsZero: true,
	},
	{
		Name: "intermittent_period", Key: "intermittent_period_ms", Words: "intermittent period", Unit: Duration, Better: Higher, Pooling: Each,
		About: "mean time in those stretches from one failure, or several in a row, to the next",
		None:  "nothing failed intermittently",
	},
	{
		Name: "intermittent_instances", Key: "intermittent_instances", Words: "intermittent instances", Unit: Count, Better: Lower, Pooling: Each,
		About: "instances that the failures in those stretches came from, as far as answers name them",
		None:  nothingPlanned,
	},
	{
		Name: "disruption_lag", Key: "disruption_lag_ms", Words: "disruption lag", Unit: Duration, Better: Higher, Pooling: Each,
		About: "from the start of the action to the first failure",
		None:  "nothing failed",
	},
	{
		Name: Recovery, Key: "recovery_ms", Words: "recovery", Unit: Duration, Better: Lower, Pooling: Median,
		About:  "from the start of the action, or where there are faults from the last healing of one, to the first instant behind every disruption after which, for 5 s, every second has at least 99.9 % ok; 0 where nothing failed from then on",
		Remark: "The matrix has the median over the trials in which it was seen, and says in how many it was not. At once means that nothing failed in the window either.",
		None:   "the record shows no recovery",
		Behind: 5 * time.Second,
	},
	{
		Name: "latency_recovery", Key: "latency_recovery_ms", Words: "latency recovery", Unit: Duration, Better: Lower, Pooling: Each,
		About:  "from the same instant as recovery to the first one behind every disruption after which, for 5 s, every second has at least 100 requests that were ok and a p99 of at most 1.5 times the baseline phase's, or 10 ms more than it if that is more",
		Remark: "It cannot be seen below 100 requests a second, nor where the load ends before the 5 s do.",
		None:   "the record shows no calm of 5 s",
		Behind: 5 * time.Second, Rate: 100,
	},
	{
		Name: Convergence, Key: "convergence_ms", Words: "convergence", Unit: Duration, Better: Lower, Pooling: Each,
		About: "from the start of the action to the moment that the runtime calls it complete",
		None:  "the runtime never called the action complete",
	},
	{
		Name: Completed, Key: "completed", Words: "completed", Unit: Count, Better: Higher, Pooling: Each,
		About: "1 where the action was completed, 0 where the target did not complete it",
		None:  "what became of the action is not known",
	},
	{
		Name: "false_ready", Key: "false_ready_ms", Words: "false ready", Unit: Duration, Better: Lower, Pooling: Each,
		About:  "time that the runtime called an instance ready while a direct probe of it failed, summed over instances",
		Remark: "The time during which the runtime sends users to an instance that cannot serve them.",
		None:   nothingPlanned,
	},
	{
		Name: "false_unready", Key: "false_unready_ms", Words: "false unready", Unit: Duration, Better: Lower, Pooling: Each,
		About: "time that the runtime called an instance not ready while a direct probe of it succeeded, summed over instances; not while it was told to go",
		None:  nothingPlanned,
	},
	{
		Name: Breaches, Key: "breaches", Words: "breaches", Unit: Count, Better: Lower, Pooling: Sum,
		About: "requests that had to be denied and were served, over the whole load",
		None:  nothingPlanned,
	},
	{
		Name: "hidden_retries", Key: "hidden_retries", Words: "hidden retries", Unit: Count, Better: Lower, Pooling: Each,
		About:  "connections that the transport took beyond the first of each request",
		Remark: "Each one may hide a failure: the transport asked again without being told to.",
		None:   nothingPlanned,
	},
	{
		Name: SlowestRequest, Key: "slowest_request_ms", Words: "slowest request", Unit: Duration, Better: Lower, Pooling: Median,
		About: "the longest time from the intended send time of a request in the window to its end, whatever that was",
		None:  "no request was sent",
	},
	{
		Name: "in_flight_at_action", Key: "in_flight_at_action", Words: "in flight at the action", Unit: Count, Better: Lower, Pooling: Each,
		About:  "requests that were under way when the action began and failed after, which are among the failed ones",
		Remark: "One that had been under way for longer than the baseline phase's p99 and 50 ms was stuck before, which is the baseline phase's failure.",
		None:   nothingPlanned,
	},
	{
		Name: "warm_up_failures", Key: "warm_up_failures", Words: "warm-up failures", Unit: Count, Better: Lower, Pooling: Each,
		About:  "requests that failed before the baseline phase, which are not among the failed ones",
		Remark: "What is cold may be slow: they make a trial neither worse nor invalid. Let the baseline phase begin earlier to make them count.",
		None:   nothingPlanned,
	},
	{
		Name: LateFailures, Key: "late_failures", Words: "late failures", Unit: Count, Better: Lower, Pooling: Sum,
		About: "requests that failed behind the window, in the rest of the load, which are not among the failed ones",
		None:  nothingPlanned,
	},
	{
		Name: Standstill, Key: "standstill_ms", Words: "standstill", Unit: Duration, Better: Lower, Pooling: Median,
		About:  "the longest time in which requests were due and none was answered whole",
		Remark: "An answer with the wrong status is one; a refused, broken or timed out request is not. It lasts until the next answer, also behind the window. A service that stands still for less than the timeout loses nothing, and its users wait all the same.",
		None:   nothingPlanned,
	},
	{
		Name: Detection, Key: "detection_ms", Words: "detection", Unit: Duration, Better: Lower, Pooling: Median, OfFault: true,
		About:  "from the injection of a fault into an instance that was routed to, to the moment that the runtime no longer calls it ready; the longest, over the instances",
		Remark: "It counts from the moment that the fault was in effect, and no request need have failed by then. The matrix has the median over the trials in which every such instance was noticed, and says in how many it was not.",
		None:   "not every instance that a fault was done to was noticed, or none of them was routed to",
	},
	{
		Name: Ejection, Key: "ejection_ms", Words: "ejection", Unit: Duration, Better: Lower, Pooling: Median, OfFault: true,
		About:  "from the injection of a fault into an instance that was routed to, to the last request that was sent to it before it was routed to again; the longest, over the instances",
		Remark: "As far as it is known to which instance a request was sent: a kept connection may go on to lead to one that is routed to no more.",
		None:   "not every such instance was taken out, or no answer names one",
	},
	{
		Name: Return, Key: "return_ms", Words: "return", Unit: Duration, Better: Lower, Pooling: Median, OfFault: true,
		About: "from the healing of a fault, or its injection where it does not last, to the moment that the instance is routed to again, or where it is gone for good as many as before; the longest, over the instances",
		None:  "not every such instance is routed to again or was replaced, or none was routed to before",
	},
	{
		Name: FalseEvictions, Key: "false_evictions", Words: "false evictions", Unit: Count, Better: Lower, Pooling: Sum,
		About:  "instances that the runtime took out or restarted unasked, which no fault was done to or which could serve by the direct probes",
		Remark: "What an action asks for is none, and neither is what a fault itself ends. Where a trial has no fault, those count that could serve. An instance that cannot serve because of what all of them share was not at fault, and to take it out mends nothing: it counts.",
		None:   "nobody said which instances were routed to",
	},
	{
		Name: NoneRoutable, Key: "none_routable_ms", Words: "none routable", Unit: Duration, Better: Lower, Pooling: Median,
		About: "time of the window in which the runtime called no instance ready",
		None:  "nobody said which instances were routed to",
	},
	{
		Name: Restarts, Key: "restarts", Words: "restarts", Unit: Count, Better: Lower, Pooling: Sum,
		About:  "starts of instances that neither an action nor a fault asked for, in the window and from the first fault on where there is one",
		Remark: "Of one that had ended or was ended, and of one in the place of another; but for those in the place of what a fault evicted, or drained from its node.",
		None:   "nobody said which instances were routed to",
	},
	{
		Name: StaleAllowed, Key: "stale_allowed", Words: "stale allowed", Unit: Count, Better: Lower, Pooling: Sum, OfFault: true,
		About:  "requests that were served on what no longer holds, such as a revoked session, after the longest time for which that may be, over the whole load; each is a breach",
		Remark: "Between the revocation and that time a service may go by what it knew, and neither an answer nor a denial counts against it.",
		None:   "no request was due on what no longer holds",
	},
	latency("p50", "median"),
	latency("p90", "90th percentile"),
	latency("p99", "99th percentile"),
	latency("p999", "99.9th percentile"),
	latency("max", "maximum"),
}

func latency(of, words string) Metric {
	return Metric{
		Name: "latency_" + of, Key: "latency_ms." + of, Words: "latency " + of, Unit: Duration, Better: Lower, Pooling: Each,
		About: words + " of the response time from the intended send time, over the requests that were ok",
		None:  "no request was ok",
	}
}
