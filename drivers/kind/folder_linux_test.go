package kind

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers/kubernetes/owner"
)

func TestSweepFolders(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	mine, err := makeFolder()
	if err != nil {
		t.Fatal(err)
	}
	// Of an earlier start of this machine.
	const ended = "1-1-0000000000-0000000000"
	if _, err := owner.Parse(ended); err != nil {
		t.Fatal(err)
	}
	left, other := filepath.Join(os.TempDir(), folderPrefix+ended+"-123"), filepath.Join(os.TempDir(), folderPrefix+"123")
	for _, dir := range []string{left, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := sweepFolders()
	if err != nil || !slices.Equal(removed, []string{"folder " + left}) {
		t.Errorf("removed %v, %v, want only that of a lab that has ended", removed, err)
	}
	for _, dir := range []string{mine, other} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
