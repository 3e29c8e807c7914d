package cli

import (
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestRateFlag(t *testing.T) {
	for text, want := range map[string]rateFlag{"auto": {auto: true}, "400": {value: 400}, "0.5": {value: 0.5}} {
		f := rateFlag{value: 7, auto: text != "auto"}
		if err := f.Set(text); err != nil || f.auto != want.auto || !want.auto && f.value != want.value {
			t.Errorf("%s: %+v, %v", text, f, err)
		}
		if f.String() != text {
			t.Errorf("%s is printed as %s", text, f.String())
		}
	}
	for _, text := range []string{"", "fast", "1/s", "Auto"} {
		if err := new(rateFlag).Set(text); err == nil {
			t.Errorf("%q is taken for a rate", text)
		}
	}
}

func TestTrialsFlag(t *testing.T) {
	for text, want := range map[string]record.TrialRange{"3": {Least: 3, Most: 3}, "3..8": {Least: 3, Most: 8}} {
		var f trialsFlag
		if err := f.Set(text); err != nil || record.TrialRange(f) != want || f.String() != text {
			t.Errorf("%s: %v, %v", text, f.String(), err)
		}
	}
	for _, text := range []string{"", "3..", "3-8", "three", "3...8", "9999999999..9999999999"} {
		if err := new(trialsFlag).Set(text); err == nil {
			t.Errorf("%q is taken for a number of trials", text)
		}
	}
}
