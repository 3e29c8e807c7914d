package lab

import (
	"testing"
	"time"
)

func TestParsePressure(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"some avg10=66.46 avg60=81.07 avg300=90.72 total=4314654599\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n": 4314654599 * time.Microsecond,
		"full avg10=0.00 total=7\nsome total=0\n": 0,
		"some avg10=66.46\n":                      -1,
		"some total=-5\n":                         -1,
		"some total=x\n":                          -1,
		"":                                        -1,
	} {
		got, ok := parsePressure(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
