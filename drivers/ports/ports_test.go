package ports

import (
	"net"
	"slices"
	"testing"
)

func TestOutside(t *testing.T) {
	span := func(pairs ...int) []int {
		var out []int
		for n := 0; n < len(pairs); n += 2 {
			for port := pairs[n]; port <= pairs[n+1]; port++ {
				out = append(out, port)
			}
		}
		return out
	}
	for _, tt := range []struct {
		name, kernels string
		want          []int
	}{
		{"the usual one", "32768\t60999\n", span(lowest, 32767, 61000, highest)},
		{"from the bottom", "1024 60999", span(61000, highest)},
		{"to the top", "32768 65535", span(lowest, 32767)},
		{"everything", "1024 65535", span(lowest, highest)},
		{"almost everything", "10300 65500", span(lowest, highest)},
		{"below what is used here", "1024 4999", span(lowest, highest)},
		{"unreadable", "", span(lowest, highest)},
		{"half of one", "20000", span(lowest, highest)},
		{"nonsense", "a b", span(lowest, highest)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := outside(tt.kernels); !slices.Equal(got, tt.want) {
				t.Errorf("got %d ports from %d, want %d from %d", len(got), got[0], len(tt.want), tt.want[0])
			}
		})
	}
}

func TestEachIsTakenOnce(t *testing.T) {
	p := Of([]int{201, 100, 101, 102, 200}, func(port int) bool { return port != 101 })
	got, err := p.Take(3)
	if want := []int{201, 100, 102}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := p.Take(2); err == nil {
		t.Errorf("got %v of the one that is left", got)
	}
	p.Release([]int{100})
	got, err = p.Take(2)
	if want := []int{200, 100}; err != nil || !slices.Equal(got, want) {
		t.Errorf("after a release: got %v, %v, want %v", got, err, want)
	}
	if got, err := p.Take(0); err != nil || len(got) != 0 {
		t.Errorf("none at all: got %v, %v", got, err)
	}
}

func TestFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if Free(port) {
		t.Error("a port that somebody listens on is called free")
	}
	l.Close()
	if !Free(port) {
		t.Error("a port that nobody listens on is not called free")
	}
}
