package kind

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers/owner"
)

// folderPrefix begins the names of temporary folders; the owner and a random part follow.
const folderPrefix = "rollout-lab-kind-"

// makeFolder makes a temporary folder whose name says which lab has made it: it holds the
// credentials of a cluster.
func makeFolder() (string, error) {
	lab, err := owner.Self()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp("", folderPrefix+lab.String()+"-")
}

// sweepFolders removes the folders of labs that have certainly ended.
func sweepFolders() (removed []string, err error) {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, path := range found {
		name := strings.TrimPrefix(filepath.Base(path), folderPrefix)
		lab, err := owner.Parse(name[:max(strings.LastIndexByte(name, '-'), 0)])
		if err != nil || !lab.Dead() {
			continue
		}
		err = os.RemoveAll(path)
		if err == nil {
			removed = append(removed, "folder "+path)
		}
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}
