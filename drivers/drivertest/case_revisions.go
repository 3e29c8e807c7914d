package drivertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// revisionVariable tells the target which revision somebody has made it.
const revisionVariable = "DRIVERTEST_MADE"

// variation is a revision of the target that can be told from others by its arguments and by
// its environment, whatever it is called.
func variation(s *drivers.Stack, name string) drivers.Variation {
	return drivers.Variation{
		Args: append(slices.Clone(s.Subject.Args), "-bad", "made-as-"+name+"@nobody"),
		Env:  map[string]string{targetEnv: "1", "GORACE": s.Subject.Env["GORACE"], revisionVariable: "as " + name},
	}
}

// testRevisions: a revision with a program, arguments and an environment of its own is
// what every instance of it runs, whatever started that; a rollout to the one before goes
// back to what that was; and there is no other one.
func testRevisions(t testing.TB, h Harness) {
	b := h.Deploy(t, func(s *drivers.Stack) {
		was, is := variation(s, before), variation(s, after)
		if h.SomebodyElses != nil {
			program := s.Subject
			program.Args = is.Args
			h.SomebodyElses(t, &program)
			is.Exec, is.Image, s.Subject.Fixed = program.Exec, program.Image, program.Fixed
		}
		s.Revisions = map[string]drivers.Variation{before: was, after: is}
		// What a revision runs is all in it: nothing of this may be left.
		s.Subject.Args = append(s.Subject.Args, "-bad", badExits)
		s.Subject.Env = map[string]string{"DRIVERTEST_LEFT": "from the subject"}
	})
	was := b.expect(2, before)
	b.madeAs(before)
	b.rollout(after)
	now := b.expect(2, after)
	replaced(b, was, now)
	b.madeAs(after)
	b.scale(3)
	b.expect(3, after)
	b.madeAs(after)
	b.Must("restart", b.Env.Restart)
	b.expect(3, after)
	b.madeAs(after)
	b.rollout(before)
	back := b.expect(3, before)
	b.madeAs(before)
	err := b.Env.Rollout(context.Background(), "v9")
	if !errors.Is(err, drivers.ErrNoRevision) {
		t.Errorf("rollout to a revision that the stack does not have: got %v, want ErrNoRevision", err)
	}
	if diff := cmp.Diff(back, b.expect(3, before)); diff != "" {
		t.Errorf("a rollout that was refused changed instances (-before +after):\n%s", diff)
	}
}

// madeAs demands that every instance has the arguments and the environment of a revision, and
// none of another one's.
func (b *Bench) madeAs(revision string) {
	b.Helper()
	for _, i := range b.Instances() {
		args, err := Get("http://" + i.Addr + argumentsPath)
		if err != nil {
			b.Errorf("ask %s for its arguments: %v", i.ID, err)
			continue
		}
		if made := strings.Count(args, "made-as-"); made != 1 || !strings.Contains(args, "made-as-"+revision+"@") {
			b.Errorf("%s of revision %s runs with the arguments %q, which are those of another one", i.ID, revision, args)
		}
		environ, err := Get("http://" + i.Addr + environPath)
		if err != nil {
			b.Errorf("ask %s for its environment: %v", i.ID, err)
			continue
		}
		all := strings.Split(environ, "\x00")
		if !slices.Contains(all, revisionVariable+"=as "+revision) || strings.Contains(environ, "DRIVERTEST_LEFT=") {
			b.Errorf("%s of revision %s has the environment of another one: %q", i.ID, revision, all)
		}
	}
}

// argumentsPath is where the target tells its arguments.
const argumentsPath = "/arguments"

func tellArguments(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, strings.Join(os.Args[1:], "\x00"))
}
