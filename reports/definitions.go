package reports

// A unit says how a metric's number is written.
type unit int

const (
	unitPlain unit = iota
	unitRate
	unitMillis
)

// definition says what a number of the report means. Change one only together with the
// schema version of results.json.
type definition struct {
	ID   string // metric's name in results.json and in gates; the anchor is "def-" + ID
	Name string // as people read it
	Text string
	unit unit
}

var definitions = []definition{
	{"success_rate", "success rate", "Requests that were ok, of those planned in the window. Ok means: expected status, expected body, the whole body read, before the deadline counted from the intended send time; a request that must be denied is ok when it is denied. A planned request that was never sent is a failure. The matrix adds up the valid trials; the bounds are one-sided 95 % Clopper-Pearson bounds of that sum. Percentages are cut off, never rounded up.", unitRate},
	{"lost_requests", "requests lost", "Failed of planned requests in the window, added up over the valid trials.", unitPlain},
	{"lost_time", "lost time", "Failures in the window divided by the rate: how long the service was gone, had all failures come at once. Median over the valid trials, and their range.", unitMillis},
	{"longest_outage", "longest outage", "From the first failure to the first of ten successes in a row, by intended send time. Its resolution is one request: 1/rate. Median over the valid trials, and their range.", unitMillis},
	{"down", "down", "Total length of the 100 ms bins in which fewer than 50 % of the planned requests were ok.", unitMillis},
	{"degraded", "degraded", "Total length of the 100 ms bins in which fewer than 99 % of the planned requests were ok.", unitMillis},
	{"disruption_lag", "disruption lag", "From the start of the action to the first failure.", unitMillis},
	{"recovery", "recovery", "From the start of the action to the first instant after which, for 5 s, at least 99.9 % of the requests in every bin are ok and the 99th percentile of the response time is at most 1.5 times the baseline before the action.", unitMillis},
	{"convergence", "convergence", "From the start of the action to the moment when the runtime itself says that the action is complete.", unitMillis},
	{"false_ready", "false ready", "Time during which the runtime says that an instance is ready while a direct probe of that instance fails, added up over the instances.", unitMillis},
	{"false_unready", "false unready", "Time during which the runtime says that an instance is not ready while a direct probe of it succeeds, added up over the instances. An instance that drains properly has some.", unitMillis},
	{"sync", "sync time", "From the start of an instance to its first successful direct probe: median over the instances that the action started.", unitMillis},
	{"breaches", "breaches", "Requests that had to be denied (revoked session, forbidden route) and were served.", unitPlain},
	{"denials", "denials", "Requests that had to be denied, in the window.", unitPlain},
	{"hidden_retries", "hidden retries", "Requests for which the transport took more than one connection without being asked to. Each one may hide a failure.", unitPlain},
	{"to_unable", "sent to the unable", "Requests answered by an instance while its direct probe failed.", unitPlain},
	{"schedule_lag", "schedule lag", "From the intended to the real send time. Above 50 ms at the 99th percentile the trial is invalid: the rig was too slow.", unitMillis},
	{"latency", "latency", "Response time from the intended send time, over the requests in the window that were ok. Uncorrected is the same from the real send time, which hides the wait of requests that could not be sent in time.", unitMillis},
	{"quiet", "quiet phase", "The stretch of each trial before the action. Nothing happens in it, so one failure in it makes the trial invalid.", unitPlain},
	{"witness", "witness", "A second, independent client that measures the same service at the same time. It agrees when the 99.9 % interval of its success rate overlaps with the one of the load.", unitPlain},
	{"error_budget", "error budget", "Median lost time as a share of the 43.2 minutes that 99.9 % over 30 days allow, and how many such actions they afford.", unitPlain},
	{"trials", "trials", "One trial is one deployment, one load and at most one action. Invalid trials count neither for nor against a design; they are repeated and shown.", unitPlain},
	{"failed", "failed", "Requests in the window that were not ok.", unitPlain},
}

func unitOf(metric string) unit {
	for _, d := range definitions {
		if d.ID == metric {
			return d.unit
		}
	}
	return unitPlain
}
