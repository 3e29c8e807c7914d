package reports

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/internal/timeline"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// lossyRun is one trial that lost failed of planned requests in a row at a rate, and misses
// a gate on each of what it shows.
func lossyRun(planned, failed uint64, rate float64) judge.Run {
	down := time.Duration(float64(failed) / rate * float64(time.Second))
	window := timeline.Span{From: 5 * time.Second, To: time.Minute}
	t := judge.Trial{Meta: record.Trial{Scenario: "s", Driver: "process", Action: "rollout", Design: "naive", N: 1, Rate: rate}, Valid: true, Window: window,
		Planned: planned, Sent: planned, OK: planned - failed, Failed: failed, SuccessRate: float64(planned-failed) / float64(planned),
		Downtime: down, LongestOutage: timeline.Outage{From: window.From, To: window.From + down, LastOK: -1, Failures: int(failed)},
		Recovery: &down, DisruptionLag: &down, Convergence: &down, Sync: &down, FalseReady: down, FalseUnready: down,
		Causes: []judge.CauseCount{{Cause: judge.TooSlow, Count: failed, From: 8 * time.Millisecond, To: 9 * time.Millisecond, Class: record.Timeout}},
		Down:   map[time.Duration]time.Duration{time.Second: down}, Degraded: map[time.Duration]time.Duration{time.Second: down}}
	gates := []record.Gate{{Design: "naive", Metric: "success_rate", Op: ">=", Limit: 1}}
	for _, m := range []string{"downtime", "longest_outage", "recovery", "false_ready"} {
		gates = append(gates, record.Gate{Design: "naive", Metric: m, Op: "<=", Limit: 0})
	}
	desc := record.Run{ID: "r", Scenarios: []record.Scenario{{Name: "s", Action: "rollout", Designs: []string{"naive"}, Gates: gates, Positive: []string{"naive"}}}}
	return judge.Judge(desc, &record.RunEnd{Duration: time.Hour}, nil, []judge.Trial{t})
}

// sections is the text of the page's sections that are about results.
func sections(t *testing.T, page []byte, ids ...string) string {
	var b strings.Builder
	walk(t, page, func(n *html.Node) {
		if id, _ := attr(n, "id"); n.Data != "section" || !slices.Contains(ids, id) {
			return
		}
		for d := range n.Descendants() {
			if d.Type == html.TextNode && !strings.HasPrefix(attrOf(d.Parent, "class"), "t-") { // names of an axis are no values
				b.WriteString(strings.ReplaceAll(d.Data, "\u00a0", " "))
				if next := d.NextSibling; d.Parent.Data != "code" && (next == nil || next.Data != "code") { // that is within a line
					b.WriteString(" ")
				}
			}
		}
	})
	return b.String()
}

func attrOf(n *html.Node, key string) string {
	v, _ := attr(n, key)
	return v
}

// offsets says from when to when an outage lasted, which is not how long.
var offsets = regexp.MustCompile(`\(last ok [^)]*\)`)

var withUnit = regexp.MustCompile(`(\d[\d,.]*) (ms|s|%)`)

// A number has one form, in the headline, the matrix, the gates, the tables, junit.xml and
// the terminal; and none of them flatters.
func TestANumberHasOneForm(t *testing.T) {
	tests := []struct {
		name            string
		planned, failed uint64
		rate            float64
		down, success   string // the form of the downtime and of the success rate
	}{
		{"cut off, 2.9 s", 10_000, 2949, 1000, "2.95 s", "70.51 %"},
		{"rounded, 0 ms", 200_000, 2, 10_000, "0.2 ms", "99.999 %"},
		{"one of many", 100_000_000, 1, 10_000, "0.1 ms", "99.999999 %"},
		{"a microsecond", 100_000, 1, 1_000_000, "0.01 ms", "99.999 %"},
		{"above a minute", 100_000, 61_001, 1000, "1 min 2 s", "38.99 %"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := lossyRun(tt.planned, tt.failed, tt.rate)
			if run.Verdict != judge.Fail {
				t.Fatalf("got %s, want a missed gate", run.Verdict)
			}
			downMS := 1000 * float64(tt.failed) / tt.rate
			page := htmlText(t, &run)
			for where, text := range map[string]string{
				"progress": Outcome(&run.Cells[0].Trials[0]), "terminal": terminalText(t, &run, TerminalOptions{Width: 10_000}), "junit.xml": string(junitText(t, &run)),
				"headline and reasons": sections(t, page, "verdict"), "matrix and gates": sections(t, page, "matrix"), "trials": sections(t, page, "trials"),
			} {
				for _, want := range []string{tt.down, tt.success} {
					if !strings.Contains(text, want) && where != "trials" && where != "progress" {
						t.Errorf("%s: %q is nowhere in %s", where, want, text)
					}
				}
				for _, m := range withUnit.FindAllStringSubmatch(offsets.ReplaceAllString(text, ""), -1) {
					f, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
					if err != nil {
						continue
					}
					switch m[2] {
					case "%":
						ok := float64(tt.planned-tt.failed) / float64(tt.planned)
						if m[0] != tt.success && math.Abs(f/100-ok) < min((1-ok)/100, 0.001) {
							t.Errorf("%s: the success rate is %s as well as %s", where, m[0], tt.success)
						}
						continue
					case "s":
						f *= 1000
					}
					if !strings.Contains(tt.down, m[0]) && f > 0 && math.Abs(f-downMS) < downMS/4 {
						t.Errorf("%s: the downtime is %s as well as %s", where, m[0], tt.down)
					}
				}
			}
			// How many were lost is one number, in words as in the tables.
			lost := format.Count(tt.failed)
			if tally := "all " + lost + " lost requests"; tt.failed > 1 {
				for where, text := range map[string]string{"terminal": terminalText(t, &run, TerminalOptions{Width: 10_000}), "junit.xml": string(junitText(t, &run)), "head": sections(t, page, "verdict"), "causes": sections(t, page, "errors")} {
					if !strings.Contains(text, tally) {
						t.Errorf("%s: %q is nowhere in %s", where, tally, text)
					}
				}
			}
			if got := sections(t, page, "verdict"); strings.Contains(got, "downtime 0") && !strings.Contains(got, "downtime 0.") {
				t.Errorf("the headline has a downtime of nothing: %s", got)
			}
		})
	}
}

var (
	anyTime   = regexp.MustCompile(`\d[\d,.]*( to \d[\d,.]*)? (ms|s|min \d+ s|h \d+ min)([^/\pL\d]|$)`)
	rangeEnds = regexp.MustCompile(`^(\S+)( to (\S+))? (.*)$`)
	// Moments are no lengths: they are printed to the millisecond, all alike.
	moments = regexp.MustCompile(`−?\d+\.\d{3}( to −?\d+\.\d{3})? s`)
)

// Every time that is printed of a run, in any output, has the form of one of the times that
// the run has.
func TestEveryTimeOfARunHasOneForm(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 25 {
		known := map[string]string{"100 ms": "a bin", "10 ms": "a bin", "1.00 s": "a bin", "50 ms": "the limit of the lag", "0 ms": "nothing", "0.1 ms": "a tick", "1 ms": "a tick", "10.00 s": "a tick", "1 h 0 min": "the run"}
		scale := []time.Duration{5 * time.Millisecond, 300 * time.Millisecond, 20 * time.Second, 10 * time.Minute}[r.IntN(4)]
		some := func(what string) time.Duration {
			d := time.Duration(1 + r.Int64N(int64(scale)))
			known[format.Span(d)] = what
			return d
		}
		run := lossyRun(60_000, 600, 1000)
		trial := run.Cells[0].Trials[0]
		known["600 ms"] = "the downtime"
		trial.LongestOutage.To = trial.LongestOutage.From + some("longest outage")
		trial.Recovery, trial.Convergence, trial.Sync, trial.DisruptionLag = new(some("recovery")), new(some("convergence")), new(some("sync")), new(some("lag"))
		trial.FalseReady, trial.FalseUnready = some("false ready"), some("false unready")
		trial.Meta.Timeout = some("timeout")
		trial.Down, trial.Degraded = map[time.Duration]time.Duration{time.Second: some("down")}, map[time.Duration]time.Duration{time.Second: some("degraded")}
		trial.Values = map[string]float64{"standstill": format.InMillis(some("standstill")), "slowest_request": format.InMillis(some("slowest")), "latency_recovery": format.InMillis(some("latency recovery"))}
		trial.Intermittent = timeline.Intermittent{Total: some("intermittent"), Period: some("period"), Planned: 1000, Failures: 7}
		trial.Latency = judge.Percentiles{N: 5, P50: some("p50"), P90: some("p90"), P99: some("p99"), P999: some("p999"), Max: some("max")}
		trial.LatencyUncorrected, trial.ScheduleLag = trial.Latency, trial.Latency
		trial.Cost.CPU = some("cpu")
		desc := run.Record
		for _, m := range []string{"standstill", "recovery", "latency_p99", "convergence", "bins_down"} {
			// A limit is a round number, such as a person sets.
			limit := time.Duration(1+r.Int64N(9)) * time.Duration(math.Pow10(r.IntN(5))) * time.Millisecond
			known[format.Span(limit)] = "a limit"
			desc.Scenarios[0].Gates = append(desc.Scenarios[0].Gates, record.Gate{Design: "naive", Metric: m, Op: []string{"<=", ">="}[r.IntN(2)], Limit: format.InMillis(limit)})
		}
		run = judge.Judge(desc, &record.RunEnd{Duration: time.Hour}, nil, []judge.Trial{trial})

		page := htmlText(t, &run)
		for where, text := range map[string]string{
			"terminal": terminalText(t, &run, TerminalOptions{}), "junit.xml": string(junitText(t, &run)), "results.json": fmt.Sprint(Results(&run).Headline, Results(&run).Reasons),
			"page": sections(t, page, "verdict", "matrix", "trials", "errors", "latency", "evidence"),
		} {
			text = moments.ReplaceAllString(strings.Join(strings.Fields(text), " "), "")
			for _, found := range anyTime.FindAllString(text, -1) {
				m := rangeEnds.FindStringSubmatch(strings.TrimRight(found, " ,.;:)(/<&\"'"))
				for _, amount := range []string{m[1], m[3]} {
					if form := amount + " " + m[4]; amount != "" && known[form] == "" {
						t.Fatalf("%s: %q is the form of no time of this run, in %q; known are %v", where, form, found, known)
					}
				}
			}
		}
	}
}
