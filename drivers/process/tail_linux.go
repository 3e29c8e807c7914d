package process

import (
	"strings"
	"sync"
)

// tailSize is how much of an instance's output is kept.
const tailSize = 64 << 10

// tail keeps the end of what is written to it. Its zero value is empty; its methods may
// be called concurrently.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool // something before buf was dropped
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if n > tailSize {
		p, t.cut = p[n-tailSize:], true
	}
	// Shifting once per tailSize bytes keeps the cost of a write constant on average.
	if len(t.buf)+len(p) > 2*tailSize {
		keep := t.buf[max(len(t.buf)-tailSize, 0):]
		t.buf, t.cut = append(t.buf[:0], keep...), true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

// String is the last tailSize bytes at most, from the start of a line where something
// was dropped before.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, cut := t.buf, t.cut
	if len(b) > tailSize {
		b, cut = b[len(b)-tailSize:], true
	}
	s := string(b)
	if cut {
		if _, rest, ok := strings.Cut(s, "\n"); ok {
			s = rest
		}
	}
	return s
}

// last is the last n lines that are not empty, on one line.
func (t *tail) last(n int) string {
	var lines []string
	for line := range strings.Lines(t.String()) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(len(lines)-n, 0):], " | ")
}
