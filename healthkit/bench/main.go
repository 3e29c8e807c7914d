// Command bench measures healthkit, other health libraries and a lower bound,
// all in one run and by turns, and prints Markdown. It is a module of its own so
// that its peers are no dependency of healthkit.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

var sizes = []int{1, 10, 100}

// percentilesAt is the number of checks at which single calls are timed.
const percentilesAt = 10

func main() {
	rounds := flag.Int("rounds", 15, "how often everything is measured by turns; the median counts")
	batch := flag.Duration("batch", 4*time.Millisecond, "how long one measurement takes")
	single := flag.Duration("single", 700*time.Millisecond, "how long single calls of one library are timed")
	write := flag.String("write", "", "replace the tables in this `file` instead of printing them")
	flag.Parse()
	if err := run(*rounds, *batch, *single, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, batch, single time.Duration, write string) error {
	var cells []*cell
	for _, s := range subjects {
		for _, n := range sizes {
			brief, verbose, stop, err := s.open(n)
			if err != nil {
				return fmt.Errorf("%s with %d checks: %w", s.name, n, err)
			}
			defer stop()
			cells = append(cells, newCell(s.name, "brief", n, brief), newCell(s.name, "verbose", n, verbose))
		}
	}
	for _, p := range pushers {
		for _, n := range sizes {
			same, flip, stop, err := p.open(n)
			if err != nil {
				return fmt.Errorf("%s with %d components: %w", p.name, n, err)
			}
			defer stop()
			cells = append(cells, newCell(p.name, "same", n, always(same)), newCell(p.name, "flip", n, always(flip)))
		}
	}
	for range rounds {
		for _, c := range cells {
			c.measure(batch)
		}
	}
	for _, c := range cells {
		if c.kind == "brief" && c.n == percentilesAt {
			c.timeSingly(single)
		}
	}
	text := render(cells)
	if write == "" {
		_, err := os.Stdout.Write(text)
		return err
	}
	return replaceTables(write, text)
}

func always(f func()) probe { return func() bool { f(); return true } }

// cell is one library asked one thing with n checks.
type cell struct {
	name, kind string
	n          int
	ask        probe // nil: the library does not have it
	broken     bool  // it does, but not with so many checks
	each       int   // calls in a batch
	ns         []float64
	bytes      uint64
	allocs     uint64
	tail       [3]time.Duration
}

func newCell(name, kind string, n int, ask probe) *cell {
	c := &cell{name: name, kind: kind, n: n, ask: ask}
	if ask == nil {
		return c
	}
	c.broken = !ask()
	return c
}

func (c *cell) usable() bool { return c.ask != nil && !c.broken }

// measure runs one batch. The garbage of the library before is collected first.
func (c *cell) measure(batch time.Duration) {
	if !c.usable() {
		return
	}
	runtime.GC()
	if c.each == 0 {
		c.calibrate(batch)
	}
	begun := time.Now()
	for range c.each {
		c.ask()
	}
	c.ns = append(c.ns, float64(time.Since(begun))/float64(c.each))
}

// calibrate finds how many calls a batch takes and counts what they allocate.
func (c *cell) calibrate(batch time.Duration) {
	const warm = 200
	var before, after runtime.MemStats
	for range warm {
		c.ask()
	}
	runtime.ReadMemStats(&before)
	begun := time.Now()
	for range warm {
		c.ask()
	}
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	c.bytes, c.allocs = (after.TotalAlloc-before.TotalAlloc)/warm, (after.Mallocs-before.Mallocs)/warm
	c.each = max(10, int(float64(batch)/float64(took)*warm))
}

// timeSingly takes the time of each call by itself. Reading the clock is part of
// every time, the floor's too.
func (c *cell) timeSingly(atMost time.Duration) {
	if !c.usable() {
		return
	}
	runtime.GC()
	times := make([]time.Duration, 0, 1<<20)
	for end := time.Now().Add(atMost); len(times) < cap(times); {
		begun := time.Now()
		c.ask()
		now := time.Now()
		times = append(times, now.Sub(begun))
		if now.After(end) {
			break
		}
	}
	slices.Sort(times)
	for i, q := range []float64{0.5, 0.99, 0.999} {
		c.tail[i] = times[int(math.Ceil(q*float64(len(times))))-1]
	}
}

func (c *cell) median() float64 {
	sorted := slices.Sorted(slices.Values(c.ns))
	return sorted[len(sorted)/2]
}

func find(cells []*cell, name, kind string, n int) *cell {
	i := slices.IndexFunc(cells, func(c *cell) bool { return c.name == name && c.kind == kind && c.n == n })
	return cells[i]
}

// trio is the median for 1, 10 and 100 checks, and the ratio to the floor at 10.
func trio(cells []*cell, name, kind string) string {
	var parts []string
	for _, n := range sizes {
		switch c := find(cells, name, kind, n); {
		case c.ask == nil:
			return "none"
		case c.broken:
			parts = append(parts, "error")
		default:
			parts = append(parts, fmt.Sprintf("%.0f", c.median()))
		}
	}
	return strings.Join(parts, " / ")
}

func ratio(cells []*cell, name, kind string) string {
	c, floor := find(cells, name, kind, 10), find(cells, subjects[0].name, kind, 10)
	if !c.usable() {
		return ""
	}
	return fmt.Sprintf("%.2f", c.median()/floor.median())
}

func render(cells []*cell) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, %s/%s, %d cores, %s. Nanoseconds for 1 / 10 / 100 passing checks.\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	b.WriteString("| | brief | x floor | B, allocs | verbose | x floor | single call p50 / p99 / p99.9 us |\n|---|---|---|---|---|---|---|\n")
	for _, s := range subjects {
		c := find(cells, s.name, "brief", percentilesAt)
		fmt.Fprintf(&b, "| %s | %s | %s | %d, %d | %s | %s | %.2f / %.2f / %.2f |\n", s.name,
			trio(cells, s.name, "brief"), ratio(cells, s.name, "brief"), c.bytes, c.allocs,
			trio(cells, s.name, "verbose"), ratio(cells, s.name, "verbose"),
			us(c.tail[0]), us(c.tail[1]), us(c.tail[2]))
	}
	b.WriteString("\nColumns without three numbers are for 10 checks.\n\n| a component reports | the same state | another state | B, allocs |\n|---|---|---|---|\n")
	for _, p := range pushers {
		c := find(cells, p.name, "flip", 10)
		fmt.Fprintf(&b, "| %s | %s | %s | %d, %d |\n", p.name, trio(cells, p.name, "same"), trio(cells, p.name, "flip"), c.bytes, c.allocs)
	}
	return b.Bytes()
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

const (
	beginTables = "<!-- tables: written by go run . -write README.md -->\n"
	endTables   = "<!-- end of tables -->\n"
)

// replaceTables puts the text between the markers of a file.
func replaceTables(name string, text []byte) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(old, []byte(beginTables))
	_, tail, ok2 := bytes.Cut(rest, []byte(endTables))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the tables: it lacks %q or %q", name, beginTables, endTables)
	}
	return os.WriteFile(name, slices.Concat(head, []byte(beginTables), text, []byte(endTables), tail), 0o644)
}
