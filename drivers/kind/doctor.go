package kind

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"sigs.k8s.io/kind/pkg/apis/config/defaults"

	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

const (
	// inotifyLimit says how many inotify instances one user may have, on Linux.
	inotifyLimit = "/proc/sys/fs/inotify/max_user_instances"
	// A node and what runs on it takes about inotifyNode of them. One cluster should
	// always fit beside others.
	inotifyNode = 30
	inotifyRoom = 256
)

// Describe implements drivers.Describer: it says, for people, what a cluster would be made
// of and which of the lab's there are, a line for each. It changes nothing. A line about
// something that is wrong begins with "no" or "cannot".
func (d *Driver) Describe(ctx context.Context) []string {
	e, err := dial(ctx)
	if err != nil {
		return []string{"no engine: " + err.Error()}
	}
	defer e.Close()
	lines := []string{d.Version(ctx), d.describeImage(ctx, e)}
	if text, err := os.ReadFile(inotifyLimit); err == nil { // elsewhere it is the engine's machine's matter
		lines = append(lines, describeInotify(string(text))...)
	}
	return append(lines, d.describeClusters()...)
}

func (d *Driver) describeImage(ctx context.Context, e *dockerengine.Engine) string {
	image, here, err := imageHere(ctx, e, d.config)
	switch {
	case err != nil:
		return "cannot check for node images: " + err.Error()
	case here:
		return "nodes run " + image
	case d.config.BuildImage != nil:
		return "no node image here: the first run pulls " + defaults.Image + ", or else builds one, which takes about ten minutes (make kindnode)"
	}
	return "no node image here: the first run pulls " + defaults.Image
}

// describeInotify says when there is room for few nodes, given the limit as a file holds it.
func describeInotify(text string) []string {
	limit, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || limit >= inotifyRoom {
		return nil
	}
	return []string{fmt.Sprintf("no room for more than about %d nodes at a time: fs.inotify.max_user_instances is %d, and a node takes some %d",
		limit/inotifyNode, limit, inotifyNode)}
}

// describeClusters lists the clusters that are the lab's, or may be.
func (d *Driver) describeClusters() []string {
	names, err := newProvider(func(string) {}).List()
	if err != nil {
		return []string{"cannot list the clusters: " + err.Error()}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for _, name := range names {
		switch d.ownershipOf(name) {
		case orphaned:
			lines = append(lines, "cluster "+name+" was left by a lab that has ended: rollout-lab clean removes it")
		case own, shared:
			lines = append(lines, "cluster "+name+" is there for this lab or another")
		case unrelated:
			lines = append(lines, "cluster "+name+" is somebody else's")
		}
	}
	return lines
}
