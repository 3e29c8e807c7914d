// Package ports hands out TCP ports of 127.0.0.1 for instances to listen on, outside the
// range from which the kernel serves outgoing connections: a load test makes many of
// those, and one of them would take the port of an instance between two starts.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

const (
	lowest  = 10240
	highest = 65535
	// fewest is how many must lie outside the kernel's range for it to be worth avoiding.
	fewest = 1024
)

// Pool is a set of ports of which each is handed out to one taker at a time. Its methods
// may be called concurrently.
type Pool struct {
	mu    sync.Mutex
	ports []int
	free  func(port int) bool
	next  int // index of the next port to try
	taken map[int]bool
}

// New returns a pool that avoids the range for outgoing connections, as Linux says it. One
// that cannot be read or leaves too few is not avoided.
func New() *Pool {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		text = nil
	}
	p := Of(outside(string(text)), Free)
	p.next = rand.IntN(len(p.ports)) // so that labs that run side by side seldom meet
	return p
}

// Of returns a pool of the given ports, which are handed out in that order while free says
// that nobody has them.
func Of(ports []int, free func(port int) bool) *Pool {
	return &Pool{ports: ports, free: free, taken: map[int]bool{}}
}

// outside lists the ports outside a range that is given as two numbers, both included.
func outside(kernels string) []int {
	from, to := 0, 0
	if _, err := fmt.Sscan(kernels, &from, &to); err != nil {
		from, to = 0, 0
	}
	var all, kept []int
	for port := lowest; port <= highest; port++ {
		all = append(all, port)
		if port < from || port > to {
			kept = append(kept, port)
		}
	}
	if len(kept) < fewest {
		return all
	}
	return kept
}

// Take hands out n ports that could be bound a moment ago. The caller releases them.
func (p *Pool) Take(n int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var got []int
	for range p.ports {
		if len(got) == n {
			break
		}
		port := p.ports[p.next]
		p.next = (p.next + 1) % len(p.ports) // onwards, so that a port rests after its use
		if !p.taken[port] && p.free(port) {
			p.taken[port] = true
			got = append(got, port)
		}
	}
	if len(got) < n {
		for _, port := range got {
			delete(p.taken, port)
		}
		return nil, fmt.Errorf("no %d free ports on 127.0.0.1 among %d", n, len(p.ports))
	}
	return got, nil
}

// Release takes ports back.
func (p *Pool) Release(ports []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range ports {
		delete(p.taken, port)
	}
}

// Loopback is the host:port of a port of 127.0.0.1.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Free says whether a port of 127.0.0.1 could be bound just now.
func Free(port int) bool {
	l, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
