package reports

import "testing"

func TestWhatIsNotZeroNeverPrintsAsZero(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{part(0, 100_000), "0.00 %"},
		{part(1, 100_000), "< 0.01 %"},
		{part(10, 100_000), "0.01 %"},
		{part(100_000, 100_000), "100 %"},
		{part(0, 0), "no data"},
		{probability(0.1), "0.1"},
		{probability(0.0001), "0.0001"},
		{probability(0.00001), "< 0.0001"},
		{probability(1), "1"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}
