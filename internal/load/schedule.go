package load

import (
	"math"
	"time"
)

// schedule says for each hit when it is due, which stream sends it and which of the
// stream's requests it is. It is a pure function of the plan, so that a repeated trial
// sends the same requests at the same times, and it holds no state that grows.
//
// Streams and requests are rotated from round to round by a hash of the round's number:
// in a plain round robin they would fall into step with a balancer's, and one instance
// would get all requests of one kind.
type schedule struct {
	period  float64 // nanoseconds from one hit to the next
	cycle   []slot  // which stream at each place of a round
	weights []uint64
	deny    uint64 // of a million hits

	requests, denials [][]int // of each stream: which one at each place of a round of them
}

// slot is one place in a round of streams.
type slot struct {
	stream int
	rank   uint64 // how many places before this one have the same stream
}

const million = 1_000_000

func newSchedule(p *Plan) *schedule {
	weights := make([]int, len(p.Streams))
	for i, s := range p.Streams {
		weights[i] = s.Weight
	}
	s := &schedule{
		period: float64(time.Second) / p.Rate,
		deny:   uint64(math.Round(p.Deny * million)),
	}
	d := gcdAll(weights)
	for _, w := range weights {
		s.weights = append(s.weights, uint64(w/d))
	}
	s.cycle = interleave(s.weights)
	for i := range p.Streams {
		s.requests = append(s.requests, round(p.Streams[i].Requests))
		s.denials = append(s.denials, round(p.Streams[i].Denials))
	}
	return s
}

func weightsOf(requests []Request) []int {
	weights := make([]int, len(requests))
	for i := range requests {
		weights[i] = max(requests[i].Weight, 1)
	}
	return weights
}

// round lays out requests by their weights: the index of one at each place.
func round(requests []Request) []int {
	weights := weightsOf(requests)
	d := gcdAll(weights)
	shares := make([]uint64, len(weights))
	for i, w := range weights {
		shares[i] = uint64(w / d)
	}
	var out []int
	for _, place := range interleave(shares) {
		out = append(out, place.stream)
	}
	return out
}

// due is when hit k is due, from the start of the schedule.
func (s *schedule) due(k uint64) time.Duration {
	return time.Duration(math.Round(float64(k+1) * s.period))
}

// pick says what hit k is: the index of its stream, whether it must be denied, and the
// index among that stream's denials or requests.
func (s *schedule) pick(k uint64) (stream int, denied bool, request int) {
	stream, n := s.place(k)
	denied, request = s.ask(stream, n)
	return stream, denied, request
}

// place says of hit k the index of its stream, and its number within that one, from 0.
func (s *schedule) place(k uint64) (stream int, n uint64) {
	size := uint64(len(s.cycle))
	round := k / size
	place := s.cycle[(k+hash(round))%size]
	return place.stream, round*s.weights[place.stream] + place.rank
}

// ask says what hit n of a stream is.
func (s *schedule) ask(stream int, n uint64) (denied bool, request int) {
	requests, denials := s.requests[stream], s.denials[stream]
	if s.deny == 0 {
		return false, requests[rotate(n, len(requests), stream)]
	}
	// The stream's hits fall into blocks of which each holds exactly one denial, at a
	// place chosen by the block's number. A block ends where n*deny/million grows.
	block := n * s.deny / million
	first := (block*million + s.deny - 1) / s.deny
	next := ((block+1)*million + s.deny - 1) / s.deny
	at := first + hash(block<<8|uint64(stream))%(next-first)
	switch {
	case n == at:
		return true, denials[rotate(block, len(denials), stream)]
	case n > at:
		return false, requests[rotate(n-block-1, len(requests), stream)]
	default:
		return false, requests[rotate(n-block, len(requests), stream)]
	}
}

// rotate gives the n-th choice out of size: each round uses every one once, and starts
// at a place of its own.
func rotate(n uint64, size, salt int) int {
	round := n / uint64(size)
	return int((n + hash(round<<8|uint64(salt))) % uint64(size))
}

// interleave lays out one round in which stream i has weights[i] places, as evenly as
// it goes: at each place the stream that is furthest behind its share.
func interleave(weights []uint64) []slot {
	var sum uint64
	for _, w := range weights {
		sum += w
	}
	out := make([]slot, 0, sum)
	credit := make([]int64, len(weights))
	given := make([]uint64, len(weights))
	for range sum {
		best := 0
		for i, w := range weights {
			credit[i] += int64(w)
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= int64(sum)
		out = append(out, slot{stream: best, rank: given[best]})
		given[best]++
	}
	return out
}

// cycleLength is the length of the round of the given weights, all at least 1.
func cycleLength(weights []int) int {
	if len(weights) == 0 {
		return 0
	}
	d, sum := gcdAll(weights), 0
	for _, w := range weights {
		sum += w / d
	}
	return sum
}

func gcdAll(weights []int) int {
	d := 0
	for _, w := range weights {
		for w != 0 {
			d, w = w, d%w
		}
	}
	return max(d, 1)
}

// hash is the finaliser of SplitMix64 (Steele, Lea, Flood, 2014): it turns consecutive
// numbers into unrelated ones.
func hash(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
