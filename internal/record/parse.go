package record

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minSampleLine is the length of the shortest line that parseSample takes.
const minSampleLine = 24

// lineReader reads lines of any length without copying the short ones.
type lineReader struct {
	r    *bufio.Reader
	long []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 256<<10)}
}

// next returns a line without its end, valid until the next call. At the end of the
// input it returns what is left of a torn line, and io.EOF.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = l.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			l.long = append(l.long, line...)
			line, err = l.r.ReadSlice('\n')
		}
		l.long = append(l.long, line...)
		line = l.long
	}
	if err != nil {
		return line, err
	}
	return line[:len(line)-1], nil
}

// intern keeps one copy of each text: a million samples hold a few dozen different ones.
type intern map[string]string

func (in intern) text(b []byte) string {
	if s, ok := in[string(b)]; ok {
		return s
	}
	s := string(b)
	in[s] = s
	return s
}

// columns takes a line apart, keeping the first error with the name of its column.
type columns struct {
	rest []byte
	left int // columns not taken yet
	in   intern
	err  error
}

func (c *columns) next(name string) []byte {
	if c.err != nil {
		return nil
	}
	c.left--
	i := bytes.IndexByte(c.rest, ',')
	switch {
	case c.left > 0 && i < 0:
		c.err = fmt.Errorf("the line ends in the column %s", name)
		return nil
	case c.left == 0 && i >= 0:
		c.err = fmt.Errorf("more columns than there are, behind %s", name)
		return nil
	case c.left == 0:
		i = len(c.rest)
	}
	field := c.rest[:i]
	c.rest = c.rest[min(i+1, len(c.rest)):]
	return field
}

func (c *columns) fail(name string, field []byte, err error) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %.80q: %w", name, field, err)
		if field == nil {
			c.err = fmt.Errorf("%s: %w", name, err)
		}
	}
}

var errNumber = errors.New("not a whole number in range")

// int parses a decimal number of at most 18 digits, which holds every time and count
// that a record can have. (strconv would need a string for each.)
func (c *columns) int(name string) int64 {
	field := c.next(name)
	digits := field
	negative := len(digits) > 0 && digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		c.fail(name, field, errNumber)
		return 0
	}
	var n int64
	for _, d := range digits {
		if d < '0' || d > '9' {
			c.fail(name, field, errNumber)
			return 0
		}
		n = n*10 + int64(d-'0')
	}
	if negative {
		return -n
	}
	return n
}

func (c *columns) uint(name string) int64 {
	n := c.int(name)
	if n < 0 {
		c.fail(name, nil, errNumber)
	}
	return n
}

func (c *columns) duration(name string) time.Duration {
	d := time.Duration(c.int(name))
	if d < -farthest || d > farthest {
		c.fail(name, nil, errFar)
	}
	return d
}

func (c *columns) text(name string) string {
	field := c.next(name)
	if len(field) == 0 {
		return ""
	}
	if bytes.IndexByte(field, '\\') < 0 {
		return c.in.text(field)
	}
	plain, err := unescape(field)
	if err != nil {
		c.fail(name, field, err)
		return ""
	}
	return c.in.text(plain)
}

// word is a text that must not be empty.
func (c *columns) word(name string) string {
	s := c.text(name)
	if s == "" && c.err == nil {
		c.err = fmt.Errorf("%s is empty", name)
	}
	return s
}

func (c *columns) bool(name string) bool {
	field := c.next(name)
	switch string(field) {
	case "true":
		return true
	case "false":
		return false
	}
	c.fail(name, field, errors.New("neither true nor false"))
	return false
}

// unescape undoes appendField.
func unescape(field []byte) ([]byte, error) {
	plain := make([]byte, 0, len(field))
	for i := 0; i < len(field); i++ {
		if field[i] != '\\' {
			plain = append(plain, field[i])
			continue
		}
		if i+3 >= len(field) || field[i+1] != 'x' {
			return nil, errors.New(`a backslash without xHH behind it`)
		}
		c, err := strconv.ParseUint(string(field[i+2:i+4]), 16, 8)
		if err != nil {
			return nil, errors.New(`a backslash without xHH behind it`)
		}
		plain = append(plain, byte(c))
		i += 3
	}
	return plain, nil
}

func parseSample(line []byte, s *Sample, in intern) error {
	c := columns{rest: line, left: 14, in: in}
	s.Seq = uint64(c.uint("seq"))
	s.Stream = c.text("stream")
	s.Request = int(c.uint("request"))
	s.Expect = Expectation(c.text("expect"))
	if c.err == nil && !slices.Contains(expectations, s.Expect) {
		c.fail("expect", []byte(s.Expect), fmt.Errorf("none of %q", expectations))
	}
	s.Intended = c.duration("intended_ns")
	s.Sent = c.duration("sent_ns")
	s.Done = c.duration("done_ns")
	s.Class = Class(c.word("class"))
	s.Status = int(c.uint("status"))
	s.Attempts = int(c.uint("attempts"))
	s.Bytes = c.uint("bytes")
	s.Instance = c.text("instance")
	s.Revision = c.text("revision")
	s.Reason = c.text("reason")
	return c.err
}

func parseProbe(line []byte, p *ProbeResult, in intern) error {
	c := columns{rest: line, left: 7, in: in}
	p.At = c.duration("at_ns")
	p.Took = c.duration("took_ns")
	p.Instance = c.word("instance")
	p.Revision = c.text("revision")
	p.OK = c.bool("ok")
	p.Class = Class(c.text("class"))
	p.Reason = c.text("reason")
	return c.err
}

func parsePressure(line []byte, p *Pressure, in intern) error {
	c := columns{rest: line, left: 3, in: in}
	p.At = c.duration("at_ns")
	p.Waited = time.Duration(c.uint("waited_ns")) // since the machine's start: no offset
	p.Idle = time.Duration(c.uint("idle_ns"))
	return c.err
}

func compareDurations(a, b time.Duration) int { return cmp.Compare(a, b) }

// compareSamples orders by Seq. Of two with the same, which should not be, the worse one
// comes first and is kept: damage must not flatter.
func compareSamples(a, b Sample) int {
	if a.Seq != b.Seq {
		return cmp.Compare(a.Seq, b.Seq)
	}
	if (a.Class == OK) != (b.Class == OK) {
		if a.Class == OK {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Done, b.Done), cmp.Compare(a.Sent, b.Sent),
		cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Reason, b.Reason))
}

func compareProbes(a, b ProbeResult) int {
	if c := cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Instance, b.Instance)); c != 0 {
		return c
	}
	if a.OK != b.OK {
		if a.OK {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(a.Took, b.Took), cmp.Compare(a.Reason, b.Reason))
}

// compareNumbered orders names that end in -N by what stands before it, then by N.
func compareNumbered(a, b string) int {
	nameA, numberA := splitNumber(a)
	nameB, numberB := splitNumber(b)
	return cmp.Or(cmp.Compare(nameA, nameB), cmp.Compare(numberA, numberB), cmp.Compare(a, b))
}

func splitNumber(s string) (string, int) {
	i := strings.LastIndexByte(s, '-')
	n, err := strconv.Atoi(s[i+1:])
	if err != nil {
		return s, -1
	}
	return s[:i+1], n
}
