package kind

import (
	"context"
	"slices"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
	"github.com/rollout-lab/rollout-lab/drivers/program"
)

// Support implements drivers.Supporter.
func (d *Driver) Support() drivers.Support {
	return kubernetes.SupportOf((&cluster{}).config(d.config, ""))
}

// Examine implements drivers.Examiner: a program must be static to be put into an image, and an
// image that the local engine does not have is left to the nodes to pull.
func (d *Driver) Examine(ctx context.Context, stack drivers.Stack) []drivers.Finding {
	out := drivers.ExamineExec(stack)
	engine, err := dial(ctx)
	if err != nil {
		return out
	}
	defer engine.Close()
	var seen []string
	for _, s := range stack.Services() {
		if s.Exec != "" && len(out) == 0 && !slices.Contains(seen, s.Exec) {
			seen = append(seen, s.Exec)
			if err := (program.Source{Path: s.Exec}).Static(engine.Arch); err != nil {
				out = append(out, drivers.Finding{Feature: "exec", Message: "program " + s.Exec + " cannot be put into an image: " + err.Error(), Hint: "build it with CGO_ENABLED=0", Fatal: true})
			}
		}
		if s.Image == "" || slices.Contains(seen, s.Image) {
			continue
		}
		seen = append(seen, s.Image)
		if has, err := engine.HasImage(ctx, s.Image); err == nil && !has {
			out = append(out, drivers.Finding{Feature: "image", Message: "the engine has no image " + s.Image + ", and the nodes will try to pull it", Hint: "build it, or load it with docker load, if no registry has it"})
		}
	}
	return out
}
