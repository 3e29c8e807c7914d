package reports

import (
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// definition says what a number of the report means.
type definition struct {
	ID   string // metric's name in results.json and in gates; the anchor is "def-" + ID
	Name string // as people read it
	Text string
	unit metric.Unit
}

// definitions are those of the metrics, which gates can name, and of what else the
// report shows.
var definitions = define(metric.All())

// balancerDefinition is what the evidence refers to where the balancer was the lab's own.
const balancerDefinition = "balancer"

// others are the numbers that are no metric of a gate, and what they depend on.
var others = []definition{
	{"lost_requests", "requests lost", "Failed of planned requests in the window, added up over the valid trials.", metric.Count},
	{"cause", "causes", "Each lost request has one cause, so they add up to all that was lost. Sent too early: the instance was called ready and could not serve yet. After SIGTERM: it had been told to stop, served no longer, and was still routed to. Connection closed: a kept connection was closed under the request by an instance that had been told to stop. No instance: none was routed to. Broke while ready: the instance had served, and could no longer, unasked. Too slow: no answer by the deadline from one that serves. Wrong answer: the new revision alone answers so. Harness: never sent, or failed by trouble of the load generator. Unknown: the record shows none of these.", metric.Count},
	{"sync", "sync time", "From the start of an instance to its first successful direct probe: median over the instances that the action started.", metric.Duration},
	{"denials", "denials", "Requests that had to be denied, over the whole load: a revoked session, a forbidden route.", metric.Count},
	{"sent_to_unready", "sent to unready instances", "Requests that an instance was sent while its direct probe failed.", metric.Count},
	{"schedule_lag", "schedule lag", "From the intended to the real send time. Above 50 ms at the 99th percentile the trial is invalid: the harness was too slow.", metric.Duration},
	{"cpu_pressure", "CPU pressure", "The share of the time in which some task of this machine, the lab's or any other, was ready to run and waited for a CPU; the table has the largest of a second of the window. From 80 % on, with no more than 20 % of the CPUs idle, the machine has no CPU to spare, and what is lost meanwhile to slow, cut or missing answers proves nothing about a design.", metric.Share},
	{"latency", "latency", "Response time from the intended send time, over the requests in the window that were ok. Uncorrected is the same from the real send time, which leaves out the wait of requests that could not be sent in time.", metric.Duration},
	{"baseline", "baseline phase", "The stretch of each trial before the action. Nothing happens in it, so one failure in it makes the trial invalid.", metric.Count},
	{"reference", "reference", "A second, independent client that measures the same service at the same time. It agrees when the 99.9 % interval of its success rate overlaps with that of the load, and so for each stream that it sent 20 requests of. Where they do not agree the trial is invalid, unless each of them saw more failures than a gate allows.", metric.Count},
	{"error_budget", "error budget", "Mean downtime of the valid trials as a share of the 43.2 minutes that 99.9 % over 30 days allow, and how many such actions they afford.", metric.Count},
	{"shift", "shift", "Of two designs, or of a design now and in earlier runs: the median of all differences between a trial of the one and a trial of the other (Hodges-Lehmann). Each of its two bounds alone holds at 95 %, by the exact distribution of the rank sum; where there are too few trials for that they are the range of the differences. One is worse where the lower bound exceeds the margin, and surely no worse where the upper one does not. p is how likely trials that are all alike would be dealt so, or further apart.", metric.Duration},
	{balancerDefinition, "how the balancer learns", "Where a runtime brings no balancer, the lab's own stands before the instances. It routes on what the runtime learns of each by the design's own signal and on nothing else, so it is not told of an instance that stops: until the runtime has noticed, the instance is sent its share of the requests. Where the signal is asked for, rise successes in a row bring an instance in and fall failures in a row take it out. There is no passive ejection and no retry, and the rule is the same for every design; what differs is the signal that a design gives, and whether it gives it before it stops. A design that stops at once therefore loses what it is sent until then, which is all that a naive one loses where nothing starts, as on scale-in. One setting of a design changes that: with deregister_first the balancer is told of each stop that is asked for.", metric.Count},
	{"trials", "trials", "One trial is one deployment, one load and at most one action. A trial has failed where the target did not complete the action, or a revision did not serve: that is a fail, whatever else it shows. Invalid trials count neither for nor against a design; they are repeated, and every one is shown, with what it lost.", metric.Count},
}

// definitionsFor are the definitions of what a run's page shows: where no request had to be
// denied, nothing about those, and where nothing was done beside the action, nothing about faults.
func definitionsFor(run *judge.Run) []definition {
	denies := slices.ContainsFunc(groups(run), group.denies) ||
		slices.ContainsFunc(run.Gates, func(g judge.GateResult) bool { return g.Gate.Metric == metric.Breaches })
	faulted := slices.ContainsFunc(groups(run), group.faulted) ||
		slices.ContainsFunc(run.Gates, func(g judge.GateResult) bool { m, _ := metric.ByName(g.Gate.Metric); return m.OfFault })
	return slices.DeleteFunc(slices.Clone(definitions), func(d definition) bool {
		m, _ := metric.ByName(d.ID)
		return !denies && slices.Contains([]string{metric.Breaches, metric.StaleAllowed, "denials"}, d.ID) || !faulted && m.OfFault
	})
}

func define(metrics []metric.Metric) []definition {
	var defs []definition
	for _, m := range metrics {
		text := sentence(m.About)
		if m.Remark != "" {
			text += " " + m.Remark
		}
		defs = append(defs, definition{m.Name, m.Words, text, m.Unit})
	}
	return append(defs, others...)
}

// sentence gives a text a capital and, where nothing ends it yet, a full stop.
func sentence(s string) string {
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".?!") {
		return capital(s)
	}
	return capital(s) + "."
}

// unitOf is the unit of what a definition is of; what is unknown is a plain number.
func unitOf(id string) metric.Unit {
	for _, d := range definitions {
		if d.ID == id {
			return d.unit
		}
	}
	return metric.Count
}
