package systemd

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
)

// ports hands out loopback ports outside the range from which outgoing connections get
// theirs, because a load test makes many of those and one of them would take the port of
// an instance between two starts. Its methods may be called concurrently.
type ports struct {
	mu       sync.Mutex
	from, to int // the range to avoid; from > to avoids nothing
	next     int
	taken    map[int]bool
}

func newPorts() *ports {
	p := &ports{from: 1, to: 0, taken: map[int]bool{}}
	// Where the setting cannot be read there is nothing to go by.
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if from, to, err := parseRange(string(text)); err == nil {
			p.from, p.to = from, to
		}
	}
	p.next = lowestPort + rand.IntN(highestPort-lowestPort+1)
	return p
}

func parseRange(s string) (from, to int, err error) {
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return 0, 0, fmt.Errorf("port range %q: want two numbers", s)
	}
	from, err1 := strconv.Atoi(fields[0])
	to, err2 := strconv.Atoi(fields[1])
	return from, to, errors.Join(err1, err2)
}

// take hands out n ports that could be bound a moment ago. The caller releases them.
func (p *ports) take(n int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var got []int
	for range highestPort - lowestPort + 1 {
		if len(got) == n {
			return got, nil
		}
		port := p.next
		if p.next++; p.next > highestPort { // onwards, so that a port rests after its use
			p.next = lowestPort
		}
		if port >= p.from && port <= p.to || p.taken[port] || !isFree(port) {
			continue
		}
		p.taken[port] = true
		got = append(got, port)
	}
	if len(got) == n {
		return got, nil
	}
	for _, port := range got {
		delete(p.taken, port)
	}
	return nil, fmt.Errorf("no %d free ports on 127.0.0.1 outside the ephemeral range %d to %d", n, p.from, p.to)
}

func (p *ports) release(list []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range list {
		delete(p.taken, port)
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func isFree(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
