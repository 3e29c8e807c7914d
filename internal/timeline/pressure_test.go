package timeline

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestPressures(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	at := func(from, to int, share float64) Pressure { return Pressure{Span{From: ms(from), To: ms(to)}, share} }
	span := Span{From: ms(0), To: ms(10_000)}
	for name, tc := range map[string]struct {
		readings []record.Pressure
		want     []Pressure
	}{
		"none":           {nil, nil},
		"one":            {[]record.Pressure{{At: ms(100), Waited: ms(7)}}, nil},
		"a few":          {[]record.Pressure{{At: ms(0), Waited: ms(1000)}, {At: ms(100), Waited: ms(1000)}, {At: ms(200), Waited: ms(1050)}, {At: ms(400), Waited: ms(1250)}}, []Pressure{at(0, 100, 0), at(100, 200, 0.5), at(200, 400, 1)}},
		"dust":           {[]record.Pressure{{At: ms(0)}, {At: ms(100), Waited: ms(101)}, {At: ms(200), Waited: ms(100)}}, []Pressure{at(0, 100, 1), at(100, 200, 0)}},
		"a gap":          {[]record.Pressure{{At: ms(0)}, {At: ms(2001), Waited: ms(2001)}, {At: ms(2101), Waited: ms(2101)}}, []Pressure{at(2001, 2101, 1)}},
		"twice at once":  {[]record.Pressure{{At: ms(5)}, {At: ms(5), Waited: ms(1)}}, nil},
		"outside":        {[]record.Pressure{{At: ms(-300)}, {At: ms(-200)}, {At: ms(-100)}}, nil},
		"over the edges": {[]record.Pressure{{At: ms(-50)}, {At: ms(50), Waited: ms(50)}, {At: ms(9_950), Waited: ms(50)}, {At: ms(10_050), Waited: ms(50)}, {At: ms(10_150), Waited: ms(50)}}, []Pressure{at(-50, 50, 0.5), at(9_950, 10_050, 0)}},
	} {
		if diff := cmp.Diff(tc.want, Pressures(tc.readings, span)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
