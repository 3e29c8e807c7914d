package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

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
		{"its own", mine, nil, nil, ExitPass},
		{"its own, with trouble on the way", mine, nil, failed, ExitPass}, // judged first, told after
		{"unreadable", nil, unreadable, nil, ExitEnvironment},
		{"another run's", other, nil, nil, ExitEnvironment},
		{"another run's, because it never began", other, nil, &environmentError{failed, ""}, ExitEnvironment},
		{"none, because it never began", nil, unreadable, &environmentError{failed, ""}, ExitEnvironment},
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

func TestDriversThatUsersCouldNotTellApartAreRefused(t *testing.T) {
	made := func(io.Writer) (drivers.Driver, error) { return nil, errors.New("is never made") }
	flags := func(name string) func(*flag.FlagSet) {
		return func(fs *flag.FlagSet) { fs.String(name, "", "") }
	}
	for _, tc := range []struct {
		name    string
		drivers []Driver
		want    string
	}{
		{"none", nil, "no driver"},
		{"no name", []Driver{{New: made}}, "a name of its own"},
		{"no constructor", []Driver{{Name: "a"}}, "a name of its own"},
		{"twice", []Driver{{Name: "a", New: made}, {Name: "a", New: made}}, "a name of its own"},
		{"a flag of everybody's", []Driver{{Name: "a", New: made, Flags: flags("image")}}, "--image does not begin"},
	} {
		var stderr strings.Builder
		code := Main(t.Context(), []string{"list"}, Streams{Out: io.Discard, Err: &stderr}, tc.drivers...)
		if code == ExitPass || !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: exit code %d, %q, want it to say %q", tc.name, code, stderr.String(), tc.want)
		}
	}
	var stdout, stderr strings.Builder
	good := Driver{Name: "a", New: made, Flags: flags("a-image")}
	if code := Main(t.Context(), []string{"run", "--help"}, Streams{Out: &stdout, Err: &stderr}, good); code != ExitPass || !strings.Contains(stdout.String(), "--a-image") {
		t.Errorf("exit code %d %q, the help lacks the driver's flag:\n%s", code, stderr.String(), stdout.String())
	}
}

// absent is a driver that cannot run here.
type absent struct{ drivers.Driver }

func (absent) Name() string { return "a" }
func (absent) Check(context.Context) error {
	return &drivers.HintError{Err: fmt.Errorf("%w: no engine", drivers.ErrUnavailable), Hint: "start it"}
}

func TestTheDoctorSaysOnceThatADriverIsNotThere(t *testing.T) {
	var stdout, stderr strings.Builder
	d := Driver{Name: "a", New: func(io.Writer) (drivers.Driver, error) { return absent{}, nil }}
	if code := Main(t.Context(), []string{"doctor"}, Streams{Out: &stdout, Err: &stderr}, d); code != ExitEnvironment {
		t.Errorf("exit code %d, want %d", code, ExitEnvironment)
	}
	if want := "driver a         not available: no engine\n  hint: start it\n"; !strings.HasSuffix(stdout.String(), want) {
		t.Errorf("got %q, want %q at its end", stdout.String(), want)
	}
}

// A fail is told by the exit code whatever else went wrong, as results.json says it is.
func TestTroubleBesideAFailHidesNoFail(t *testing.T) {
	trouble := &environmentError{errors.New("driver docker: no engine"), ""}
	for _, tc := range []struct {
		verdict judge.Verdict
		err     error
		flags   string
		want    int
	}{
		{judge.Fail, nil, "", ExitFail}, {judge.Fail, trouble, "", ExitFail}, {judge.Fail, errors.Join(errInterrupted, trouble), "", ExitInterrupted},
		{judge.Inconclusive, trouble, "", ExitEnvironment}, {judge.Pass, trouble, "", ExitEnvironment}, {judge.Pass, nil, "", ExitPass},
		{judge.Fail, trouble, "--fail-on=never", ExitEnvironment}, {judge.Inconclusive, trouble, "--inconclusive=warn", ExitEnvironment},
		{judge.Fail, trouble, "--fail-on=regression", ExitEnvironment}, // it has no comparison
	} {
		p := policyOf(t, tc.flags)
		if got := report(p.ending(&judge.Run{Verdict: tc.verdict}, tc.err), io.Discard); got != tc.want {
			t.Errorf("%s and %v %s: exit code %d, want %d", tc.verdict, tc.err, tc.flags, got, tc.want)
		}
	}
}

// policyOf are flags as a command reads them.
func policyOf(t *testing.T, flags string) *policy {
	t.Helper()
	p, fl := &policy{}, pflag.NewFlagSet("run", pflag.ContinueOnError)
	p.register(fl)
	if err := fl.Parse(strings.Fields(flags)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestVerdictsHaveExitCodes(t *testing.T) {
	for _, tc := range []struct {
		flags                         string
		pass, fail, inconclusive, non int
	}{
		{"", ExitPass, ExitFail, ExitInconclusive, ExitInconclusive},
		{"--fail-on=gate --inconclusive=fail", ExitPass, ExitFail, ExitInconclusive, ExitInconclusive},
		{"--inconclusive=warn", ExitPass, ExitFail, ExitPass, ExitPass},
		{"--fail-on=never", ExitPass, ExitPass, ExitPass, ExitPass},
	} {
		p := policyOf(t, tc.flags)
		for verdict, want := range map[judge.Verdict]int{judge.Pass: tc.pass, judge.Fail: tc.fail, judge.Inconclusive: tc.inconclusive, "": tc.non} {
			if got := report(p.verdictOf(&judge.Run{Verdict: verdict}), io.Discard); got != want {
				t.Errorf("%s verdict %q: exit code %d, want %d", tc.flags, verdict, got, want)
			}
		}
	}
}

func TestARegressionIsMoreThanALimitThatWasMissed(t *testing.T) {
	gate := func(g record.Gate, v judge.Verdict, implicit bool) judge.Run {
		return judge.Run{Verdict: judge.Fail, Gates: []judge.GateResult{{Gate: g, Verdict: v, Implicit: implicit}}, Reasons: []judge.Reason{{Kind: judge.GateMissed}}}
	}
	limitAnd := func(g record.Gate, v judge.Verdict) judge.Run {
		run := gate(record.Gate{}, judge.Fail, false)
		run.Gates = append(run.Gates, judge.GateResult{Gate: g, Verdict: v})
		return run
	}
	because := func(kind judge.Kind) judge.Run {
		return judge.Run{Verdict: judge.Fail, Reasons: []judge.Reason{{Kind: kind}}}
	}
	against := record.Gate{Against: record.PastRuns}
	for name, tc := range map[string]struct {
		run  judge.Run
		want int
	}{
		"a limit, and nothing compared": {gate(record.Gate{}, judge.Fail, false), ExitInconclusive},
		"a limit, and no baseline":      {limitAnd(against, judge.Inconclusive), ExitInconclusive},
		"a limit, and no worse":         {limitAnd(against, judge.Pass), ExitPass},
		"a limit, and what only warns":  {limitAnd(record.Gate{Against: record.PastRuns, Warn: true}, judge.Pass), ExitInconclusive},
		"a baseline":                    {gate(against, judge.Fail, false), ExitFail},
		"another design":                {gate(record.Gate{Against: "main"}, judge.Fail, false), ExitFail},
		"a baseline that is no worse":   {gate(against, judge.Pass, false), ExitPass},
		"an action that never ended":    {gate(record.Gate{}, judge.Fail, true), ExitFail},
		"a target that failed":          {because(judge.TargetFailed), ExitFail},
		"a target that never came up":   {because(judge.DeployFailed), ExitFail},
		"an inconclusive run is not so": {judge.Run{Verdict: judge.Inconclusive}, ExitInconclusive},
	} {
		if got := report(policyOf(t, "--fail-on=regression").verdictOf(&tc.run), io.Discard); got != tc.want {
			t.Errorf("%s: exit code %d, want %d", name, got, tc.want)
		}
	}
}

// Whoever ends a job in a pipeline sends SIGINT, a few seconds later SIGTERM, and a few later
// still SIGKILL: the second one must not cut off the cleaning up.
func TestAnotherSignalSoonAfterIsTheSameWish(t *testing.T) {
	for _, tc := range []struct {
		name   string
		second os.Signal
		after  time.Duration
		quits  bool
	}{
		{"another, soon", syscall.SIGTERM, 7500 * time.Millisecond, false},
		{"another, late", syscall.SIGTERM, 11 * time.Second, true},
		{"the same, a second later", os.Interrupt, time.Second, true},
		{"the same, sent to the group as well", os.Interrupt, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				code := -1
				ctx, stop := interruptedBy(t.Context(), signals, io.Discard, func(c int) { code = c })
				signals <- os.Interrupt
				synctest.Wait()
				if context.Cause(ctx) != errInterrupted {
					t.Errorf("the first signal ended the context with %v", context.Cause(ctx))
				}
				time.Sleep(tc.after)
				signals <- tc.second
				synctest.Wait()
				stop()
				if want := map[bool]int{true: ExitInterrupted, false: -1}[tc.quits]; code != want {
					t.Errorf("exit code %d, want %d", code, want)
				}
			})
		})
	}
}

func TestVars(t *testing.T) {
	t.Setenv("MY_TOKEN", "from-env")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars, secret, err := parseVars([]string{"a=1", "b=@" + file, "c=env:MY_TOKEN", "d=@@home", "e="})
	want := map[string]string{"a": "1", "b": "from-file", "c": "from-env", "d": "@home", "e": ""}
	if err != nil || !maps.Equal(vars, want) {
		t.Errorf("got %v, %v, want %v", vars, err, want)
	}
	for name, is := range map[string]bool{"a": false, "b": true, "c": true, "d": false} {
		if secret[name] != is {
			t.Errorf("%s is a secret: %t, want %t", name, secret[name], is)
		}
	}
	for _, bad := range [][]string{{"a"}, {"=1"}, {"a=1", "a=2"}, {"a=@" + file + ".not"}, {"a=env:MY_NOTHING"}} {
		if _, _, err := parseVars(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// A message that quotes a value quotes no secret.
func TestMessagesHoldNoSecret(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MY_TOKEN", "not-a-path")
	scenario := filepath.Join(dir, "s.yaml")
	text := "name: s\nvars: {p: /}\ntarget: {exec: ./x, request: {path: \"${p}\"}}\nreplicas: 1\nload: {rate: 10}\n" +
		"phases: {baseline: {from: 0s, to: 1s}, window: {from: 1s, to: 2s}}\naction: {kind: none}\ndesigns: [{name: d, signal: {kind: none}}]\n"
	if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	made := func(io.Writer) (drivers.Driver, error) { return nil, errors.New("is never made") }
	check := func(command, arg, value string, wantCode int, want string) {
		t.Helper()
		t.Setenv("MY_TOKEN", value)
		var out strings.Builder
		got := Main(t.Context(), []string{command, scenario, "--var", arg}, Streams{Out: &out, Err: &out}, Driver{Name: "a", New: made})
		if got != wantCode || !strings.Contains(out.String(), want) || value != "" && strings.Contains(out.String(), value) {
			t.Errorf("%s --var %s: exit code %d, %s, want %d and %q", command, arg, got, out.String(), wantCode, want)
		}
	}
	const secret, bad = "p=env:MY_TOKEN", "target.request.path must begin with / and hold no spaces: ***"
	check("run", secret, "not-a-path", ExitUsage, bad)
	check("validate", secret, "not-a-path", ExitUsage, bad)
	check("run", secret, "/ab", ExitUsage, "the secret in variable p has 3 bytes")
	check("validate", secret, "/abc-is-fine", ExitPass, ": ok (")
	check("validate", "p=/", "", ExitPass, ": ok (") // what is none may be as short as it likes
}
