package docker

import (
	"maps"

	"github.com/docker/docker/api/types/filters"
)

// The labels of everything that the driver creates.
const (
	labelRun        = "dev.rollout-lab.run"
	labelOwner      = "dev.rollout-lab.owner" // the lab's process, see package owner
	labelDeployment = "dev.rollout-lab.deployment"
	labelService    = "dev.rollout-lab.service"
	labelRole       = "dev.rollout-lab.role"
	labelInstance   = "dev.rollout-lab.instance"
	labelRevision   = "dev.rollout-lab.revision"
)

// Roles of a container.
const (
	roleSubject    = "subject"
	roleDependency = "dependency"
)

// withLabels is a copy of labels with others added.
func withLabels(labels map[string]string, more ...string) map[string]string {
	out := maps.Clone(labels)
	for n := 0; n < len(more); n += 2 {
		out[more[n]] = more[n+1]
	}
	return out
}

// labelled is the filter for what carries a label; a value of "" means any.
func labelled(name, value string) filters.Args {
	if value != "" {
		name += "=" + value
	}
	return filters.NewArgs(filters.Arg("label", name))
}
