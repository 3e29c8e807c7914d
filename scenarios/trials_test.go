package scenarios

import (
	"errors"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestHowManyTrialsThereAre(t *testing.T) {
	with := offered
	with.Vars = map[string]string{"n": "2..5", "one": "7"}
	for _, tc := range []struct {
		said string
		want record.TrialRange
	}{
		{"3", record.TrialRange{Least: 3, Most: 3}},
		{"3..8", record.TrialRange{Least: 3, Most: 8}},
		{"\"3..8\"", record.TrialRange{Least: 3, Most: 8}},
		{"4..4", record.TrialRange{Least: 4, Most: 4}},
		{"${n}", record.TrialRange{Least: 2, Most: 5}},
		{"${one}", record.TrialRange{Least: 7, Most: 7}},
	} {
		text := strings.Replace(good, "trials: 1", "trials: "+tc.said, 1)
		text = strings.Replace(text, "vars:\n", "vars:\n  n: 1..9\n  one: 9\n", 1)
		s, err := Parse("good.yaml", []byte(text), with)
		if err != nil {
			t.Fatalf("%s: %v", tc.said, err)
		}
		if s.Trials != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.said, s.Trials, tc.want)
		}
		again, err := Parse("again.yaml", []byte(s.Source), offered)
		if err != nil || again.Trials != tc.want {
			t.Errorf("%s: written out and read again it is %+v, %v", tc.said, again, err)
		}
	}
}

// The last of several looks has to be surer than an only one, so it takes more requests.
func TestALimitThatTheLastLookCannotDecide(t *testing.T) {
	slow := strings.Replace(good, "  rate: 1000\n", "  rate: 25\n", 1) // 500 requests a window
	if _, err := Parse("good.yaml", []byte(strings.Replace(slow, "trials: 1", "trials: 6", 1)), offered); err != nil {
		t.Errorf("six trials: %v", err)
	}
	_, err := Parse("good.yaml", []byte(strings.Replace(slow, "trials: 1", "trials: 1..6", 1)), offered)
	const message, hint = "3000 requests that are all ok are 95.5 % sure of no more than 99.8966%", "3100 requests would do: a longer window, a higher load.rate, trials: 7; or a lower limit"
	problems, _ := errors.AsType[Errors](err)
	if len(problems) != 1 || !strings.Contains(problems[0].Message, message) || problems[0].Hint != hint {
		t.Errorf("one to six: %v, want %q and %q", err, message, hint)
	}
}
