//go:build unix

package fault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// byHand runs a fault of commands, each a line for a shell, on a file that is their fault.
func byHand(t *testing.T, ctx context.Context, inject, heal, proof string) (lines []string, there bool) {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "broken")
	sh := func(script string) []string { return []string{"sh", "-c", strings.ReplaceAll(script, "FILE", file)} }
	var mu sync.Mutex
	p := Plan{
		Faults: []scenarios.Fault{{Kind: scenarios.CommandFault, Name: "mine", For: time.Second, Inject: sh(inject), Heal: sh(heal), Proof: sh(proof)}},
		Base:   time.Now(), Folder: folder,
		Event: func(e record.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == record.FaultInjected {
				e.Detail = ""
			}
			lines = append(lines, strings.TrimSpace(string(e.Kind)+" "+e.Detail))
		},
	}
	p.Run(ctx)
	_, err := os.Stat(file)
	return lines, err == nil
}

func TestAFaultByCommands(t *testing.T) {
	const (
		make  = "touch FILE"
		undo  = "rm -f FILE"
		there = "if test -e FILE; then echo it is broken; else echo it is whole; exit 1; fi"
	)
	for _, tt := range []struct {
		name, inject, heal, proof string
		want                      []string
		left                      bool
	}{
		{"good", make, undo, there, []string{"fault_injected", "fault_proven it is broken", "fault_healed it is whole"}, false},
		{"without words", make, undo, "test -e FILE", []string{"fault_injected", "fault_proven sh ended with exit status 0", "fault_healed sh ended with exit status 1"}, false},
		{"one that does nothing", "true", undo, there, []string{"fault_injected", "fault_error nothing else says that it was there: it is whole", "fault_healed it is whole"}, false},
		{"one that fails half way", make + "; echo oh >&2; exit 7", undo, there, []string{"fault_error inject: the command inject: exit status 7; last output: oh"}, false},
		{"a healing that fails", make, "echo stuck; exit 1", there, []string{"fault_injected", "fault_proven it is broken", "fault_error heal: the command heal: exit status 1; last output: stuck"}, true},
		{"a proof that fails", make, undo, "echo what; exit 2", []string{
			"fault_injected", "fault_error nothing else says that it was there: the command proof: exit status 2; last output: what",
			"fault_error still there 5s after it was healed: the command proof: exit status 2; last output: what",
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines, left := byHand(t, t.Context(), tt.inject, tt.heal, tt.proof)
			told(t, lines, tt.want...)
			if left != tt.left {
				t.Errorf("left behind: %v, want %v", left, tt.left)
			}
		})
	}
}

// Whatever a command that is cut short has done, the other one takes back.
func TestACommandThatIsCutShortIsHealed(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	var lines []string
	var left bool
	var all sync.WaitGroup
	begun := filepath.Join(t.TempDir(), "begun")
	if err := syscall.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Go(func() {
		lines, left = byHand(t, ctx, "touch FILE; echo > "+begun+"; exec sleep 60", "rm -f FILE", "test -e FILE")
	})
	if _, err := os.ReadFile(begun); err != nil { // it waits for the command
		t.Fatal(err)
	}
	cancel(errors.New("enough"))
	all.Wait()
	if left || len(lines) != 1 || !strings.Contains(lines[0], "enough") {
		t.Errorf("left behind: %v; %q", left, lines)
	}
}
