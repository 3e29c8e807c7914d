package kubernetes

import (
	"context"
	"fmt"
)

// Describe implements drivers.Describer: it says, for people, which cluster it is and what labs that have ended have left in
// it, a line for each. It changes nothing. A line about something that is wrong begins with
// "no" or "cannot".
func (d *Driver) Describe(ctx context.Context) []string {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	c, err := d.connect()
	if err != nil {
		return []string{"no cluster: " + oneLine(err.Error())}
	}
	where := "a namespace for each deployment"
	if d.config.Namespace != "" {
		where = "namespace " + d.config.Namespace
	}
	lines := []string{fmt.Sprintf("Kubernetes %s, in %s", d.Version(ctx), where)}
	if d.config.Image == "" && d.config.Pack == nil {
		lines = append(lines, "no image of the lab's program (--kubernetes-image): only targets of your own can run")
	}
	left, err := d.orphans(ctx, c, "")
	if err != nil {
		return append(lines, "cannot check for orphaned resources: "+oneLine(err.Error()))
	}
	return append(lines, fmt.Sprintf("%d orphaned resources of labs that have ended", len(left)))
}
