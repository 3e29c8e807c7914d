package load

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

func probePlan() ProbePlan {
	return ProbePlan{Base: time.Now(), Period: 50 * time.Millisecond, Timeout: time.Second, Request: Request{Path: "/"}}
}

// In a bubble of synctest time passes only when everybody waits, so the schedule is exact.
func TestProberSchedule(t *testing.T) {
	tests := []struct {
		name string
		took []time.Duration // of the first probes; the others take no time
		want []time.Duration // starts within the first 300 ms, from the first one
	}{
		{"quick", nil, ms(0, 50, 100, 150, 200, 250)},
		{"within the period", ms(49), ms(0, 50, 100, 150, 200, 250)},
		{"as long as the period", ms(50), ms(0, 50, 100, 150, 200, 250)},
		{"longer than the period", ms(51), ms(0, 100, 150, 200, 250)},
		{"much longer", ms(0, 120), ms(0, 50, 200, 250)},
		{"always longer", ms(70, 70, 70, 70), ms(0, 100, 200)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []time.Duration
				asked := 0
				p := newProber(probePlan(), func(r record.ProbeResult) { got = append(got, r.At) },
					func(string) (record.Class, string) {
						if asked < len(tt.took) {
							time.Sleep(tt.took[asked])
						}
						asked++
						return record.OK, ""
					})
				p.Add("a", "v1", "addr")
				offset := time.Duration(hash(0) % uint64(50*time.Millisecond))
				time.Sleep(offset + 299*time.Millisecond)
				p.Close()
				for i := range got {
					got[i] -= offset
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("probes sent at (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func ms(n ...int) []time.Duration {
	var out []time.Duration
	for _, i := range n {
		out = append(out, time.Duration(i)*time.Millisecond)
	}
	return out
}

func TestProberTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type asked struct{ instance, revision, reason string }
		got := make(map[asked]int)
		p := newProber(probePlan(), func(r record.ProbeResult) { got[asked{r.Instance, r.Revision, r.Reason}]++ },
			func(addr string) (record.Class, string) { return record.Refused, addr })
		p.Add("a", "v1", "addr 1")
		p.Add("b", "v1", "addr 2")
		time.Sleep(time.Second)
		p.Remove("a")
		p.Remove("unknown")
		p.Add("b", "v2", "addr 3") // the same instance, started again somewhere else
		time.Sleep(time.Second)
		p.Close()
		p.Close()
		p.Add("c", "v1", "addr 4")
		time.Sleep(time.Second)
		want := map[asked]int{{"a", "v1", "addr 1"}: 20, {"b", "v1", "addr 2"}: 20, {"b", "v2", "addr 3"}: 20}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
	})
}

// A probe that is under way when its instance is removed is evidence about the time at
// which the instance still counted.
func TestProberReportsWhatWasUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []record.ProbeResult
		p := newProber(probePlan(), func(r record.ProbeResult) { got = append(got, r) },
			func(string) (record.Class, string) { time.Sleep(time.Second); return record.Timeout, "" })
		p.Add("a", "v1", "addr")
		time.Sleep(100 * time.Millisecond)
		p.Remove("a")
		p.Close()
		want := []record.ProbeResult{{At: time.Duration(hash(0) % uint64(50*time.Millisecond)), Took: time.Second,
			Instance: "a", Revision: "v1", Class: record.Timeout}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
	})
}

func TestProber(t *testing.T) {
	var conns, closing atomic.Int64
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Close {
			closing.Add(1)
		}
		if conns.Add(1) > 2 {
			w.Header().Set("Rollout-Lab-Reason", "not synced")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	plan := probePlan()
	plan.Period, plan.Timeout = time.Millisecond, ample
	results := make(chan record.ProbeResult)
	p, err := NewProber(plan, func(r record.ProbeResult) { results <- r })
	if err != nil {
		t.Fatal(err)
	}
	p.Add("a", "v1", server.Listener.Addr().String())
	want := []record.ProbeResult{
		{Instance: "a", Revision: "v1", OK: true, Class: record.OK},
		{Instance: "a", Revision: "v1", OK: true, Class: record.OK},
		{Instance: "a", Revision: "v1", Class: "http_503", Reason: "not synced"},
	}
	for i, w := range want {
		r := <-results
		if r.At <= 0 || r.Took <= 0 {
			t.Errorf("probe %d: sent at %v, took %v", i, r.At, r.Took)
		}
		r.At, r.Took = 0, 0
		if diff := cmp.Diff(w, r); diff != "" {
			t.Errorf("probe %d (-want +got):\n%s", i, diff)
		}
	}
	go func() {
		for range results {
		}
	}()
	p.Close()
	close(results)
	if conns.Load() != closing.Load() {
		t.Errorf("%d of %d probes had a connection of their own", closing.Load(), conns.Load())
	}
}

func TestNewProberRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*ProbePlan){
		"base":    func(p *ProbePlan) { p.Base = time.Time{} },
		"period":  func(p *ProbePlan) { p.Period = 0 },
		"timeout": func(p *ProbePlan) { p.Timeout = 0 },
		"path":    func(p *ProbePlan) { p.Request.Path = "" },
		"expect":  func(p *ProbePlan) { p.Request.Expect = "maybe" },
		"status":  func(p *ProbePlan) { p.Request.Expect, p.Request.Statuses = record.Deny, []int{200} },
	} {
		p := probePlan()
		spoil(&p)
		if _, err := NewProber(p, nil); err == nil {
			t.Errorf("bad %s: got no error", name)
		}
	}
}

// An instance that lets everything in until it is ready serves whatever it is asked: only
// what it must deny tells that it cannot do its work.
func TestProbeOfADenial(t *testing.T) {
	tests := []struct {
		name, path string
		statuses   []int
		class      record.Class
		status     int
	}{
		{"denied", "/403", nil, record.OK, 403},
		{"denied as expected", "/403", []int{403}, record.OK, 403},
		{"denied otherwise", "/401", []int{403}, "http_401", 401},
		{"let in", "/200", []int{403}, "http_200", 200},
		{"no answer to rely on", "/503", nil, "http_503", 503},
	}
	server := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil {
			t.Error(err)
			return
		}
		w.WriteHeader(status)
	})
	addr := server.Listener.Addr().String()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan := probePlan()
			plan.Request = Request{Path: tt.path, Expect: record.Deny, Statuses: tt.statuses, AnyBody: true}
			plan.Timeout = ample
			if class, status, _ := ProbeOnce(t.Context(), addr, drivers.Wire{}, plan.Request, ample); class != tt.class || status != tt.status {
				t.Errorf("asked once: got %s and %d, want %s and %d", class, status, tt.class, tt.status)
			}
			results := make(chan record.ProbeResult, 1)
			p, err := NewProber(plan, func(r record.ProbeResult) {
				select {
				case results <- r:
				default: // one will do
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			p.Add("a", "v1", addr)
			if r := <-results; r.Class != tt.class || r.OK != (tt.class == record.OK) {
				t.Errorf("prober: got %s, ok %v, want %s", r.Class, r.OK, tt.class)
			}
		})
	}
}
