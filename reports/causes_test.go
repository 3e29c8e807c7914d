package reports

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestCauseTexts(t *testing.T) {
	seen := judge.CauseCount{Count: 27, From: 1200 * time.Millisecond, To: 3 * time.Second, Class: record.Refused, Reason: "no route"}
	one, three := seen, seen
	one.Instances, one.Revision = []string{"a"}, "v1"
	three.Instances, three.Revision = []string{"a", "b", "c"}, "v2"
	for _, tc := range []struct {
		cause judge.Cause
		c     judge.CauseCount
		lost  uint64
		want  string
	}{
		{judge.BeforeReady, three, 28, "27 of 28 lost requests went to an instance of revision v2 (3 in turn) before it could serve: it was routed to too early (mostly refused, no route; from 1.2 to 3 s). Report ready"},
		{judge.AfterStop, one, 27, "all 27 of 27 lost requests went to a of revision v1 after it had been told to stop: it served no longer"},
		{judge.ConnectionClosed, one, 28, "27 of 28 lost requests had the connection closed under them by a of revision v1, which had been told to stop"},
		{judge.NoInstance, seen, 28, "27 of 28 lost requests found nobody to go to"},
		{judge.BrokenWhileReady, one, 28, "27 of 28 lost requests went to a of revision v1, which had served before"},
		{judge.TooSlow, seen, 28, "27 of 28 lost requests were not answered by their deadline, by an instance that serves"},
		{judge.NewRevision, three, 28, "27 of 28 lost requests were answered wrongly by an instance of revision v2 (3 in turn), and by no instance of the old revision"},
		{judge.OfHarness, seen, 28, "27 of 28 lost requests were never sent, or failed by trouble of the harness"},
		{judge.Unknown, seen, 28, "27 of 28 lost requests: the record does not show why (mostly refused, no route; from 1.2 to 3 s)."},
	} {
		tc.c.Cause = tc.cause
		if got := causeText(tc.c, tc.lost); !strings.HasPrefix(got, tc.want) || !strings.HasSuffix(got, ".") {
			t.Errorf("%s:\n got %q\nwant %q", tc.cause, got, tc.want)
		}
	}
	seen.Cause, seen.Count, seen.Class, seen.Reason = judge.OfHarness, 1, record.Unsent, ""
	if got := causeText(seen, 1); !strings.HasPrefix(got, "the one lost request") || !strings.Contains(got, "(mostly never sent;") {
		t.Errorf("got %q", got)
	}
}

// Whoever adds up the causes gets all that was lost.
func TestCausesAddUpInResults(t *testing.T) {
	for _, c := range Results(missedRun()).Cells {
		var sum uint64
		for _, cause := range c.Summary.Causes {
			sum += cause.Count
		}
		if c.Design != "stack-aware" && (sum == 0 || sum != c.Summary.Sums["failed"]) {
			t.Errorf("%s: %d causes of %d failures", c.Design, sum, c.Summary.Sums["failed"])
		}
	}
}
