package reports

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// causeLabels are the causes as the matrix has them, in its first column.
var causeLabels = map[judge.Cause]string{
	judge.BeforeReady: "sent too early", judge.AfterStop: "after SIGTERM", judge.ConnectionClosed: "connection closed",
	judge.NoInstance: "no instance", judge.BrokenWhileReady: "broke while ready", judge.TooSlow: "too slow",
	judge.Refused: "nobody listened", judge.KeptBroken: "kept one broken", judge.ConnectionLost: "new one broken",
	judge.WrongAnswer: "wrong answer", judge.Unanswered: "no answer",
	judge.NewRevision: "wrong answer", judge.OfHarness: "harness", judge.Unknown: "unknown",
	judge.NotProcessed: "not processed", judge.Distrust: "TLS",
}

// causeLabel is a cause in a word or two.
func causeLabel(c judge.Cause) string {
	if label := causeLabels[c]; label != "" {
		return label
	}
	return format.Shorten(format.Clean(string(c)), labelWidth-2)
}

// advice is why something is as it is, and what to do about it: a sentence or two each.
type advice struct{ Why, Do string }

// text is all of it.
func (a advice) text() string { return strings.TrimSpace(a.Why + " " + a.Do) }

// causeText says why some of so many lost requests of such a trial were lost, and what to
// do about it.
func causeText(c judge.CauseCount, lost uint64, m *record.Trial) string {
	return adviseOn(c, lost, m).text()
}

// adviseOn is causeText in its two parts, with the fault that was there and what the runtime did
// about it.
func adviseOn(c judge.CauseCount, lost uint64, m *record.Trial) advice {
	a := adviseOnCause(c, lost, m)
	if c.Fault != nil {
		a.Why += " " + aboutFault(c)
		if c.Cause != judge.NewRevision && c.Cause != judge.BeforeReady { // those say themselves what to do
			a.Do = againstFault(c.Fault, m)
		}
	}
	return a
}

// adviseOnCause is the only place that words a cause.
func adviseOnCause(c judge.CauseCount, lost uint64, m *record.Trial) advice {
	of, who := causeTally(c.Count, lost), causeInstances(c, m)
	when, seen := causeMoment(c, m), causeAnswer(c)
	its := oneOrMany(c, "its", "their")
	switch c.Cause {
	case judge.BeforeReady:
		return advice{
			fmt.Sprintf("%s went to %s, called ready before %s could serve, %s: %s.", of, who, oneOrMany(c, "it", "they"), when, seen),
			"Report ready only once every part that a request needs is there, not as soon as the port listens.",
		}
	case judge.AfterStop:
		did := seen
		if connectionRefused(c) {
			did = oneOrMany(c, "its port was closed", "their ports were closed")
		}
		window := checksOf(m)
		a := advice{
			fmt.Sprintf("%s went to %s after SIGTERM, %s: %s before the balancer had taken %s out", of, who, when, did, oneOrMany(c, "it", "them")),
			"Serve on after SIGTERM until nothing is routed there any more: a lame duck, or a pre_stop that waits.",
		}
		if window == "" {
			a.Why += "."
			return a
		}
		a.Why += " (" + window + ")."
		a.Do = "On SIGTERM fail the readiness check at once, and serve on for longer than " + window + " before closing (by itself, or by a pre_stop that waits)."
		return a
	case judge.ConnectionClosed:
		return advice{
			fmt.Sprintf("%s had %s connection closed under %s after SIGTERM by %s, %s: %s.", of, among(c, "its", "their"), among(c, "it", "them"), who, when, seen),
			"Announce it before closing: answer with Connection: close while draining, and close a kept connection only after such an answer.",
		}
	case judge.NoInstance:
		why := fmt.Sprintf("%s found nobody to go to, %s: no instance was called ready.", of, when)
		if m.Action == record.NoAction {
			return advice{why, "Nothing was to be replaced: see in the runtime's events why it took the last one out."}
		}
		return advice{
			why,
			"Take old instances away only when new ones are ready: max_unavailable 0, and surge instead.",
		}
	case judge.BrokenWhileReady:
		if c.Ended != "" {
			seen += "; " + oneOrMany(c, "its process", "their processes") + " ended unasked (" + format.Shorten(c.Ended, 100) + ")"
		}
		return advice{
			fmt.Sprintf("%s went to %s, called ready and no longer able to serve, %s: %s.", of, who, when, seen),
			fmt.Sprintf("Look into %s log at that moment, and let readiness fail when what a request needs is gone.", its),
		}
	case judge.TooSlow:
		within := ""
		if m.Timeout > 0 {
			within = " within " + format.Span(m.Timeout)
		}
		return advice{
			fmt.Sprintf("%s %s not answered%s by %s, %s%s.", of, among(c, "was", "were"), within, who, when, queueing(c)),
			"It is overloaded or waits for something: give it more capacity, or find out what it waits for.",
		}
	case judge.NewRevision:
		if wrong := wrongAnswers(c, m); wrong != "" {
			return advice{fmt.Sprintf("%s: %s, %s.", wrong, of, when), aboutRelease(c, m)}
		}
		return advice{
			fmt.Sprintf("%s %s answered wrongly by %s and by no old one, %s: %s.", of, among(c, "was", "were"), who, when, seen),
			"The release itself is broken, not the rollout: ask one new instance by itself.",
		}
	case judge.NotProcessed:
		return advice{
			fmt.Sprintf("%s %s refused over HTTP/2 by a server that did nothing with %s, %s: %s. A client that repeats such requests loses none of them, a plain one all.", of, among(c, "was", "were"), among(c, "it", "them"), when, seen),
			"Announce the leave a round trip before it counts: a first GOAWAY with the highest stream ID, and only then the one that names the last.",
		}
	case judge.Distrust:
		return advice{
			fmt.Sprintf("%s failed in TLS, %s: %s.", of, when, seen),
			"See what certificate is served at that moment, for which names and until when, and whether target.tls trusts its authority.",
		}
	case judge.Refused:
		return advice{
			fmt.Sprintf("%s %s refused at the address, %s: nobody listened there.", of, among(c, "was", "were"), when),
			"Let the new one listen before the old one stops listening, or put something before them that does.",
		}
	case judge.KeptBroken:
		return advice{
			fmt.Sprintf("%s had %s kept connection broken under %s, %s: %s.", of, among(c, "its", "their"), among(c, "it", "them"), when, seen),
			"Announce it before closing: answer with Connection: close while draining, and close a kept connection only after such an answer.",
		}
	case judge.ConnectionLost:
		return advice{
			fmt.Sprintf("%s had %s new connection taken and then broken, %s: %s.", of, among(c, "its", "their"), when, seen),
			"Answer what has been accepted before exiting, and stop accepting first.",
		}
	case judge.WrongAnswer:
		return advice{
			fmt.Sprintf("%s %s not answered as expected, %s: mostly %s.", of, among(c, "was", "were"), when, seen),
			"Whoever answers so says in its log why: the service, or what stands before it.",
		}
	case judge.Unanswered:
		within := ""
		if m.Timeout > 0 {
			within = " within " + format.Span(m.Timeout)
		}
		return advice{
			fmt.Sprintf("%s %s not answered%s, %s.", of, among(c, "was", "were"), within, when),
			"Either nobody was there who answers, or it waits for something: --watch shows what the runtime says meanwhile.",
		}
	case judge.OfHarness:
		return advice{
			fmt.Sprintf("%s %s never sent, or failed by trouble of the load generator, %s.", of, among(c, "was", "were"), when),
			"That says nothing about the target: run it again with a lower --rate, or on a quieter machine.",
		}
	}
	return advice{
		fmt.Sprintf("%s failed and the record does not show why, %s: mostly %s.", of, when, seen),
		"The timeline shows what went on at that moment.",
	}
}

// queueing says where requests that hit their deadline spent the time until then, "" where that
// is not known.
func queueing(c judge.CauseCount) string {
	late, ok := c.Queued.LateShare()
	if !ok {
		return ""
	}
	text := fmt.Sprintf(": %s of that time passed before %s sent, and in the rest %s for the target", format.RateUp(late), among(c, "it was", "they were"), among(c, "it waited", "they waited"))
	if c.Queued.Usual > 0 {
		text += ", which had answered 99 of 100 within " + format.Span(c.Queued.Usual) + " before the action"
	}
	return text
}

func causeTally(n, lost uint64) string {
	switch {
	case lost == 1:
		return "the one lost request"
	case n == lost:
		return "all " + format.Count(n) + " lost requests"
	}
	return format.Count(n) + " of " + format.Count(lost) + " lost requests"
}

// among is a word for one lost request or for several; the sum is what the sentence is of.
func among(c judge.CauseCount, one, many string) string {
	if c.Count == 1 {
		return one
	}
	return many
}

// oneOrMany is a word for one instance or for several.
func oneOrMany(c judge.CauseCount, one, many string) string {
	if len(c.Instances) > 1 {
		return many
	}
	return one
}

// causeInstances names those that the requests went to.
func causeInstances(c judge.CauseCount, m *record.Trial) string {
	age, revision := "", ""
	if r := m.Revisions; c.Revision != "" && r.Before != r.After {
		switch c.Revision {
		case r.Before:
			age = "old "
		case r.After:
			age = "new "
		}
		revision = " (" + c.Revision + ")"
	}
	switch names := c.Instances; len(names) {
	case 0:
		switch {
		case age == "":
			return "an instance"
		case c.Count == 1:
			return article(age) + age + "instance" + revision
		}
		return age + "instances" + revision
	case 1:
		return age + "instance " + format.Shorten(names[0], 40) + revision
	case 2, 3:
		return age + "instances " + enumerated(names) + revision
	default:
		return fmt.Sprintf("%d %sinstances%s", len(names), age, revision)
	}
}

// article stands before a word.
func article(word string) string {
	if strings.ContainsAny(word[:1], "aeiou") {
		return "an "
	}
	return "a "
}

// enumerated is a, b and c.
func enumerated(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// causeMoment says when the requests were due, from the start of the action.
func causeMoment(c judge.CauseCount, m *record.Trial) string {
	from, to := format.Offset(c.From), format.Offset(c.To)
	at := from + " to " + to + " s"
	if from == to {
		at = from + " s"
	}
	switch m.Action {
	case record.NoAction, "":
		return at + " into the window"
	case "scale-out", "scale-in":
		return at + " into the scaling"
	case record.RolloutRollback:
		return at + " into the rollout and its rollback"
	}
	return at + " into the " + m.Action
}

// causeAnswer is what became of most of the requests, in words.
func causeAnswer(c judge.CauseCount) string {
	said := ""
	if c.Reason != "" && c.Reason != drivers.RefusedReason {
		said = " (" + format.Shorten(c.Reason, 100) + ")"
	}
	class := c.Class
	if broke := record.Class(c.Reason); class == record.HTTPStatus(http.StatusBadGateway) && slices.Contains([]record.Class{record.Reset, record.EOF, record.Truncated}, broke) {
		class, said = broke, "" // a balancer's word for what it met with
	}
	switch class {
	case record.Refused:
		return "connection refused" + said
	case record.Reset:
		return "connection reset" + said
	case record.EOF:
		return "connection closed without an answer" + said
	case record.Truncated:
		return "answer cut short" + said
	case record.Timeout:
		return "no answer in time" + said
	case record.WrongBody:
		return "answered with another body" + said
	case record.WrongHeader:
		return "answered without a header that it must have" + said
	case record.RefusedRetryable:
		return "refused before it was processed" + said
	case record.TLS:
		return "no trust in TLS" + said
	case record.Unsent:
		return "never sent"
	}
	if connectionRefused(c) {
		return "connection refused"
	}
	if status, ok := strings.CutPrefix(string(c.Class), "http_"); ok {
		if _, err := strconv.Atoi(status); err == nil {
			return "answered " + status + said
		}
	}
	return string(c.Class) + said
}

// connectionRefused: nobody listened, as the load saw it or as a balancer says.
func connectionRefused(c judge.CauseCount) bool {
	return c.Class == record.Refused || c.Reason == drivers.RefusedReason
}

// checksOf says how long the lab's balancer takes to see that an instance has stopped, ""
// where that is not known.
func checksOf(m *record.Trial) string {
	if !m.LabBalancer || m.Checks.Every <= 0 {
		return ""
	}
	return format.Plural(m.Checks.Fall, "check", "checks") + " x " + format.Span(m.Checks.Every)
}

// unknownLimit is the share of the lost requests that may have no known cause before that
// is said beside the verdict.
const unknownLimit = 0.05

// adviseOnCell says why a cell lost most of what it lost, and how much has no known cause.
func adviseOnCell(c *judge.Cell) (a advice, ok bool) {
	all := c.Causes()
	if len(all) == 0 {
		return advice{}, false
	}
	var lost, unknown uint64
	for _, of := range all {
		lost += of.Count
		if of.Cause == judge.Unknown {
			unknown += of.Count
		}
	}
	a = adviseOn(all[0], lost, metaOf(c))
	if all[0].Cause != judge.Unknown && float64(unknown) > unknownLimit*float64(lost) {
		a.Why += fmt.Sprintf(" Why %s more were lost (%s) the record does not show.", format.Count(unknown), part(unknown, lost))
	}
	if said := revisionLosses(c.Revisions(), metaOf(c).Revisions); said != "" {
		a.Why += " Of the lost: " + said + "."
	}
	return a, true
}

// metaOf describes the trials of a cell, by the first of them that is valid.
func metaOf(c *judge.Cell) *record.Trial {
	if i := firstTrial(c); i >= 0 {
		return &c.Trials[i].Meta
	}
	return &record.Trial{}
}
