package scenarios

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// faulty is the good scenario with faults, each on a line of its own, from line 25 on.
func faulty(action string, faults ...string) string {
	text := strings.Replace(good, "action:\n  kind: rollout\n  timeout: 60s\n", "action: "+action+"\nfaults:\n  - "+strings.Join(faults, "\n  - ")+"\n", 1)
	return text
}

// firstFault is the line of the first fault in such a scenario.
const firstFault = 25

func TestFaultsAreReadAndWrittenOut(t *testing.T) {
	text := faulty("{kind: rollout}",
		"{kind: kill, at: 2s}",
		"{kind: pause, at: 4s, for: 4s, instances: newest}",
		"{kind: pause, at: 4s, for: 4s, instances: oldest}",
		"{kind: cpu, at: 9s, for: 2s, instances: 50%, share: 10%}",
		"{kind: outage, for: 3s, service: control}",
		"{kind: network, for: 3s, service: upstream, toxic: latency, latency: 2s, jitter: 200ms}",
		"{kind: network, at: 3s, for: 3s, service: upstream, toxic: bandwidth, rate: 10}",
		"{kind: revision, mode: never-ready}",
		"{kind: command, name: mine, for: 1s, inject: [a, \"$${x}\"], heal: [b], proof: [c]}",
	)
	s, err := Parse("a.yaml", []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	want := []Fault{
		{Kind: Kill, Name: "kill", At: 2 * time.Second, Instances: "1"},
		{Kind: Pause, Name: "pause", At: 4 * time.Second, For: 4 * time.Second, Instances: "newest"},
		{Kind: Pause, Name: "pause-2", At: 4 * time.Second, For: 4 * time.Second, Instances: "oldest"},
		{Kind: CPU, Name: "cpu", At: 9 * time.Second, For: 2 * time.Second, Instances: "50%", Share: .1},
		{Kind: Outage, Name: "outage", For: 3 * time.Second, Service: "control", Mode: Refuse},
		{Kind: Network, Name: "network", For: 3 * time.Second, Service: "upstream", Toxic: "latency", Latency: 2 * time.Second, Jitter: 200 * time.Millisecond},
		{Kind: Network, Name: "network-2", At: 3 * time.Second, For: 3 * time.Second, Service: "upstream", Toxic: "bandwidth", Rate: 10},
		{Kind: BadRevision, Name: "revision", Mode: NeverReady},
		{Kind: CommandFault, Name: "mine", For: time.Second, Inject: []string{"a", "${x}"}, Heal: []string{"b"}, Proof: []string{"c"}},
	}
	if diff := cmp.Diff(want, s.Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	again, err := Parse("a.yaml", []byte(s.Source), offered)
	if err != nil {
		t.Fatalf("its Source: %v\n%s", err, s.Source)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("its Source gives another scenario (-want +got):\n%s", diff)
	}
	for what, text := range map[string]string{"as written": text, "rendered": s.Source} {
		if err := compiled(t).Validate(asJSON(t, []byte(text))); err != nil {
			t.Errorf("the schema refuses it %s: %v", what, err)
		}
	}
	var said []string
	for _, f := range s.Faults {
		said = append(said, strings.TrimSpace(f.Target()+": "+f.How()))
	}
	if diff := cmp.Diff([]string{
		"one instance:", "the newest instance:", "the oldest instance:", "50% of the instances: 10% of a processor",
		"control: refuse", "upstream: latency 2s ± 200ms", "upstream: bandwidth 10 KiB/s",
		"the revision after: never-ready", ": a ${x}",
	}, said); diff != "" {
		t.Errorf("for people (-want +got):\n%s", diff)
	}
}

func TestBadFaults(t *testing.T) {
	const rollout, none = "{kind: rollout}", "{kind: none}"
	for _, tt := range []struct {
		name, action  string
		faults        []string
		line          int // of the faults, from 0
		message, hint string
		schema        bool
	}{
		{"no kind", none, []string{"{at: 1s}"}, 0, "faults[0].kind is missing", "", true},
		{"unknown kind", none, []string{"{kind: kil}"}, 0, "faults[0].kind must be one of kill, pause,", "did you mean kill?", true},
		{"no length", none, []string{"{kind: pause}"}, 0, "faults[0].for is missing", "such as for: 4s", false},
		{"length 0", none, []string{"{kind: pause, for: 0s}"}, 0, "faults[0].for must be longer than 0s", "how long it lasts", false},
		{"length of what is over at once", none, []string{"{kind: kill, for: 1s}"}, 0, "faults[0].for means nothing with kind: kill", "remove it", false},
		{"time of a revision", rollout, []string{"{kind: revision, mode: never-ready, at: 1s}"}, 0, "faults[0].at means nothing with kind: revision", "remove it", false},
		{"bad name", none, []string{"{kind: kill, name: A B}"}, 0, "bad name of a fault: ", "lower-case letters", true},
		{"name twice", none, []string{"{kind: kill, name: x}", "{kind: stall, for: 1s, name: x}"}, 1, "two faults are called x", "rename", false},
		{"no such instances", none, []string{"{kind: kill, instances: some}"}, 0, "faults[0].instances selects no instances: some", "a number, a percentage", true},
		{"no instances", none, []string{"{kind: kill, instances: 0}"}, 0, "selects no instances: 0", "", true},
		{"none of them", none, []string{"{kind: kill, instances: 0%}"}, 0, "selects no instances: 0%", "", false},
		{"more than all", none, []string{"{kind: kill, instances: 101%}"}, 0, "selects no instances: 101%", "", false},
		{"more than there are", none, []string{"{kind: kill, instances: 4}"}, 0, "faults[0].instances is 4, and there are 3", "fewer, or all", false},
		{"new one without a rollout", none, []string{"{kind: kill, instances: first-new}"}, 0, "the revision that a rollout leads to, and the action is none", "oldest, newest or a number", false},
		{"instances of a service", none, []string{"{kind: outage, for: 1s, service: control, instances: 1}"}, 0, "faults[0].instances means nothing with kind: outage", "", false},
		{"no service", none, []string{"{kind: outage, for: 1s}"}, 0, "faults[0].service is missing", "upstream or control", false},
		{"no such service", none, []string{"{kind: outage, for: 1s, service: controls}"}, 0, "faults[0].service must be one of upstream, control", "did you mean control?", true},
		{"mode of another kind", none, []string{"{kind: outage, for: 1s, service: control, mode: never-ready}"}, 0, "faults[0].mode: never-ready is not for kind: outage", "one of refuse, blackhole, kill", false},
		{"no mode of a revision", rollout, []string{"{kind: revision}"}, 0, "faults[0].mode is missing", "one of never-ready, crash-at-start", false},
		{"revision without a rollout", none, []string{"{kind: revision, mode: never-ready}"}, 0, "the action is none", "say action: {kind: rollout}", false},
		{"no toxic", none, []string{"{kind: network, for: 1s, service: control}"}, 0, "faults[0].toxic is missing", "latency, bandwidth", false},
		{"no latency", none, []string{"{kind: network, for: 1s, service: control, toxic: latency}"}, 0, "faults[0].latency is missing", "such as latency: 2s", false},
		{"latency of another toxic", none, []string{"{kind: network, for: 1s, service: control, toxic: reset, latency: 1s}"}, 0, "faults[0].latency is for toxic: latency, not for reset", "remove it", false},
		{"more jitter than latency", none, []string{"{kind: network, for: 1s, service: control, toxic: latency, latency: 1s, jitter: 2s}"}, 0, "is more than the latency of 1s", "make it shorter", false},
		{"no rate", none, []string{"{kind: network, for: 1s, service: control, toxic: bandwidth}"}, 0, "faults[0].rate is missing", "KiB a second", false},
		{"no share", none, []string{"{kind: cpu, for: 1s}"}, 0, "faults[0].share is missing", "such as 10%", false},
		{"share 0", none, []string{"{kind: cpu, for: 1s, share: 0%}"}, 0, "faults[0].share must be more than 0", "such as 10%", false},
		{"no proof", none, []string{"{kind: command, for: 1s, inject: [a], heal: [b]}"}, 0, "faults[0].proof is missing", "exits with 0 while the fault is there", false},
		{"empty heal", none, []string{"{kind: command, for: 1s, inject: [a], heal: [], proof: [c]}"}, 0, "faults[0].heal is empty", "a program and its arguments", false},
		{"behind the window", none, []string{"{kind: kill, at: 20s}"}, 0, "faults[0] begins at 20s, and the window lasts 20s", "earlier, or a longer window", false},
		{"longer than the window", none, []string{"{kind: pause, at: 10s, for: 11s}"}, 0, "faults[0] lasts until 21s of the window, which lasts 20s", "shorter, earlier", false},
		{"may stop a restart", "{kind: restart, may_stop: true}", []string{"{kind: kill}"}, -2, "action.may_stop is for kind: rollout, not for restart", "remove it", false},

		{"two of the same", none, []string{"{kind: pause, for: 2s}", "{kind: cpu, at: 1s, for: 2s, share: 10%}"}, 1, "faults[0] (pause) and faults[1] (cpu) are done to the same thing at the same time: one instance", "one after the other", false},
		{"a number and the oldest", none, []string{"{kind: kill}", "{kind: pause, for: 2s, instances: oldest}"}, 1, "one instance and the oldest instance may be the same", "", false},
		{"all and the newest", none, []string{"{kind: pause, for: 2s, instances: all}", "{kind: kill, at: 1s, instances: newest}"}, 1, "all instances and the newest instance may be the same", "", false},
		{"the newest and the first new", rollout, []string{"{kind: pause, for: 2s, instances: newest}", "{kind: kill, at: 1s, instances: first-new}"}, 1, "may be the same", "", false},
		{"a node and an end", none, []string{"{kind: node-drain, for: 2s, instances: newest}", "{kind: kill, at: 1s, instances: oldest}"}, 1, "may be the same", "", false},
		{"right behind a kill", none, []string{"{kind: kill}", "{kind: kill, at: 500ms}"}, 1, "faults[0] (kill) and faults[1] (kill-2)", "", false},
		{"one service", none, []string{"{kind: outage, for: 2s, service: control}", "{kind: network, at: 1s, for: 2s, service: control, toxic: reset}"}, 1, "the same thing at the same time: control", "", false},
		{"a stream and its service", none, []string{"{kind: stall, for: 2s}", "{kind: outage, at: 1s, for: 2s, service: control}"}, 1, "the same thing at the same time: control", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := faulty(tt.action, tt.faults...)
			_, err := Parse("bad.yaml", []byte(text), offered)
			var problems Errors
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want a problem", err)
			}
			first := problems[0]
			if len(problems) > 1 || first.Line != firstFault+tt.line || !strings.Contains(first.Message, tt.message) || !strings.Contains(first.Hint, tt.hint) {
				t.Errorf("want line %d, %q, hint %q; got:\n%v", firstFault+tt.line, tt.message, tt.hint, err)
			}
			if tt.schema {
				if err := compiled(t).Validate(asJSON(t, []byte(text))); err == nil {
					t.Error("the schema accepts it")
				}
			}
		})
	}
}

func TestFaultsThatDoNotMeet(t *testing.T) {
	for name, faults := range map[string][]string{
		"both ends":              {"{kind: pause, for: 2s, instances: oldest}", "{kind: pause, for: 2s, instances: newest}"},
		"one after the other":    {"{kind: pause, for: 2s}", "{kind: pause, at: 2s, for: 2s}"},
		"some time behind":       {"{kind: kill}", "{kind: kill, at: 1s}"},
		"an instance, a service": {"{kind: pause, for: 2s}", "{kind: outage, for: 2s, service: upstream}"},
		"two services":           {"{kind: outage, for: 2s, service: control}", "{kind: outage, for: 2s, service: upstream}"},
		"revoked under a stall":  {"{kind: stall, for: 2s}", "{kind: revoke, at: 1s}"},
		"a command":              {"{kind: pause, for: 2s}", "{kind: command, for: 2s, inject: [a], heal: [b], proof: [c]}"},
	} {
		if _, err := Parse("a.yaml", []byte(faulty("{kind: none}", faults...)), offered); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a target cannot have done to it is refused where the scenario says it.
func TestFaultsOfOtherTargets(t *testing.T) {
	own := strings.Replace(perDriver, "action: {kind: rollout}\n", "action: {kind: none}\nfaults: [FAULT]\n", 1)
	found := "name: found\ntarget: {url: \"http://127.0.0.1:1\"}\nload: {rate: 100}\nphases: {baseline: {from: 1s, to: 2s}}\naction: {kind: command, run: [a]}\ndesigns: [{name: it}]\nfaults: [FAULT]\n"
	const command = "{kind: command, for: 1s, inject: [a], heal: [b], proof: [c]}"
	for _, tt := range []struct{ name, text, fault, message, hint string }{
		{"own", own, "{kind: kill}", "", ""},
		{"own", own, "{kind: cpu, for: 1s, share: 50%}", "", ""},
		{"own", own, command, "", ""},
		{"own", own, "{kind: outage, for: 1s, service: control}", "a fault of kind outage is done to a dependency", "refproxy"},
		{"own", own, "{kind: network, for: 1s, service: upstream, toxic: reset}", "a fault of kind network is done to a dependency", "refproxy"},
		{"own", own, "{kind: deadlock, for: 1s}", "a fault of kind deadlock is something that the reference proxy can be told", "kill, pause, cpu, evict, node-drain, command"},
		{"found", found, command, "", ""},
		{"found", found, "{kind: kill}", "a fault of kind kill is done to what the lab has deployed", "say kind: command"},
	} {
		_, err := Parse("a.yaml", []byte(strings.Replace(tt.text, "FAULT", tt.fault, 1)), offered)
		var problems Errors
		switch errors.As(err, &problems); {
		case tt.message == "" && err != nil:
			t.Errorf("%s %s: %v", tt.name, tt.fault, err)
		case tt.message != "" && (len(problems) != 1 || problems[0].Line == 0 || !strings.Contains(problems[0].Message, tt.message) || !strings.Contains(problems[0].Hint, tt.hint)):
			t.Errorf("%s %s: got %v, want %q", tt.name, tt.fault, err, tt.message)
		}
	}
}

func TestHowManyInstancesAreSelected(t *testing.T) {
	for _, tt := range []struct {
		text    string
		of, got int
	}{
		{"1", 3, 1}, {"2", 3, 2}, {"5", 3, 3}, {"2", 0, 0},
		{"all", 3, 3}, {"all", 0, 0},
		{"50%", 3, 2}, {"50%", 4, 2}, {"1%", 3, 1}, {"100%", 3, 3}, {"33.4%", 3, 2}, {"60%", 5, 3}, {"50%", 0, 0},
		{"oldest", 3, 1}, {"newest", 3, 1}, {"first-new", 3, 1}, {"oldest", 0, 0},
	} {
		s, ok := selection(tt.text)
		if got := s.Of(tt.of); !ok || got != tt.got {
			t.Errorf("%s of %d: %d, %v; want %d", tt.text, tt.of, got, ok, tt.got)
		}
	}
}
