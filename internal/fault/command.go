package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/command"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// Commands are those that a fault runs, none where it is not one of the user's own.
func Commands(f *scenarios.Fault) [][]string {
	if f.Kind != scenarios.CommandFault {
		return nil
	}
	return [][]string{f.Inject, f.Heal, f.Proof}
}

// injectCommand is the injector of what a command of the user's does.
func injectCommand(ctx context.Context, f scenarios.Fault, into Target) (drivers.Injection, error) {
	c := byCommand{fault: f, folder: into.Folder}
	if err := c.run(ctx, "inject", f.Inject); err != nil {
		// What it did before it failed only its author's other command takes back.
		undo, end := context.WithTimeout(context.WithoutCancel(ctx), healLimit)
		defer end()
		return nil, errors.Join(err, c.Heal(undo))
	}
	return c, nil
}

// byCommand is a fault that a command has injected.
type byCommand struct {
	fault  scenarios.Fault
	folder string
}

// file is where one of the fault's commands leaves what it says.
func (c byCommand) file(what string) string {
	return filepath.Join(c.folder, fmt.Sprintf("fault-%s-%s.log", c.fault.Name, what))
}

func (c byCommand) run(ctx context.Context, what string, argv []string) error {
	stop, err := command.Run(ctx, argv, c.file(what))
	stop()
	if err != nil {
		return fmt.Errorf("the command %s: %w", what, err)
	}
	return nil
}

// Proof runs the command that tells: of all its runs the last one's words are kept.
func (c byCommand) Proof(ctx context.Context) (seen string, there bool, err error) {
	if err := os.Remove(c.file("proof")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	err = c.run(ctx, "proof", c.fault.Proof)
	exit, ended := errors.AsType[*command.ExitError](err)
	if err != nil && (!ended || exit.Code != 1) {
		return "", false, err
	}
	if seen = command.Tail(c.file("proof")); seen == "" {
		seen = fmt.Sprintf("%s ended with exit status %d", c.fault.Proof[0], map[bool]int{true: 0, false: 1}[err == nil])
	}
	return seen, err == nil, nil
}

// Heal runs the command that takes it back.
func (c byCommand) Heal(ctx context.Context) error { return c.run(ctx, "heal", c.fault.Heal) }
