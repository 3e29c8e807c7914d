package metric

import "testing"

// However many looks there are, together they spend no more than one.
func TestAllLooksTogetherSpendAlpha(t *testing.T) {
	for least := 1; least <= 100; least++ {
		for most := least; most <= 100; most++ {
			sum := 0.0
			for n := least; n <= most; n++ {
				at := AlphaAt(n, least, most)
				if at <= 0 || most > least && n < most && at > mostEarly {
					t.Fatalf("look %d of %d..%d at %v", n, least, most, at)
				}
				sum += at
			}
			if sum > Alpha+1e-12 {
				t.Fatalf("%d..%d: the looks spend %v, more than %v", least, most, sum, Alpha)
			}
		}
	}
	if got := AlphaAt(3, 3, 3); got != Alpha {
		t.Errorf("the only look is at %v, want %v", got, Alpha)
	}
}
