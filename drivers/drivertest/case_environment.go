package drivertest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// givenByRuntimes are patterns of the variables that a runtime gives to any program that it
// runs, whoever asks it to.
var givenByRuntimes = []string{
	"PATH", "HOME", "HOSTNAME", "USER", "LOGNAME", "SHELL", "PWD", "TERM", "LANG", "LC_*", "container",
	"KUBERNETES_*",
	"NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_*", "MANAGERPID*", "MEMORY_PRESSURE_*",
}

// testEnvironment: a program of somebody else's finds in its environment what its service asks
// for and what the runtime itself gives, and nothing of the lab's. A variable that changes how
// a program runs would change what is measured.
func testEnvironment(t testing.TB, h Harness) {
	if h.SomebodyElses == nil {
		t.Skip("the driver runs no program but its own")
	}
	b := h.Deploy(t, replicas(1), func(s *drivers.Stack) {
		// It does not ask for its ID, which some runtimes have to put into the environment.
		s.Subject.Args = []string{"-data", "${listen.data}", "-health", "${listen.health}", "-instance", "it"}
		s.Subject.Env["DRIVERTEST_REVISION"] = "${revision}"
		h.SomebodyElses(t, &s.Subject)
	})
	asked := map[string]string{}
	for name, value := range b.Stack.Subject.Env {
		asked[name] = value
	}
	asked["DRIVERTEST_REVISION"] = before
	for _, i := range b.Instances() {
		var text string
		b.Must("ask for the environment", func(context.Context) (err error) {
			text, err = Get("http://" + i.Addr + environPath)
			return err
		})
		got := map[string]string{}
		for _, variable := range strings.Split(text, "\x00") {
			name, value, _ := strings.Cut(variable, "=")
			got[name] = value
			if !mayHave(asked, name, value) {
				t.Errorf("%s has %s in its environment, which neither its service nor the runtime asks for", i.ID, variable)
			}
		}
		for name, want := range asked {
			if value, ok := got[name]; !ok || value != want {
				t.Errorf("%s has %s=%q in its environment, want %q", i.ID, name, value, want)
			}
		}
	}
}

// mayHave says whether a program may have a variable: one that is asked for, one that a
// runtime gives, or one that the lab itself was started with, as its children are.
func mayHave(asked map[string]string, name, value string) bool {
	if want, ok := asked[name]; ok {
		return value == want
	}
	if strings.HasPrefix(name, "ROLLOUT_LAB_") {
		return false
	}
	for _, pattern := range givenByRuntimes {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	own, ok := os.LookupEnv(name)
	return ok && own == value
}

// environPath is where the target tells its environment.
const environPath = "/environ"

func tellEnviron(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, strings.Join(os.Environ(), "\x00"))
}
