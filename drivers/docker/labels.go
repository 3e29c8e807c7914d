package docker

import (
	"maps"

	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// The labels of what the driver creates, beside those of every run.
const (
	labelDeployment = dockerengine.LabelPrefix + "deployment"
	labelService    = dockerengine.LabelPrefix + "service"
	labelRole       = dockerengine.LabelPrefix + "role"
	labelInstance   = dockerengine.LabelPrefix + "instance"
	labelRevision   = dockerengine.LabelPrefix + "revision"
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
