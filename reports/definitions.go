package reports

import (
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
)

// definition says what a number of the report means.
type definition struct {
	ID   string // metric's name in results.json and in gates; the anchor is "def-" + ID
	Name string // as people read it
	Text string
	unit judge.Unit
}

// definitions are those of judge's metrics, which gates can name, and of what else the
// report shows.
var definitions = define(judge.Metrics())

// remarks is what a reader of the report has to know beside a metric's own definition.
var remarks = map[string]string{
	"success_rate":   "Ok means: the expected status, the expected body, the whole body read, before the deadline counted from the intended send time. A request that must be denied is ok when it is denied; one that was never sent is a failure. The matrix adds up the valid trials. Its bounds are two one-sided 95 % Clopper-Pearson bounds of that sum: each alone holds at 95 %, both together at 90 %. They assume that requests fail independently of each other; requests that one event loses together do not, so the range over the trials says more about the next trial. Percentages are cut off, never rounded up; only an upper bound is rounded up.",
	"downtime":       "How long the service was gone, had all failures come at once. The matrix has the median over the valid trials and their range.",
	"longest_outage": "By intended send time; the brackets are the last success before and the first of the ten after, so it is known to one request, 1/rate. The matrix has the median over the valid trials and their range.",
	"recovery":       "The matrix has the median over the trials in which it was seen, and says in how many it was not. At once means that nothing failed in the window either.",
	"false_ready":    "The time during which the runtime sends users to an instance that cannot serve them.",
	"hidden_retries": "Each one may hide a failure: the transport asked again without being told to.",
}

// balancerDefinition is what the evidence refers to where the balancer was the lab's own.
const balancerDefinition = "balancer"

// others are the numbers that are no metric of a gate, and what they depend on.
var others = []definition{
	{"lost_requests", "requests lost", "Failed of planned requests in the window, added up over the valid trials.", judge.Count},
	{"sync", "sync time", "From the start of an instance to its first successful direct probe: median over the instances that the action started.", judge.Duration},
	{"denials", "denials", "Requests that had to be denied, in the window: a revoked session, a forbidden route.", judge.Count},
	{"sent_to_unready", "sent to unready instances", "Requests that an instance was sent while its direct probe failed.", judge.Count},
	{"schedule_lag", "schedule lag", "From the intended to the real send time. Above 50 ms at the 99th percentile the trial is invalid: the harness was too slow.", judge.Duration},
	{"latency", "latency", "Response time from the intended send time, over the requests in the window that were ok. Uncorrected is the same from the real send time, which leaves out the wait of requests that could not be sent in time.", judge.Duration},
	{"baseline", "baseline phase", "The stretch of each trial before the action. Nothing happens in it, so one failure in it makes the trial invalid.", judge.Count},
	{"reference", "reference", "A second, independent client that measures the same service at the same time. It agrees when the 99.9 % interval of its success rate overlaps with that of the load.", judge.Count},
	{"error_budget", "error budget", "Mean downtime of the valid trials as a share of the 43.2 minutes that 99.9 % over 30 days allow, and how many such actions they afford.", judge.Count},
	{balancerDefinition, "how the balancer learns", "Where a runtime brings no balancer, the lab's own stands before the instances. It routes on what the runtime learns of each by the design's own signal and on nothing else, so it is not told of an instance that stops: until the runtime has noticed, the instance is sent its share of the requests. Where the signal is asked for, rise successes in a row bring an instance in and fall failures in a row take it out. There is no passive ejection and no retry, and the rule is the same for every design; what differs is the signal that a design gives, and whether it gives it before it stops. A design that stops at once therefore loses what it is sent until then, which is all that a naive one loses where nothing starts, as on scale-in. One setting of a design changes that: with deregister_first the balancer is told of each stop that is asked for.", judge.Count},
	{"trials", "trials", "One trial is one deployment, one load and at most one action. Invalid trials count neither for nor against a design; they are repeated, and every one is shown, with what it lost.", judge.Count},
}

func define(metrics []judge.Metric) []definition {
	var defs []definition
	for _, m := range metrics {
		text := sentence(m.About)
		if r := remarks[m.Name]; r != "" {
			text += " " + r
		}
		defs = append(defs, definition{m.Name, strings.ReplaceAll(m.Name, "_", " "), text, m.Unit})
	}
	return append(defs, others...)
}

// sentence gives a text a capital and a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// unitOf is a metric's unit; what is unknown is a plain number.
func unitOf(metric string) judge.Unit {
	for _, d := range definitions {
		if d.ID == metric {
			return d.unit
		}
	}
	return judge.Count
}
