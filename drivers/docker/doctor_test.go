package docker

import "testing"

func TestOrphansComeWithTheWayToRemoveThem(t *testing.T) {
	for _, tc := range []struct {
		orphans, running int
		want             string
	}{
		{0, 3, "0 orphaned resources, 3 resources of running labs"},
		{2, 0, "2 orphaned resources (rollout-lab clean removes them), 0 resources of running labs"},
	} {
		if got := countOrphans(tc.orphans, tc.running); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
