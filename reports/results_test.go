package reports

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

var update = flag.Bool("update", false, "write the goldens and the schema anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got), run with -update if that is meant:\n%s", file, format.Shorten(diff, 4000))
	}
}

func resultsJSON(t *testing.T, run *judge.Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteJSON(&b, Results(run)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile("results.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("results.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("results.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestResultsMeetTheSchema(t *testing.T) {
	s := compiledSchema(t)
	nan := fixtureRun()
	nan.Cells[0].Bounds.Lo = math.NaN()
	nan.Cells[0].Estimates[metric.Downtime] = judge.Estimate{Median: math.NaN(), N: 1}
	nan.Gates[0].Observed = math.Inf(1)
	nan.Cells[0].Trials[0].SuccessRate = math.NaN()
	for name, run := range map[string]*judge.Run{
		"quickstart": fixtureRun(), "hostile": hostileRun(), "partial": partialRun(),
		"empty": {Verdict: judge.Inconclusive}, "not a number": nan,
	} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(resultsJSON(t, run)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The schema must be able to refuse.
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"schema":"rollout-lab.results/v2"}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Validate(doc) == nil {
		t.Error("a document of another schema was accepted")
	}
}

// partialRun was cut short: no end, a cell without a valid trial.
func partialRun() *judge.Run {
	run := fixtureRun()
	run.End, run.Partial, run.Verdict = nil, true, judge.Inconclusive
	run.Reasons = []judge.Reason{{Kind: judge.RunCutShort}, {Kind: judge.TrialInvalid, Cell: run.Cells[1].Key(), Trial: 1, Because: []judge.Reason{{Kind: judge.TrialCutShort}}}}
	c := &run.Cells[1]
	c.Trials = c.Trials[:1]
	c.Trials[0] = judge.Trial{Meta: c.Trials[0].Meta, Folder: c.Trials[0].Folder, Partial: true, InvalidReasons: []judge.Reason{{Kind: judge.TrialCutShort}}}
	estimate(c)
	for i := range run.Gates {
		run.Gates[i] = judge.GateResult{Cell: run.Gates[i].Cell, Gate: run.Gates[i].Gate, Implicit: run.Gates[i].Implicit, NoValue: true, Verdict: judge.Inconclusive, Why: judge.Reason{Kind: judge.NoValidTrial}}
	}
	return run
}

func TestResultsGolden(t *testing.T) {
	golden(t, "results.json", resultsJSON(t, fixtureRun()))
	golden(t, "results-compared.json", resultsJSON(t, comparedRun()))
	golden(t, "results-partial.json", resultsJSON(t, partialRun()))
}

// The contract's names, letter by letter: programs of other people read them.
func TestResultsContract(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(resultsJSON(t, fixtureRun()), &doc); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                          "schema tool run_id started duration_ms environment scenario verdict reasons cells gates comparisons",
		"tool":                      "version commit",
		"environment":               "os arch cpus kernel go runtimes fingerprint",
		"scenario":                  "name sha256 rate window_ms action replicas",
		"cells":                     "scenario driver action design trials summary",
		"cells.trials":              "n valid invalid_reasons planned sent ok failed success_rate downtime_ms longest_outage_ms bins_down_ms bins_degraded_ms disruption_lag_ms recovery_ms convergence_ms false_ready_ms false_unready_ms breaches hidden_retries schedule_lag_p99_ms latency_ms streams errors instances files",
		"cells.trials.latency_ms":   "p50 p90 p99 p999 max",
		"cells.trials.streams":      "name planned ok",
		"cells.trials.errors":       "class count",
		"cells.trials.instances":    "id revision ok failed",
		"cells.summary":             "success_rate downtime_ms pooled",
		"cells.summary.pooled":      "ok planned rate lo hi",
		"cells.summary.downtime_ms": "median lo hi",
		"gates":                     "cell metric op limit observed lo hi verdict",
		"comparisons":               "driver action a b metric shift lo hi p verdict",
	} {
		at := doc
		for key := range strings.SplitSeq(path, ".") {
			if key == "" {
				continue
			}
			next := at[key]
			if list, ok := next.([]any); ok && len(list) > 0 {
				next = list[0]
			}
			m, ok := next.(map[string]any)
			if !ok {
				t.Fatalf("%s: %s is %T, want an object", path, key, next)
			}
			at = m
		}
		for name := range strings.FieldsSeq(want) {
			if _, ok := at[name]; !ok {
				t.Errorf("%q has no %q", path, name)
			}
		}
	}
}

func TestWhatDidNotHappenIsNull(t *testing.T) {
	doc := Results(fixtureRun())
	clean := doc.Cells[1].Trials[0]
	var raw map[string]any
	b, err := json.Marshal(clean)
	if err == nil {
		err = json.Unmarshal(b, &raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"longest_outage_ms", "longest_outage", "disruption_lag_ms"} {
		if v, ok := raw[key]; !ok || v != nil {
			t.Errorf("a trial without a failure has %s %v, want null", key, v)
		}
	}
	if raw["failed"] != 0.0 || raw["downtime_ms"] != 0.0 {
		t.Errorf("a trial without a failure: failed %v, downtime %v", raw["failed"], raw["downtime_ms"])
	}
	if got := doc.Cells[0].Trials[0].Metrics[metric.LongestOutage]; got != 3010 {
		t.Errorf("longest outage: got %v, want 3010 ms", got)
	}
	partial := Results(partialRun())
	for _, g := range partial.Gates {
		if g.Observed != nil || g.Lo != nil {
			t.Errorf("gate %s without a valid trial observed %v", g.Metric, g.Observed)
		}
	}
	if e := partial.Cells[1].Summary.Estimates[metric.SuccessRate]; e.Median != nil || e.N != 0 {
		t.Errorf("success rate without a valid trial: %v", e)
	}
}

// The bounds of the pooled rate can exclude the median over the trials: they must not be
// shown as its interval.
func TestMedianLiesWithinItsRange(t *testing.T) {
	run := judge.Judge(record.Run{}, nil, nil, []judge.Trial{
		{Meta: record.Trial{N: 1}, Valid: true, Planned: 3000, OK: 3000, SuccessRate: 1},
		{Meta: record.Trial{N: 2}, Valid: true, Planned: 3000, OK: 3000, SuccessRate: 1},
		{Meta: record.Trial{N: 3}, Valid: true, Planned: 3000, OK: 2700, Failed: 300, SuccessRate: 0.9},
		{Meta: record.Trial{N: 4}, Planned: 3000, Failed: 3000},
	})
	s := Results(&run).Cells[0].Summary
	e, p := s.Estimates[metric.SuccessRate], s.Pooled
	if *e.Median != 1 || *e.Lo != 0.9 || *e.Hi != 1 || e.N != 3 {
		t.Errorf("over the trials: got %v in %v to %v of %d, want 1 in 0.9 to 1 of 3", *e.Median, *e.Lo, *e.Hi, e.N)
	}
	if p.OK != 8700 || p.Planned != 9000 || *p.Rate != 8700.0/9000 || *p.Lo >= *p.Rate || *p.Hi <= *p.Rate || *p.Hi >= *e.Median {
		t.Errorf("pooled: got %d of %d, %v in %v to %v", p.OK, p.Planned, *p.Rate, *p.Lo, *p.Hi)
	}
}

func TestOutputIsDeterministic(t *testing.T) {
	writers := map[string]func(*bytes.Buffer) error{
		"json":     func(b *bytes.Buffer) error { return WriteJSON(b, Results(fixtureRun())) },
		"terminal": func(b *bytes.Buffer) error { return WriteTerminal(b, fixtureRun(), TerminalOptions{Color: true}) },
		"junit":    func(b *bytes.Buffer) error { return WriteJUnit(b, fixtureRun()) },
		"html":     func(b *bytes.Buffer) error { return WriteHTML(b, fixtureRun()) },
		"svg":      func(b *bytes.Buffer) error { return WriteTimelineSVG(b, fixtureRun()) },
	}
	for name, write := range writers {
		var first, again bytes.Buffer
		if err := write(&first); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			again.Reset()
			if err := write(&again); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first.Bytes(), again.Bytes()) {
				t.Fatalf("%s: two runs of the same input differ", name)
			}
		}
	}
}

func TestMilliseconds(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0"}, {1, "0.000001"}, {1500 * time.Microsecond, "1.5"}, {-1500 * time.Microsecond, "-1.5"},
		{-1, "-0.000001"}, {3010 * time.Millisecond, "3010"}, {math.MaxInt64, "9223372036854.775807"},
	}
	for _, tt := range tests {
		got, err := json.Marshal(Milliseconds(tt.d))
		if err != nil || string(got) != tt.want {
			t.Errorf("%d ns: got %s, %v, want %s", tt.d, got, err, tt.want)
		}
	}
	var m Milliseconds
	if err := json.Unmarshal([]byte("1.000001"), &m); err != nil || m != 1000001 {
		t.Errorf("got %d, %v, want 1000001", m, err)
	}
	if err := json.Unmarshal([]byte(`"x"`), &m); err == nil {
		t.Error("text was accepted as milliseconds")
	}
}

func TestDefinitionsAreUnique(t *testing.T) {
	var ids []string
	for _, d := range definitions {
		if slices.Contains(ids, d.ID) || d.Text == "" || d.Name == "" {
			t.Errorf("definition %q is empty or there twice", d.ID)
		}
		ids = append(ids, d.ID)
	}
}
