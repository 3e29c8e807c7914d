package reports

import (
	"fmt"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// causeText says why some of so many lost requests were lost, and what to do about it.
func causeText(c judge.CauseCount, lost uint64) string {
	many := format.Count(c.Count) + " of " + format.Count(lost) + " lost requests"
	if c.Count == lost {
		many = "all " + many
		if lost == 1 {
			many = "the one lost request"
		}
	}
	who := causeInstances(c)
	switch c.Cause {
	case judge.BeforeReady:
		return fmt.Sprintf("%s went to %s before it could serve: it was routed to too early%s. Report ready only once a real request would be served.", many, who, causeSeen(c))
	case judge.AfterStop:
		return fmt.Sprintf("%s went to %s after it had been told to stop: it served no longer, and the balancer had not taken it out%s. Go on serving until nothing is routed to it.", many, who, causeSeen(c))
	case judge.ConnectionClosed:
		return fmt.Sprintf("%s had the connection closed under them by %s, which had been told to stop%s. Finish what is under way, and close a kept connection only with an answer that says so.", many, who, causeSeen(c))
	case judge.NoInstance:
		return fmt.Sprintf("%s found nobody to go to: no instance was called ready%s. Keep old instances until new ones are ready.", many, causeSeen(c))
	case judge.BrokenWhileReady:
		return fmt.Sprintf("%s went to %s, which had served before and no longer could, unasked%s. Its log says why.", many, who, causeSeen(c))
	case judge.TooSlow:
		return fmt.Sprintf("%s were not answered by their deadline, by %s that serves%s. It is overloaded or waits for something.", many, who, causeSeen(c))
	case judge.NewRevision:
		return fmt.Sprintf("%s were answered wrongly by %s, and by no instance of the old revision%s. The release itself is broken.", many, who, causeSeen(c))
	case judge.OfHarness:
		return fmt.Sprintf("%s were never sent, or failed by trouble of the harness%s. They say nothing about the target.", many, causeSeen(c))
	}
	return fmt.Sprintf("%s: the record does not show why%s.", many, causeSeen(c))
}

// causeInstances names who the requests went to: one instance by its name, several by
// their number and revision.
func causeInstances(c judge.CauseCount) string {
	of := ""
	if c.Revision != "" {
		of = " of revision " + c.Revision
	}
	switch n := len(c.Instances); n {
	case 0:
		return "an instance"
	case 1:
		return c.Instances[0] + of
	default:
		return fmt.Sprintf("an instance%s (%d in turn)", of, n)
	}
}

// causeSeen says what was seen of it, in brackets.
func causeSeen(c judge.CauseCount) string {
	seen := string(c.Class)
	if c.Class == record.Unsent {
		seen = "never sent"
	}
	if c.Reason != "" {
		seen += ", " + format.Shorten(c.Reason, 100)
	}
	return fmt.Sprintf(" (mostly %s; from %s to %s s)", seen, format.Offset(c.From), format.Offset(c.To))
}
