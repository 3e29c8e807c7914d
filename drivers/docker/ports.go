package docker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

const (
	lowestPort  = 10240
	highestPort = 65535
	// fewestPorts is how many must lie outside the range for outgoing connections for it
	// to be worth avoiding.
	fewestPorts = 1024
)

// portPool hands out ports of 127.0.0.1 to publish containers on. They are explicit,
// because one that the engine chooses changes when the container is started again, and
// outside the range from which the kernel serves outgoing connections, of which a load
// test makes many. Its methods may be called concurrently.
type portPool struct {
	mu    sync.Mutex
	ports []int
	next  int
	taken map[int]bool
}

func newPortPool() *portPool {
	from, to := 0, 0
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(b), &from, &to); err != nil {
			from, to = 0, 0
		}
	}
	return portsOutside(from, to)
}

// portsOutside is a pool that avoids the ports between two numbers, both included, unless
// that leaves too few.
func portsOutside(from, to int) *portPool {
	p := &portPool{taken: map[int]bool{}}
	var all []int
	for port := lowestPort; port <= highestPort; port++ {
		all = append(all, port)
		if port < from || port > to {
			p.ports = append(p.ports, port)
		}
	}
	if len(p.ports) < fewestPorts {
		p.ports = all
	}
	p.next = rand.IntN(len(p.ports))
	return p
}

// take hands out n ports that could be bound a moment ago. The caller releases them.
func (p *portPool) take(n int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var got []int
	for range p.ports {
		if len(got) == n {
			return got, nil
		}
		port := p.ports[p.next]
		p.next = (p.next + 1) % len(p.ports) // onwards, so that a port rests after its use
		if !p.taken[port] && portIsFree(port) {
			p.taken[port] = true
			got = append(got, port)
		}
	}
	for _, port := range got {
		delete(p.taken, port)
	}
	return nil, fmt.Errorf("no %d free ports on 127.0.0.1 among %d", n, len(p.ports))
}

func (p *portPool) release(ports []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range ports {
		delete(p.taken, port)
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func portIsFree(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
