package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rollout-lab/rollout-lab/scenarios"
	"github.com/rollout-lab/rollout-lab/targets/refproxy"
)

// TestMain lets scripts run the program as `rollout-lab`, and lets the program re-execute
// itself as its target, as the real one does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == targetCommand {
		os.Exit(refproxy.Main(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
	}
	testscript.Main(testsThen{m}, map[string]func(){"rollout-lab": main})
}

// atEnd is called when every test has ended.
var atEnd []func()

type testsThen struct{ m *testing.M }

func (t testsThen) Run() int {
	defer func() {
		for _, end := range atEnd {
			end()
		}
	}()
	return t.m.Run()
}

func TestScripts(t *testing.T) {
	// Scripts have a home of their own; what the compiler has built before is not built again.
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
			return nil
		},
	})
}

func TestDriversAreOfferedByTheirNames(t *testing.T) {
	for _, offered := range builtin() {
		d, err := offered.New(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if d.Name() != offered.Name {
			t.Errorf("driver %s is offered as %s", d.Name(), offered.Name)
		}
	}
}

// TestTheCatalogueNamesNoOtherDriver: a scenario, or a builtin design, that speaks of a
// driver by a wrong name would say nothing on any.
func TestTheCatalogueNamesNoOtherDriver(t *testing.T) {
	var offered scenarios.Options
	for _, d := range builtin() {
		offered.Drivers = append(offered.Drivers, d.Name)
	}
	for _, name := range scenarios.Names() {
		text, err := scenarios.Text(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenarios.Parse(name+".yaml", text, offered)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WithDesigns([]string{"none", "naive", "pull", "stack-aware", "fail-open"}); err != nil {
			t.Fatal(err)
		}
		if _, err := scenarios.Parse(name+".yaml", []byte(s.Source), offered); err != nil {
			t.Errorf("with the builtin designs: %v", err)
		}
	}
}
