package kind

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

func TestSweepFolders(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	mine, err := makeFolder()
	if err != nil {
		t.Fatal(err)
	}
	lab, err := owner.Self()
	if err != nil {
		t.Fatal(err)
	}
	// Of an earlier process with this one's ID: the second part is when it was started.
	parts := strings.Split(lab.String(), "-")
	parts[1] = "1"
	ended := strings.Join(parts, "-")
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
