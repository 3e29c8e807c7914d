package owner

import (
	"math"
	"regexp"
	"testing"
)

func TestParse(t *testing.T) {
	o := Owner{math.MaxInt32, math.MaxUint64, hash("boot"), hash("space")}
	s := o.String()
	if len(s) > 48 || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(s) {
		t.Errorf("%q does not fit into a label and a name", s)
	}
	if got, err := Parse(s); err != nil || got != o {
		t.Errorf("Parse(%q) = %v, %v, want %v", s, got, err, o)
	}
	for _, bad := range []string{"", "1-2-3", "x y-1-00-00", "1--0000000000-0000000000", "1-1-zz00000000-0000000000", "1-1-00-0000000000", s + "-1"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", bad, got)
		}
	}
}
