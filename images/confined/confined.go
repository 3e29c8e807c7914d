// Package confined runs commands that take everything they have started with them when
// they are cancelled: builders start processes and make mounts. It is no sandbox.
package confined

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Command is exec.CommandContext for such a command.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	confine(cmd)
	return cmd
}

// Run runs a command; one that fails keeps the end of what it has said in the error.
func Run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Args[0], err, tail(string(out)))
	}
	return nil
}

func tail(out string) string {
	const most = 20
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
