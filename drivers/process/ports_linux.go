package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

const (
	lowestPort  = 10240
	highestPort = 65535
	// fewestPorts is how many ports must lie outside the ephemeral range for it to be
	// worth the trouble of avoiding that.
	fewestPorts = 1024
)

// portPool hands out loopback ports that no outgoing connection is given by the kernel,
// because a load test makes many of those and one of them would take the port between
// two instances. Its methods may be called concurrently.
type portPool struct {
	mu    sync.Mutex
	all   []portRange
	next  int // index of the next port to try, over all ranges
	size  int
	taken map[int]bool
	free  func(port int) bool
}

type portRange struct{ from, to int } // both included

// newPortPool avoids the ephemeral range, which is given as Linux prints it; one that is
// unreadable or leaves too little is not avoided.
func newPortPool(ephemeral string) *portPool {
	p := &portPool{taken: map[int]bool{}, free: portIsFree, all: []portRange{{lowestPort, highestPort}}}
	if from, to, err := parsePortRange(ephemeral); err == nil {
		below := portRange{lowestPort, from - 1}
		above := portRange{max(to+1, lowestPort), highestPort}
		var all []portRange
		size := 0
		for _, r := range []portRange{below, above} {
			if n := r.to - r.from + 1; n > 0 {
				all, size = append(all, r), size+n
			}
		}
		if size >= fewestPorts {
			p.all = all
		}
	}
	for _, r := range p.all {
		p.size += r.to - r.from + 1
	}
	p.next = rand.IntN(p.size)
	return p
}

func parsePortRange(s string) (from, to int, err error) {
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return 0, 0, fmt.Errorf("port range %q: want two numbers", s)
	}
	from, err1 := strconv.Atoi(fields[0])
	to, err2 := strconv.Atoi(fields[1])
	return from, to, errors.Join(err1, err2)
}

// ephemeralPorts is the kernel's setting, "" where it cannot be read.
func ephemeralPorts() string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return ""
	}
	return string(b)
}

// take hands out n ports that could be bound a moment ago. The caller releases them.
func (p *portPool) take(n int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var got []int
	for range p.size {
		if len(got) == n {
			break
		}
		port := p.port(p.next)
		p.next = (p.next + 1) % p.size // onwards, so that a port rests after its use
		if !p.taken[port] && p.free(port) {
			p.taken[port] = true
			got = append(got, port)
		}
	}
	if len(got) < n {
		for _, port := range got {
			delete(p.taken, port)
		}
		return nil, fmt.Errorf("no %d free ports on 127.0.0.1 among %v", n, p.all)
	}
	return got, nil
}

func (p *portPool) port(n int) int {
	for _, r := range p.all {
		if size := r.to - r.from + 1; n >= size {
			n -= size
			continue
		}
		return r.from + n
	}
	panic("port index out of range")
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
