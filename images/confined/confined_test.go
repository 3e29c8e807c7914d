package confined

import (
	"strings"
	"testing"
)

func TestTailKeepsTheEnd(t *testing.T) {
	long := strings.Repeat("line\n", 100) + "the reason\n"
	if got := tail(long); !strings.HasSuffix(got, "the reason") || strings.Count(got, "\n") > 30 {
		t.Errorf("tail = %q", got)
	}
}
