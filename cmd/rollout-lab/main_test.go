package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rollout-lab/rollout-lab/targets/refproxy"
)

// TestMain lets scripts run the program as `rollout-lab`, and lets the program re-execute
// itself as its target, as the real one does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == targetCommand {
		os.Exit(refproxy.Main(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){"rollout-lab": main})
}

func TestTheRepeatingCommandNamesNoFolder(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"run quickstart --out x", "run quickstart"},
		{"run --out=x quickstart --rate 5", "run quickstart --rate 5"},
		{"run quickstart", "run quickstart"},
		{"run --out x", "run"},
		{"run -- --out x", "run -- --out x"},
	} {
		if got := strings.Join(withoutOut(strings.Fields(tc.args)), " "); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.args, got, tc.want)
		}
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", RequireExplicitExec: true})
}
