//go:build linux

package process_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
)

func TestWhatAProcessCannotBeIsRefused(t *testing.T) {
	for what, mutate := range map[string]func(*drivers.Service){
		"an image":      func(s *drivers.Service) { s.Image = "i" },
		"fixed numbers": func(s *drivers.Service) { s.Fixed = map[string]int{"data": 80} },
		"holds":         func(s *drivers.Service) { s.Socket = true },
		"a limit":       func(s *drivers.Service) { s.Limits.CPUs = 0.5 },
		"a signal by a command": func(s *drivers.Service) {
			s.Signal = drivers.Probe{Kind: drivers.ProbeCommand, Command: []string{"true"}}
		},
		"a limit on memory": func(s *drivers.Service) { // and all others with it
			s.Image, s.Fixed, s.Socket, s.Limits.Memory = "i", map[string]int{"data": 80}, true, 1<<20
			s.Signal = drivers.Probe{Kind: drivers.ProbeImage}
		},
	} {
		stack := drivertest.NewStack(func(s *drivers.Stack) { mutate(&s.Subject) })
		env, err := newDriver(t).Deploy(t.Context(), stack)
		if err == nil {
			t.Errorf("%s: it was deployed", what)
			if err := env.Close(t.Context()); err != nil {
				t.Error(err)
			}
			continue
		}
		var hint *drivers.HintError
		if !errors.Is(err, drivers.ErrUnsupported) || !errors.As(err, &hint) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v, want ErrUnsupported that names it, with a hint", what, err)
		}
	}
}

// A program that is not there is a mistake in the scenario: the driver itself is fine.
func TestAProgramThatIsNotThereIsToldWithAHint(t *testing.T) {
	for _, program := range []string{"/no/such", "./no-such", "no-such-program", "/etc/passwd"} {
		stack := drivertest.NewStack(func(s *drivers.Stack) { s.Subject.Exec = program })
		env, err := newDriver(t).Deploy(t.Context(), stack)
		if err == nil {
			t.Errorf("%s: it was deployed", program)
			if err := env.Close(t.Context()); err != nil {
				t.Error(err)
			}
			continue
		}
		var hint *drivers.HintError
		if errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || !strings.Contains(hint.Hint, "exec") {
			t.Errorf("%s: got %v, want what is wrong with exec", program, err)
		}
	}
}
