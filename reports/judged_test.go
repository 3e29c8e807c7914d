package reports

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// recordedTrial is a raw trial of 20 s at 100 requests a second. A bad one sends its
// requests for two seconds to an instance that cannot serve yet.
func recordedTrial(design string, n int, bad bool) *record.TrialData {
	const rate, load = 100, 20 * time.Second
	d := &record.TrialData{
		Trial: record.Trial{Scenario: "s", Driver: "process", Action: "rollout", Design: design, N: n, Rate: rate, Planned: 2000, Timeout: time.Second,
			Streams: []record.Stream{{Name: "keepalive-get", Share: 1, Method: "GET", Reuse: true}},
			LoadTo:  load, BaselineTo: 4 * time.Second, WindowFrom: 5 * time.Second, WindowTo: 15 * time.Second,
			ReplicasBefore: 1, ReplicasAfter: 1, Revisions: record.Revisions{Before: "r1", After: "r2"}, ProbeEvery: 50 * time.Millisecond},
		Folder: fmt.Sprintf("trials/process-rollout-%s-%d", design, n),
		End:    &record.End{At: load, Sent: 2000},
		Events: []record.Event{
			{At: 0, Kind: record.Started, Instance: "a", Revision: "r1"}, {At: 0, Kind: record.Ready, Instance: "a", Revision: "r1"},
			{At: 5 * time.Second, Kind: record.ActionStarted},
			{At: 5 * time.Second, Kind: record.Started, Instance: "b", Revision: "r2"},
		},
	}
	ready := 7 * time.Second
	if bad {
		ready = 5100 * time.Millisecond
	}
	d.Events = append(d.Events, []record.Event{
		{At: ready, Kind: record.Ready, Instance: "b", Revision: "r2"},
		{At: ready, Kind: record.Terminating, Instance: "a", Revision: "r1"},
		{At: ready + time.Second, Kind: record.Gone, Instance: "a", Revision: "r1"},
		{At: ready + time.Second, Kind: record.ActionDone},
	}...)
	for k := range 2000 {
		at := time.Duration(k+1) * time.Second / rate
		if at >= load {
			at = load - 1
		}
		s := record.Sample{Seq: uint64(k), Stream: "keepalive-get", Expect: record.Serve, Intended: at, Sent: at + 100*time.Microsecond, Done: at + time.Millisecond,
			Class: record.OK, Status: 200, Attempts: 1, Instance: "a", Revision: "r1"}
		if at >= ready {
			s.Instance, s.Revision = "b", "r2"
			if at < 7*time.Second {
				s.Class, s.Status, s.Reason = record.HTTPStatus(403), 403, "session not synced"
			}
		}
		d.Samples = append(d.Samples, s)
		if k%10 == 0 {
			d.Reference = append(d.Reference, s)
		}
	}
	for at := time.Duration(0); at < load; at += 50 * time.Millisecond {
		if at < ready+time.Second {
			d.Probes = append(d.Probes, record.ProbeResult{At: at, Took: time.Millisecond, Instance: "a", Revision: "r1", OK: true, Class: record.OK})
		}
		if at >= 5*time.Second {
			d.Probes = append(d.Probes, record.ProbeResult{At: at, Took: time.Millisecond, Instance: "b", Revision: "r2", OK: at >= 7*time.Second, Class: record.OK})
		}
	}
	return d
}

// From a raw record through the real judge to every report.
func TestReportsOfAJudgedRecord(t *testing.T) {
	var trials []judge.Trial
	for n := 1; n <= 3; n++ {
		trials = append(trials, judge.Measure(recordedTrial("naive", n, true)), judge.Measure(recordedTrial("aware", n, false)))
	}
	desc := record.Run{Schema: record.RunSchema, ID: "r", Command: "rollout-lab run s", Scenarios: []record.Scenario{{Name: "s", Rate: 100, Window: 10 * time.Second, Action: "rollout", Replicas: 1,
		Designs: []string{"naive", "aware"}, Positive: []string{"naive"},
		Gates: []record.Gate{{Design: "aware", Metric: "success_rate", Op: ">=", Limit: 0.99}, {Design: "naive", Metric: "downtime", Op: "<=", Limit: 100}}}}}
	run := judge.Judge(desc, &record.RunEnd{Duration: time.Minute}, nil, trials)
	for i := range run.Cells {
		for _, tr := range run.Cells[i].Trials {
			if !tr.Valid {
				t.Fatalf("trial %d of %s is invalid: %v", tr.Meta.N, run.Cells[i].Key(), tr.InvalidReasons)
			}
		}
	}
	if run.Verdict != judge.Fail {
		t.Fatalf("got %s, want a missed gate: %v", run.Verdict, run.Reasons)
	}

	text := terminalText(t, &run, TerminalOptions{})
	for _, want := range []string{"0 of 3,000 lost", "570 of 3,000 lost", "81.00 %", "downtime <= 100 ms", "1 passed, 1 missed", "FAIL"} {
		if !strings.Contains(text, want) {
			t.Errorf("the terminal does not say %q:\n%s", want, text)
		}
	}
	for _, r := range Sentences(run.Reasons) {
		if strings.Contains(text, "- "+r[:20]) {
			t.Errorf("the reason %q is told twice:\n%s", r, text)
		}
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(resultsJSON(t, &run)))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiledSchema(t).Validate(doc); err != nil {
		t.Error(err)
	}
	if got := parseJUnit(t, junitText(t, &run)); got.Failures != 1 || got.Errors != 0 {
		t.Errorf("junit.xml: got %d failures and %d errors, want 1 and 0", got.Failures, got.Errors)
	}
	page := htmlText(t, &run)
	for _, want := range []string{`class="false-ready"`, `class="denied"`, "session not synced", ">b</text>"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	parseXML(t, svgText(t, &run))
}
