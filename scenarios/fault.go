package scenarios

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FaultKind is something bad that happens to what is measured.
type FaultKind string

// The kinds of faults. The first group is the runtime's business, the second is done between
// the subject and what it depends on, the third is what the reference proxy can be told to do.
const (
	Kill      FaultKind = "kill"
	Pause     FaultKind = "pause"
	CPU       FaultKind = "cpu"
	Evict     FaultKind = "evict"
	NodeDrain FaultKind = "node-drain"

	Outage  FaultKind = "outage"
	Network FaultKind = "network"

	BadRevision FaultKind = "revision"
	Stall       FaultKind = "stall"
	BadConfig   FaultKind = "bad-config"
	Revoke      FaultKind = "revoke"
	SlowCheck   FaultKind = "slow-check"
	Deadlock    FaultKind = "deadlock"
	DataDead    FaultKind = "data-dead"
	Flap        FaultKind = "flap"

	CommandFault FaultKind = "command" // of the user's own
)

// The modes of an outage, and those of a revision that misbehaves.
const (
	Refuse     = "refuse"
	Blackhole  = "blackhole"
	KillNoBack = "kill"

	NeverReady      = "never-ready"
	CrashAtStart    = "crash-at-start"
	CrashAfterReady = "crash-after-ready"
	WrongAnswers    = "wrong-answers"
)

// Fault is something bad that is done to a trial beside its action. What each key means is in
// its declaration; At counts from the planned start of the window.
type Fault struct {
	Kind FaultKind     `yaml:"kind,required" words:"kill pause cpu outage network evict node-drain revision stall bad-config revoke slow-check deadlock data-dead flap command" doc:"what is done"`
	Name string        `yaml:"name" form:"slug" doc:"what results call it; its kind without it, then kind-2 and so on"` // never "" once it is read
	At   time.Duration `yaml:"at" kinds:"kill pause cpu outage network evict node-drain stall bad-config revoke slow-check deadlock data-dead flap command" doc:"from the planned start of the window"`
	For  time.Duration `yaml:"for,required" kinds:"pause cpu outage network node-drain stall bad-config slow-check deadlock data-dead flap command" above:"0s" hint:"how long it lasts, such as for: 4s" doc:"how long it lasts; then it is healed"`

	Instances string `yaml:"instances" kinds:"kill pause cpu evict node-drain slow-check deadlock data-dead flap" form:"instances" default:"1" hint:"a number, a percentage such as 50%, all, oldest, newest, or first-new" doc:"what it is done to: so many instances, the oldest ready ones; a percentage of them, rounded up; all; oldest; newest; first-new, the first one of the revision after. node-drain: the nodes that they run on"`
	Service   string `yaml:"service,required" kinds:"outage network" words:"upstream control" hint:"upstream or control" doc:"the dependency of the target"`

	// What the words mean depends on the kind, see checkMode.
	Mode    string        `yaml:"mode,omitempty" kinds:"outage revision" words:"refuse blackhole kill never-ready crash-at-start crash-after-ready wrong-answers" doc:"outage: refuse (connections are refused, the default), blackhole (nothing is answered) or kill (the dependency ends); revision: never-ready, crash-at-start, crash-after-ready or wrong-answers"`
	Toxic   string        `yaml:"toxic,required" kinds:"network" words:"latency bandwidth reset blackhole slicer" hint:"latency, bandwidth, reset, blackhole or slicer" doc:"network: what happens to the connections"`
	Latency time.Duration `yaml:"latency,omitempty" kinds:"network" doc:"network with toxic latency: added to every answer"`
	Jitter  time.Duration `yaml:"jitter,omitempty" kinds:"network" doc:"network with toxic latency: so much more or less, at random"`
	Rate    int           `yaml:"rate,omitempty" kinds:"network" min:"0" max:"10485760" hint:"KiB a second" doc:"network with toxic bandwidth: KiB a second and connection"`
	Share   float64       `yaml:"share,required" kinds:"cpu" form:"share" above:"0" max:"1" hint:"such as 10%" doc:"cpu: of one processor"`

	Inject []string `yaml:"inject,inherited" kinds:"command" hint:"a program and its arguments" doc:"command: a program and its arguments that inject it"`
	Heal   []string `yaml:"heal,inherited" kinds:"command" hint:"a program and its arguments" doc:"command: what takes it back"`
	Proof  []string `yaml:"proof,inherited" kinds:"command" hint:"a program that exits with 0 while the fault is there and with 1 while it is not" doc:"command: exits with 0 while the fault is there and with 1 while it is not; its last lines are shown"`
}

// Lasts says whether the fault is there until it is healed. A revision that misbehaves stays
// until another takes its place, and any other one is over as soon as it has happened.
func (f *Fault) Lasts() bool { return fieldOf[Fault]("for").means(string(f.Kind)) }

// ToInstances says whether it is done to instances of the subject.
func (f *Fault) ToInstances() bool { return fieldOf[Fault]("instances").means(string(f.Kind)) }

// Target says what it is done to, for people.
func (f *Fault) Target() string {
	switch {
	case f.ToInstances():
		return f.Selection().String()
	case f.Service != "":
		return f.Service
	}
	return map[FaultKind]string{
		Stall: "the stream of control", BadConfig: "the configuration", Revoke: "sessions", BadRevision: "the revision after",
	}[f.Kind]
}

// How says how it is done, for people; "" where its kind says it all.
func (f *Fault) How() string {
	switch {
	case f.Kind == CPU:
		return percent(f.Share) + " of a processor"
	case f.Kind == CommandFault:
		return strings.Join(f.Inject, " ")
	case f.Latency > 0 && f.Jitter > 0:
		return fmt.Sprintf("%s %v ± %v", f.Toxic, f.Latency, f.Jitter)
	case f.Latency > 0:
		return fmt.Sprintf("%s %v", f.Toxic, f.Latency)
	case f.Rate > 0:
		return fmt.Sprintf("%s %d KiB/s", f.Toxic, f.Rate)
	}
	return f.Mode + f.Toxic
}

// Which instances a selection is of.
type Which string

// The ways to select instances.
const (
	SomeInstances Which = "some" // so many, or such a share, of the ready ones, the oldest first
	AllInstances  Which = "all"
	Oldest        Which = "oldest"
	Newest        Which = "newest"
	FirstNew      Which = "first-new" // the first one of the revision after the action
)

// Selection says which instances a fault is done to.
type Selection struct {
	Which Which
	N     int     // some: how many, 0 where Share says it
	Share float64 // some: of those that there are, rounded up
}

// String says it, for people.
func (s Selection) String() string {
	switch {
	case s.Share > 0:
		return percent(s.Share) + " of the instances"
	case s.Which == SomeInstances && s.N == 1:
		return "one instance"
	case s.Which == SomeInstances:
		return fmt.Sprintf("%d instances", s.N)
	case s.Which == AllInstances:
		return "all instances"
	case s.Which == FirstNew:
		return "the first new instance"
	}
	return fmt.Sprintf("the %s instance", s.Which)
}

var fewInstances = regexp.MustCompile(`^[1-9][0-9]{0,2}$`)

// selection reads what a scenario says of instances.
func selection(text string) (s Selection, ok bool) {
	word := Which(text)
	digits, percentage := strings.CutSuffix(text, "%")
	switch {
	case slices.Contains([]Which{AllInstances, Oldest, Newest, FirstNew}, word):
		return Selection{Which: word}, true
	case percentage && decimal.MatchString(digits):
		v, err := strconv.ParseFloat(digits, 64)
		return Selection{Which: SomeInstances, Share: v / 100}, err == nil && v > 0 && v <= 100
	case fewInstances.MatchString(text):
		n, err := strconv.Atoi(text)
		return Selection{Which: SomeInstances, N: n}, err == nil && n <= 100
	}
	return Selection{}, false
}

// Selection is what the fault's instances say.
func (f *Fault) Selection() Selection {
	s, _ := selection(f.Instances) // it has been checked
	return s
}

// Of is how many of so many instances are selected.
func (s Selection) Of(n int) int {
	switch {
	case s.Which == AllInstances:
		return n
	case s.Share > 0:
		return min(n, int(math.Ceil(s.Share*float64(n)-1e-9)))
	case s.Which == SomeInstances:
		return min(n, s.N)
	}
	return min(n, 1)
}

// completeFaults gives faults the names and modes that nobody has said.
func (s *Scenario) completeFaults() {
	taken := map[string]bool{}
	for _, f := range s.Faults {
		taken[f.Name] = true
	}
	for i := range s.Faults {
		f := &s.Faults[i]
		if f.Kind == Outage && f.Mode == "" {
			f.Mode = Refuse
		}
		for n := 1; f.Name == "" && f.Kind != ""; n++ {
			name := string(f.Kind)
			if n > 1 {
				name += "-" + strconv.Itoa(n)
			}
			if !taken[name] {
				f.Name = name
				taken[name] = true
			}
		}
	}
}
