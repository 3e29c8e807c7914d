package reports

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestCauseTexts(t *testing.T) {
	rollout := record.Trial{Action: "rollout", Revisions: record.Revisions{Before: "v1", After: "v2"}, Timeout: 2 * time.Second, LabBalancer: true,
		Checks: record.Checks{Every: 200 * time.Millisecond, Rise: 1, Fall: 2}}
	kind := rollout
	kind.LabBalancer = false
	scaling := record.Trial{Action: "scale-in", Revisions: record.Revisions{Before: "v1", After: "v1"}, LabBalancer: true}
	command := record.Trial{Action: "command", Address: "http://host"}
	cause := func(of judge.Cause, n uint64, class record.Class, reason, revision string, instances ...string) judge.CauseCount {
		return judge.CauseCount{Cause: of, Count: n, From: 1204 * time.Millisecond, To: 3 * time.Second, Class: class, Reason: reason, Revision: revision, Instances: instances}
	}
	crashed := func(c judge.CauseCount, how string) judge.CauseCount { c.Ended = how; return c }
	for _, tc := range []struct {
		name  string
		c     judge.CauseCount
		lost  uint64
		trial record.Trial
		want  string
	}{
		{"too early", cause(judge.BeforeReady, 27, "http_403", "session not synced", "v2", "a", "b", "c"), 28, rollout,
			"27 of 28 lost requests went to new instances a, b and c (v2), called ready before they could serve, 1.204 to 3.000 s into the rollout: answered 403 (session not synced). Report ready only once every part that a request needs is there, not as soon as the port listens."},
		{"after SIGTERM, the port is closed", cause(judge.AfterStop, 27, "http_502", "connect refused", "v1", "a", "b"), 28, rollout,
			"27 of 28 lost requests went to old instances a and b (v1) after SIGTERM, 1.204 to 3.000 s into the rollout: their ports were closed before the balancer had taken them out (2 checks x 200 ms). On SIGTERM fail the readiness check at once, and serve on for longer than 2 checks x 200 ms before closing (by itself, or by a pre_stop that waits)."},
		{"after SIGTERM, with a balancer of the runtime's", cause(judge.AfterStop, 27, record.Refused, "", "v1", "a"), 27, kind,
			"all 27 lost requests went to old instance a (v1) after SIGTERM, 1.204 to 3.000 s into the rollout: its port was closed before the balancer had taken it out. Serve on after SIGTERM until nothing is routed there any more: a lame duck, or a pre_stop that waits."},
		{"after SIGTERM, and a proxy listens on", cause(judge.AfterStop, 16, "http_502", "reset", "v1", "a"), 28, rollout,
			"16 of 28 lost requests went to old instance a (v1) after SIGTERM, 1.204 to 3.000 s into the rollout: connection reset before the balancer had taken it out (2 checks x 200 ms). On SIGTERM fail the readiness check at once, and serve on for longer than 2 checks x 200 ms before closing (by itself, or by a pre_stop that waits)."},
		{"after SIGTERM, an answer", cause(judge.AfterStop, 2, "http_503", "going away", "v1", "a", "b", "c", "d"), 4, scaling,
			"2 of 4 lost requests went to 4 instances after SIGTERM, 1.204 to 3.000 s into the scaling: answered 503 (going away) before the balancer had taken them out. Serve on after SIGTERM until nothing is routed there any more: a lame duck, or a pre_stop that waits."},
		{"connection closed", cause(judge.ConnectionClosed, 1, record.EOF, "", "v1", "a"), 28, rollout,
			"1 of 28 lost requests had its connection closed under it after SIGTERM by old instance a (v1), 1.204 to 3.000 s into the rollout: connection closed without an answer. Announce it before closing: answer with Connection: close while draining, and close a kept connection only after such an answer."},
		{"nobody", cause(judge.NoInstance, 28, "http_503", "no ready endpoint", ""), 28, rollout,
			"all 28 lost requests found nobody to go to, 1.204 to 3.000 s into the rollout: no instance was called ready. Take old instances away only when new ones are ready: max_unavailable 0, and surge instead."},
		{"nobody, though nothing was to be replaced", cause(judge.NoInstance, 28, "http_503", "no ready endpoint", ""), 28, record.Trial{Action: record.NoAction},
			"all 28 lost requests found nobody to go to, 1.204 to 3.000 s into the window: no instance was called ready. Nothing was to be replaced: see in the runtime's events why it took the last one out."},
		{"broke", cause(judge.BrokenWhileReady, 27, record.Reset, "", "v1", "a"), 28, rollout,
			"27 of 28 lost requests went to old instance a (v1), called ready and no longer able to serve, 1.204 to 3.000 s into the rollout: connection reset. Look into its log at that moment, and let readiness fail when what a request needs is gone."},
		{"crashed", crashed(cause(judge.BrokenWhileReady, 27, record.EOF, "", "v2", "a", "b"), "exit status 4"), 28, rollout,
			"27 of 28 lost requests went to new instances a and b (v2), called ready and no longer able to serve, 1.204 to 3.000 s into the rollout: connection closed without an answer; their processes ended unasked (exit status 4). Look into their log at that moment, and let readiness fail when what a request needs is gone."},
		{"too slow", cause(judge.TooSlow, 27, record.Timeout, "", ""), 28, rollout,
			"27 of 28 lost requests were not answered within 2.00 s by an instance, 1.204 to 3.000 s into the rollout. It is overloaded or waits for something: give it more capacity, or find out what it waits for."},
		{"the release, and nobody knows which", cause(judge.NewRevision, 27, "http_404", "", "v2"), 27, rollout,
			"all 27 lost requests were answered wrongly by new instances (v2) and by no old one, 1.204 to 3.000 s into the rollout: answered 404. The release itself is broken, not the rollout: ask one new instance by itself."},
		{"the release, once", cause(judge.NewRevision, 1, "http_404", "", "v2"), 27, rollout,
			"1 of 27 lost requests was answered wrongly by a new instance (v2) and by no old one, 1.204 to 3.000 s into the rollout: answered 404. The release itself is broken, not the rollout: ask one new instance by itself."},
		{"too slow, with where the time went", queued(cause(judge.TooSlow, 27, record.Timeout, "", "v2", "a"), judge.Queueing{Unsent: 27 * 3 * time.Millisecond, Sent: 27 * 1997 * time.Millisecond, Usual: 4 * time.Millisecond}), 28, rollout,
			"27 of 28 lost requests were not answered within 2.00 s by new instance a (v2), 1.204 to 3.000 s into the rollout: 0.15 % of that time passed before they were sent, and in the rest they waited for the target, which had answered 99 of 100 within 4 ms before the action. It is overloaded or waits for something: give it more capacity, or find out what it waits for."},
		{"one too slow, and nobody knows what is usual", queued(cause(judge.TooSlow, 1, record.Timeout, "", "v2", "a"), judge.Queueing{Sent: 2 * time.Second}), 28, rollout,
			"1 of 28 lost requests was not answered within 2.00 s by new instance a (v2), 1.204 to 3.000 s into the rollout: 0 % of that time passed before it was sent, and in the rest it waited for the target. It is overloaded or waits for something: give it more capacity, or find out what it waits for."},
		{"the release", cause(judge.NewRevision, 27, "http_500", "no such table", "v2", "b"), 28, rollout,
			"27 of 28 lost requests were answered wrongly by new instance b (v2) and by no old one, 1.204 to 3.000 s into the rollout: answered 500 (no such table). The release itself is broken, not the rollout: ask one new instance by itself."},
		{"refused unprocessed", cause(judge.NotProcessed, 27, record.RefusedRetryable, "the server took its leave: GOAWAY, NO_ERROR", "v1", "a"), 28, rollout,
			"27 of 28 lost requests were refused over HTTP/2 by a server that did nothing with them, 1.204 to 3.000 s into the rollout: refused before it was processed (the server took its leave: GOAWAY, NO_ERROR). A client that repeats such requests loses none of them, a plain one all. Announce the leave a round trip before it counts: a first GOAWAY with the highest stream ID, and only then the one that names the last."},
		{"no trust", cause(judge.Distrust, 27, record.TLS, "x509: certificate has expired", ""), 28, rollout,
			"27 of 28 lost requests failed in TLS, 1.204 to 3.000 s into the rollout: no trust in TLS (x509: certificate has expired). See what certificate is served at that moment, for which names and until when, and whether target.tls trusts its authority."},
		{"a header is missing", cause(judge.NewRevision, 27, record.WrongHeader, "", "v2", "b"), 28, rollout,
			"27 of 28 lost requests were answered wrongly by new instance b (v2) and by no old one, 1.204 to 3.000 s into the rollout: answered without a header that it must have. The release itself is broken, not the rollout: ask one new instance by itself."},
		{"nobody listens", cause(judge.Refused, 27, record.Refused, "", ""), 28, command,
			"27 of 28 lost requests were refused at the address, 1.204 to 3.000 s into the command: nobody listened there. Let the new one listen before the old one stops listening, or put something before them that does."},
		{"a kept connection broken", cause(judge.KeptBroken, 1, record.EOF, "", ""), 28, command,
			"1 of 28 lost requests had its kept connection broken under it, 1.204 to 3.000 s into the command: connection closed without an answer. Announce it before closing: answer with Connection: close while draining, and close a kept connection only after such an answer."},
		{"a new connection broken", cause(judge.ConnectionLost, 27, record.Reset, "", ""), 28, command,
			"27 of 28 lost requests had their new connection taken and then broken, 1.204 to 3.000 s into the command: connection reset. Answer what has been accepted before exiting, and stop accepting first."},
		{"a wrong answer of somebody", cause(judge.WrongAnswer, 27, "http_503", "", ""), 28, command,
			"27 of 28 lost requests were not answered as expected, 1.204 to 3.000 s into the command: mostly answered 503. Whoever answers so says in its log why: the service, or what stands before it."},
		{"no answer of anybody", cause(judge.Unanswered, 27, record.Timeout, "", ""), 28, command,
			"27 of 28 lost requests were not answered, 1.204 to 3.000 s into the command. Either nobody was there who answers, or it waits for something: --watch shows what the runtime says meanwhile."},
		{"harness", cause(judge.OfHarness, 1, record.Unsent, "", ""), 1, rollout,
			"the one lost request was never sent, or failed by trouble of the load generator, 1.204 to 3.000 s into the rollout. That says nothing about the target: run it again with a lower --rate, or on a quieter machine."},
		{"unknown", cause(judge.Unknown, 27, "http_502", "", ""), 28, record.Trial{},
			"27 of 28 lost requests failed and the record does not show why, 1.204 to 3.000 s into the window: mostly answered 502. The timeline shows what went on at that moment."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := causeText(tc.c, tc.lost, &tc.trial); got != tc.want {
				t.Errorf("\n got %q\nwant %q", got, tc.want)
			}
			if label := causeLabel(tc.c.Cause); label == string(tc.c.Cause) && tc.c.Cause != judge.OfHarness && tc.c.Cause != judge.Unknown || len(label)+2 > labelWidth {
				t.Errorf("its label %q has no words of its own, or is too wide for the matrix", label)
			}
		})
	}
}

// What nobody knows is said when it is more than a few.
func TestUnknownCausesAreSaid(t *testing.T) {
	cell := func(unknown uint64) *judge.Cell {
		return &judge.Cell{Trials: []judge.Trial{{Valid: true, Causes: []judge.CauseCount{{Cause: judge.TooSlow, Count: 100 - unknown}, {Cause: judge.Unknown, Count: unknown}}}}}
	}
	for unknown, want := range map[uint64]bool{5: false, 6: true} {
		a, _ := adviseOnCell(cell(unknown))
		if got := strings.Contains(a.Why, "Why 6 more were lost (6.00 %) the record does not show."); got != want {
			t.Errorf("%d of 100 are unknown: %q", unknown, a.Why)
		}
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

func queued(c judge.CauseCount, q judge.Queueing) judge.CauseCount {
	c.Queued = q
	return c
}
