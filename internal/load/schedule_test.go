package load

import (
	"fmt"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	tests := []struct {
		rate float64
		k    uint64
		want time.Duration
	}{
		{1000, 0, time.Millisecond},
		{1000, 59_999, time.Minute},
		{3, 2, time.Second},
		{0.5, 0, 2 * time.Second},
		{1000, 999_999_999, 1_000_000 * time.Second},
	}
	for _, tt := range tests {
		s := newSchedule(&Plan{Rate: tt.rate, Streams: streams(0, 0, 1)})
		if got := s.due(tt.k); got != tt.want {
			t.Errorf("at %v/s hit %d is due at %v, want %v", tt.rate, tt.k, got, tt.want)
		}
	}
}

// streams returns one stream per weight, each with so many requests and denials.
func streams(requests, denials int, weights ...int) []Stream {
	var out []Stream
	for i, w := range weights {
		out = append(out, Stream{Name: fmt.Sprint(i), Weight: w,
			Requests: make([]Request, max(requests, 1)), Denials: make([]Request, denials)})
	}
	return out
}

// Over any whole number of rounds each stream has exactly its share of the hits, of the
// denials, and each of its requests is used equally often.
func TestPickShares(t *testing.T) {
	tests := []struct {
		name     string
		weights  []int
		requests int
		deny     float64
		denials  int
		hits     uint64 // a whole number of rounds of everything
	}{
		{"one stream", []int{1}, 1, 0, 0, 100},
		{"the lab's mix", []int{40, 40, 20}, 1, 0, 0, 10_000},
		{"several requests", []int{40, 40, 20}, 10, 0, 0, 10_000},
		{"a tenth denied", []int{40, 40, 20}, 9, 0.1, 4, 9_000 * 4},
		{"a third denied", []int{2, 1}, 1, 1. / 3, 1, 300},
		{"half denied", []int{1, 1}, 1, 0.5, 2, 800},
		{"all denied", []int{3, 1}, 1, 1, 5, 2000},
		{"few denied", []int{1}, 3, 0.001, 1, 999_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSchedule(&Plan{Rate: 1, Deny: tt.deny, Streams: streams(tt.requests, tt.denials, tt.weights...)})
			sum := 0
			for _, w := range tt.weights {
				sum += w
			}
			served, denied := make([]map[int]float64, len(tt.weights)), make([]map[int]float64, len(tt.weights))
			for i := range tt.weights {
				served[i], denied[i] = make(map[int]float64), make(map[int]float64)
			}
			for k := range tt.hits {
				stream, deny, request := s.pick(k)
				if deny {
					denied[stream][request]++
				} else {
					served[stream][request]++
				}
			}
			for i, w := range tt.weights {
				mine := float64(tt.hits) * float64(w) / float64(sum)
				if tt.deny < 1 {
					checkEven(t, fmt.Sprintf("stream %d, served", i), served[i], tt.requests, mine*(1-tt.deny))
				}
				checkEven(t, fmt.Sprintf("stream %d, denied", i), denied[i], tt.denials, mine*tt.deny)
			}
		})
	}
}

// Over any whole number of rounds each request has exactly the share that its weight gives it,
// and none comes much more often in a part of them.
func TestRequestsByWeight(t *testing.T) {
	plan := &Plan{Rate: 1, Streams: streams(3, 0, 2, 1)}
	for i := range plan.Streams {
		for j, weight := range []int{30, 15, 5} { // 6:3:1
			plan.Streams[i].Requests[j].Weight = weight
		}
	}
	s := newSchedule(plan)
	const rounds = 50
	counts := map[[2]int]int{}
	for k := range uint64(3 * 10 * rounds) {
		stream, _, request := s.pick(k)
		counts[[2]int{stream, request}]++
		if k == 3*10*rounds/2-1 {
			for j, share := range []int{6, 3, 1} {
				if n := counts[[2]int{0, j}]; n != share*rounds {
					t.Errorf("half way, request %d of the first stream came %d times, want %d", j, n, share*rounds)
				}
			}
		}
	}
	for stream, weight := range []int{2, 1} {
		for j, share := range []int{6, 3, 1} {
			if n := counts[[2]int{stream, j}]; n != weight*share*rounds {
				t.Errorf("request %d of stream %d came %d times, want %d", j, stream, n, weight*share*rounds)
			}
		}
	}
}

// checkEven checks that the counts are of n things, all the same to within one, and
// have the sum to within one.
func checkEven(t *testing.T, what string, counts map[int]float64, n int, sum float64) {
	t.Helper()
	if sum == 0 {
		if len(counts) != 0 {
			t.Errorf("%s: got %v, want none", what, counts)
		}
		return
	}
	total := 0.0
	for i := range n {
		total += counts[i]
		if d := counts[i] - sum/float64(n); d < -1.01 || d > 1.01 {
			t.Errorf("%s: request %d came %v times, want %v", what, i, counts[i], sum/float64(n))
		}
	}
	if d := total - sum; len(counts) != n || d < -1.01 || d > 1.01 {
		t.Errorf("%s: %v hits of %d kinds, want %v of %d", what, total, len(counts), sum, n)
	}
}

// In any stretch of two rounds each stream has about its share: nobody comes in bursts.
func TestPickIsEven(t *testing.T) {
	s := newSchedule(&Plan{Rate: 1, Deny: 0.1, Streams: streams(1, 1, 40, 40, 20)})
	const stretch = 100
	for from := uint64(0); from < 10_000; from += 7 {
		var byStream [3]int
		denied := 0
		for k := from; k < from+stretch; k++ {
			stream, deny, _ := s.pick(k)
			byStream[stream]++
			if deny {
				denied++
			}
		}
		for i, want := range []int{40, 40, 20} {
			if got := byStream[i]; got < want-3 || got > want+3 {
				t.Fatalf("hits %d to %d: %d of stream %d, want about %d", from, from+stretch, got, i, want)
			}
		}
		if denied < 6 || denied > 14 {
			t.Fatalf("hits %d to %d: %d denials, want about 10", from, from+stretch, denied)
		}
	}
}

// A balancer deals the hits out in turn. Whatever the number of its instances, each one
// must get each kind of request.
func TestPickDoesNotFallIntoStep(t *testing.T) {
	type kind struct {
		stream  int
		denied  bool
		request int
	}
	const hits = 60_000
	for _, plan := range []Plan{
		{Rate: 1, Streams: streams(6, 0, 1)},
		{Rate: 1, Streams: streams(5, 0, 40, 40, 20)},
		{Rate: 1, Deny: 0.1, Streams: streams(5, 2, 40, 40, 20)},
	} {
		s := newSchedule(&plan)
		for instances := uint64(1); instances <= 12; instances++ {
			all := make(map[kind]int)
			got := make([]map[kind]int, instances)
			for k := range uint64(hits) {
				stream, denied, request := s.pick(k)
				what := kind{stream, denied, request}
				all[what]++
				if got[k%instances] == nil {
					got[k%instances] = make(map[kind]int)
				}
				got[k%instances][what]++
			}
			for i := range got {
				for what, total := range all {
					want := float64(total) / float64(instances)
					if n := float64(got[i][what]); n < want*0.6 || n > want*1.4 {
						t.Errorf("%d streams, share %v denied: instance %d of %d got %v hits of %+v, want about %v",
							len(plan.Streams), plan.Deny, i, instances, n, what, want)
					}
				}
			}
		}
	}
}

// The numbers of a stream's hits are 0, 1, 2 and so on: what takes turns by them takes them
// evenly.
func TestPlaceNumbersTheHitsOfAStream(t *testing.T) {
	s := newSchedule(&Plan{Rate: 1000, Streams: threeStreams()})
	const rounds = 200
	seen := make([]map[uint64]bool, 3)
	for i := range seen {
		seen[i] = make(map[uint64]bool)
	}
	for k := range uint64(rounds * 5) {
		stream, n := s.place(k)
		if seen[stream][n] {
			t.Fatalf("hit %d is number %d of stream %d, as another one is", k, n, stream)
		}
		seen[stream][n] = true
	}
	for i, weight := range []int{2, 2, 1} {
		for n := range uint64(rounds * weight) {
			if !seen[i][n] {
				t.Errorf("no hit is number %d of stream %d", n, i)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	good := func() Plan {
		return Plan{URL: "http://127.0.0.1:80", Base: time.Now(), Rate: 1, Hits: 1, Timeout: time.Second,
			Streams: []Stream{{Name: "s", Weight: 1, Requests: []Request{{Path: "/"}}}}}
	}
	if p := good(); p.Validate() != nil {
		t.Fatalf("a good plan: %v", p.Validate())
	}
	tests := []struct {
		name  string
		spoil func(*Plan)
	}{
		{"no url", func(p *Plan) { p.URL = "" }},
		{"https", func(p *Plan) { p.URL = "https://127.0.0.1" }},
		{"url with a path", func(p *Plan) { p.URL += "/x" }},
		{"url with a query", func(p *Plan) { p.URL += "?x" }},
		{"url that is none", func(p *Plan) { p.URL = "http://[" }},
		{"no base", func(p *Plan) { p.Base = time.Time{} }},
		{"start before base", func(p *Plan) { p.Start = -1 }},
		{"no rate", func(p *Plan) { p.Rate = 0 }},
		{"rate not a number", func(p *Plan) { p.Rate /= 0 * p.Rate }},
		{"no hits", func(p *Plan) { p.Hits = 0 }},
		{"no timeout", func(p *Plan) { p.Timeout = 0 }},
		{"negative share", func(p *Plan) { p.Deny = -0.1 }},
		{"share above 1", func(p *Plan) { p.Deny = 1.1 }},
		{"denials wanted, none there", func(p *Plan) { p.Deny = 0.1 }},
		{"no stream", func(p *Plan) { p.Streams = nil }},
		{"no name", func(p *Plan) { p.Streams[0].Name = "" }},
		{"name twice", func(p *Plan) { p.Streams = append(p.Streams, p.Streams[0]) }},
		{"no weight", func(p *Plan) { p.Streams[0].Weight = 0 }},
		{"weights without a pattern", func(p *Plan) {
			p.Streams[0].Weight = 1_000_000
			p.Streams = append(p.Streams, Stream{Name: "t", Weight: 1, Requests: p.Streams[0].Requests})
		}},
		{"connections kept where none are", func(p *Plan) { p.Streams[0].Connections = 1 }},
		{"fewer connections than none", func(p *Plan) { p.Streams[0].Reuse, p.Streams[0].Connections = true, -1 }},
		{"no request", func(p *Plan) { p.Streams[0].Requests = nil }},
		{"no path", func(p *Plan) { p.Streams[0].Requests[0].Path = "" }},
		{"bad method", func(p *Plan) { p.Streams[0].Requests[0].Method = "GE T" }},
		{"bad path", func(p *Plan) { p.Streams[0].Requests[0].Path = "/%zz" }},
		{"bad header", func(p *Plan) { p.Streams[0].Requests[0].Header = map[string]string{"a b": "c"} }},
		{"bad header value", func(p *Plan) { p.Streams[0].Requests[0].Header = map[string]string{"a": "b\nc"} }},
		{"both bodies", func(p *Plan) { p.Streams[0].Requests[0].WantBody = "x"; p.Streams[0].Requests[0].AnyBody = true }},
		{"provisional status", func(p *Plan) { p.Streams[0].Requests[0].Statuses = []int{101} }},
		{"denial among requests", func(p *Plan) { p.Streams[0].Requests[0].Expect = "deny" }},
		{"request among denials", func(p *Plan) { p.Streams[0].Denials = []Request{{Path: "/", Expect: "serve"}} }},
		{"denial that is served", func(p *Plan) { p.Streams[0].Denials = []Request{{Path: "/", Statuses: []int{200}}} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := good()
			tt.spoil(&p)
			if err := p.Validate(); err == nil {
				t.Error("got no error")
			}
		})
	}
}
