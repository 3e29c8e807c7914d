package record

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A load that goes on until all is calm has the plan that it came to have; where nobody wrote
// that down it is as long as its samples are. None that was never due counts as lost.
func TestALoadThatEndsByCalmHasThePlanThatItCameToHave(t *testing.T) {
	planned := testTrial(1000)
	planned.Rate, planned.LoadFrom, planned.LoadTo = 10, 0, 100*time.Second
	planned.WindowFrom, planned.WindowTo = 200*time.Millisecond, 100*time.Second
	planned.UntilCalm = UntilCalm{For: time.Second, Settle: time.Second, Max: time.Minute}
	for _, tt := range []struct {
		name    string
		load    *LoadEnd
		planned uint64
		to      time.Duration
		damage  string
	}{
		{"it was written down", &LoadEnd{At: 750 * time.Millisecond, Planned: 7, Calm: true}, 7, 750 * time.Millisecond, ""},
		{"it was interrupted", nil, 5, 500*time.Millisecond + 1, ""},
		{"it cannot be", &LoadEnd{At: 101 * time.Second, Planned: 7}, 1000, 100 * time.Second, "the load ended after 1m41s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, run, w := begin(t, planned)
			for i := range uint64(5) {
				s := sample(i)
				s.Intended = time.Duration(i+1) * 100 * time.Millisecond
				w.Sample(s)
			}
			if err := w.Close(End{Sent: 5, Load: tt.load}); err != nil {
				t.Fatal(err)
			}
			if err := run.End(RunEnd{}); err != nil {
				t.Fatal(err)
			}
			d := readBack(t, dir)
			if d.Trial.Planned != tt.planned || d.Trial.LoadTo != tt.to || d.Trial.WindowTo != tt.to {
				t.Errorf("planned %d until %v, window until %v; want %d until %v", d.Trial.Planned, d.Trial.LoadTo, d.Trial.WindowTo, tt.planned, tt.to)
			}
			if damaged := slices.ContainsFunc(d.Damage, func(s string) bool { return tt.damage != "" && strings.Contains(s, tt.damage) }); damaged != (tt.damage != "") || tt.damage == "" && len(d.Damage) > 0 {
				t.Errorf("damage %q, want %q", d.Damage, tt.damage)
			}
		})
	}
}
