package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
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

func TestARunWithoutItsRecordIsNoPass(t *testing.T) {
	mine := &judge.Run{Record: record.Run{ID: "mine"}}
	other := &judge.Run{Record: record.Run{ID: "other"}}
	unreadable, failed := errors.New("unreadable"), errors.New("folder is not empty")
	for _, tc := range []struct {
		name            string
		judged          *judge.Run
		readErr, runErr error
		code            int
	}{
		{"its own", mine, nil, nil, exitPass},
		{"its own, with trouble on the way", mine, nil, failed, exitPass}, // judged first, told after
		{"unreadable", nil, unreadable, nil, exitEnvironment},
		{"another run's", other, nil, nil, exitEnvironment},
		{"another run's, because it never began", other, nil, &environmentError{failed, ""}, exitEnvironment},
		{"none, because it never began", nil, unreadable, &environmentError{failed, ""}, exitEnvironment},
	} {
		if got := report(ownRecord("mine", tc.judged, tc.readErr, tc.runErr), io.Discard); got != tc.code {
			t.Errorf("%s: exit code %d, want %d", tc.name, got, tc.code)
		}
	}
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
