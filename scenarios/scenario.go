// Package scenarios is the catalogue of experiments and the typed form of one: the
// strict loader, the JSON Schema, and the scenarios that come embedded. It reads files
// and does no other I/O.
package scenarios

import (
	"reflect"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Scenario names a target, a load, one action and the gates. Every field is filled in
// and checked once Load or Parse has returned it.
//
// A field is declared here and nowhere else: its tags say how it is read, checked, written
// out and described, see field.
type Scenario struct {
	Name  string            `yaml:"name,required" form:"slug" doc:"1 to 40 lower-case letters, digits and dashes"`
	Suite string            `yaml:"suite,omitempty" form:"slug" doc:"the suite that it belongs to, which is run and reported together"`
	About string            `yaml:"about" form:"prose" doc:"what it shows, in two or three lines"`
	Vars  map[string]string `yaml:"vars" keys:"variable" doc:"defaults of ${name}; overridden by --var"`

	Target   Target          `yaml:"target,required" doc:"the service under test: the reference proxy, or a custom target"`
	Limits   Limits          `yaml:"limits" doc:"what one instance of the subject may use at most" deployed:"say it as resources in the manifests" address:"nothing is deployed there"`
	Replicas int             `yaml:"replicas,required" min:"1" max:"100" doc:"instances of the subject, before the action" address:"how many answer there is not known"`
	Load     Traffic         `yaml:"load,required" doc:"the open-loop load"`
	Phases   Phases          `yaml:"phases,required" doc:"stretches of the load, from its start"`
	Action   Action          `yaml:"action,required" doc:"the one disruptive thing that a trial does"`
	Faults   []Fault         `yaml:"faults" doc:"what goes wrong beside the action, each proven and each undone"`
	Rolling  drivers.Rolling `yaml:"rolling" min:"0" max:"100" default:"{max_surge: 1}" doc:"how instances are replaced" deployed:"how instances are replaced is in the manifests" address:"how instances are replaced is the command's business"`
	Balancer Balancer        `yaml:"balancer" doc:"how requests reach the instances where the runtime brings no balancer" deployed:"how instances are reached is in the manifests" address:"how instances are reached is not the lab's business there"`

	// A service that is slow to start is not one that does not start.
	DeployTimeout time.Duration `yaml:"deploy_timeout" above:"0s" default:"1m" hint:"such as 5m" doc:"for all instances to serve, before a trial begins; with refproxy the time of a sync comes on top" address:"nothing is deployed"`

	Trials           record.TrialRange `yaml:"trials" min:"1" max:"100" default:"1" doc:"of each driver and design, unless --trials says otherwise; 3..8 goes on until every gate is decided"`
	Designs          []Design          `yaml:"designs,required" doc:"what is compared: builtin ones by name, or described here"`
	Gates            []Gate            `yaml:"gates" doc:"what must hold for the run to pass"`
	PositiveControls []Control         `yaml:"positive_controls" doc:"designs that must show failures here; without that the experiment could not tell good from bad"`

	// NotChosen are the gates and controls of designs that WithDesigns left out: a run
	// that lacks them has not shown what the scenario asks for.
	NotChosen struct {
		Gates            []Gate
		PositiveControls []Control
	} `yaml:"-"`

	// Source is the scenario written out: variables filled in, designs resolved, nothing
	// left to a default. Parsing it gives the same scenario.
	Source string `yaml:"-"`
	// Secrets are what stands behind *** in Source and in Vars. No file of a run, and no
	// message, may hold one.
	Secrets []string `yaml:"-"`
	// NotOn are drivers, by name, on which it is not run although they were chosen. It is no part
	// of the scenario as written.
	NotOn []string `yaml:"-"`
	File  string   `yaml:"-"` // where it came from, for messages
	Where *Where   `yaml:"-"` // where in it each part is said
}

// Target is the service under test: the reference proxy, or a custom target. Exactly one of
// refproxy, image, exec, deployment and url is set; the other fields are for a custom target.
// With deployment a Kubernetes Deployment is the service: what it runs, its probes, its limits
// and how it is replaced are in its own YAML. With url the service is what answers at that
// address: nothing is deployed, and the action is a command. With On it may be another one of
// image, exec and deployment on each driver, and none at all here.
type Target struct {
	Refproxy *Refproxy `yaml:"refproxy" doc:"the reference zero-trust proxy with its control plane and upstream"`

	URL string `yaml:"url,omitempty" form:"address" hint:"such as http://127.0.0.1:8080" doc:"the address of a service that runs already, scheme and host: nothing is deployed"`

	Workload

	// On is what is different on a driver, by its name, on top of what all of them share.
	On map[string]Workload `yaml:"on" keys:"{driver}" doc:"what is different on a driver, by its name: the program of one is an image for another" address:"nothing is deployed there"`

	Protocol string    `yaml:"protocol,omitempty" words:"h1 h2 h2c" doc:"what is spoken to it: h1, h2 (by ALPN, with TLS) or h2c (without); h1 when nothing is said"`
	TLS      *TLS      `yaml:"tls" doc:"TLS is spoken to it, and how"`
	Request  *Request  `yaml:"request" doc:"what the load asks, and how it has to be answered"`                                       // nil with refproxy, and with several
	Requests *Requests `yaml:"requests" doc:"several of them, each as often as its weight says; or {file: a targets file of vegeta}"` // nil with one
}

// Workload is what is run as a custom target.
type Workload struct {
	Deployment string             `yaml:"deployment,omitempty" doc:"the name of a Kubernetes Deployment, in the manifests or in the cluster"`
	Service    string             `yaml:"service,omitempty" doc:"with deployment: the name of the Service in front of it"`
	Port       string             `yaml:"port,omitempty" form:"port" doc:"with deployment: name or number of the Service's port; without it its first"`
	Manifests  []drivers.Manifest `yaml:"manifests" doc:"with deployment: files with the objects to apply; none when they exist already"`

	Image string            `yaml:"image,omitempty" doc:"a container image that the runtime has or can pull"`
	Exec  string            `yaml:"exec,omitempty" doc:"the path of a program, from the scenario's folder; a name without a slash is looked up in PATH"`
	Args  []string          `yaml:"args" doc:"arguments; ${listen.data}, ${port.data}, ${instance} and ${revision} are filled in" deployed:"say it in the YAML of the Deployment" address:"nothing is started there"`
	Env   map[string]string `yaml:"env" doc:"environment variables; filled in as args are" deployed:"say it in the YAML of the Deployment" address:"nothing is started there"`
	Ports Ports             `yaml:"ports" doc:"where it listens" deployed:"say it in the YAML of the Deployment" address:"it is in the url"`

	// What an upgrade goes from and to. Without them a rollout replaces a program by the same.
	Revisions *Revisions `yaml:"revisions" doc:"what a rollout goes from and to; without them it is from a program to the same" address:"what is rolled out there is the command's business"`
}

// kind is the key that names the service, or "" where none does.
func (w *Workload) kind() string {
	switch {
	case w.Deployment != "":
		return "deployment"
	case w.Image != "":
		return "image"
	case w.Exec != "":
		return "exec"
	}
	return w.Revisions.program()
}

// For is the target as it is on a driver: what its entry in On says, or what is shared. It is
// not ok where the target has entries and no service for this driver.
func (t Target) For(driver string) (is Target, ok bool) {
	if w, found := t.On[driver]; found {
		t.Workload = w
	}
	t.On = nil
	return t, !t.Own() || t.Address() || t.kind() != ""
}

// Revisions are what a rollout goes from and to. Each comes on top of the target: a program
// and manifests are taken instead of the target's, arguments and variables in addition.
type Revisions struct {
	Before Revision `yaml:"before,required" doc:"what runs before the rollout, on top of the target"`
	After  Revision `yaml:"after,required" doc:"what runs after it"`
}

// Revision is what one revision of a custom target is.
type Revision struct {
	Name      string             `yaml:"name" doc:"what it is called: ${revision}, and in reports; v1 and v2 without it"` // never "" once it is read
	Manifests []drivers.Manifest `yaml:"manifests" doc:"with deployment: applied instead of the target's"`
	Image     string             `yaml:"image,omitempty" doc:"a container image, instead of what the target runs" deployed:"say it in the manifests of the revision"`
	Exec      string             `yaml:"exec,omitempty" doc:"the path of a program, instead of what the target runs" deployed:"say it in the manifests of the revision"`
	Args      []string           `yaml:"args" doc:"more arguments" deployed:"say it in the manifests of the revision"`
	Env       map[string]string  `yaml:"env" doc:"more environment variables" deployed:"say it in the manifests of the revision"`
}

// Own says whether the target is a custom target.
func (t *Target) Own() bool { return t.Refproxy == nil }

// Deployed says whether the target is a Kubernetes Deployment that somebody else describes.
// It is one on every driver or on none.
func (t *Target) Deployed() bool {
	if t.Deployment != "" {
		return true
	}
	for _, w := range t.On { // either all of them are, or none
		return w.Deployment != ""
	}
	return false
}

// Address says whether the target is what answers at an address, whoever deployed it.
func (t *Target) Address() bool { return t.URL != "" }

// Ports are the numbers of the ports at which a custom target listens. 0 means that
// it is told where to listen, by ${listen.data} or ${listen.health} among its arguments.
type Ports struct {
	Data   int  `yaml:"data" min:"0" max:"65535" doc:"where it serves requests; 0 means that it is told by ${listen.data}"`
	Health *int `yaml:"health" min:"0" max:"65535" doc:"where it answers health questions, if that is another one"`
}

// Limits are what one instance may use at most. 0 means no limit. They are no
// drivers.Limits because people write memory in MiB.
type Limits struct {
	CPUs   float64 `yaml:"cpus" min:"0" max:"1024" hint:"0.5 is half a CPU" doc:"processor time a second, in seconds: 0.5 is half a CPU"`
	Memory int     `yaml:"memory" min:"0" max:"1048576" hint:"MiB" doc:"MiB"`
}

// Driver is what drivers are told of the limits.
func (l Limits) Driver() drivers.Limits {
	return drivers.Limits{CPUs: l.CPUs, Memory: int64(l.Memory) << 20}
}

// Refproxy is the reference zero-trust proxy with its control plane and upstream.
type Refproxy struct {
	Sessions        int           `yaml:"sessions,required" min:"1" max:"10000000" doc:"session records to sync at start"`
	SyncRate        float64       `yaml:"sync_rate,required" above:"0" hint:"records a second" doc:"records a second and subscriber"`
	Routes          int           `yaml:"routes" min:"1" max:"10000" default:"10" doc:"routes in the configuration"`
	UpstreamLatency time.Duration `yaml:"upstream_latency" max:"900ms" hint:"whoever asks an instance whether it serves gives it a second" doc:"how long the upstream takes to answer"`
	MaxAge          time.Duration `yaml:"max_age" min:"500ms" default:"5s" hint:"such as 2s" doc:"how old what a proxy knows of sessions and policy may get; a design with fail_closed serves nothing by what is older"`
	GoMaxProcs      int           `yaml:"gomaxprocs" min:"0" max:"1024" default:"1" doc:"GOMAXPROCS of each of its processes, which share few cores; 0 leaves it to Go"`
}

// SyncTime is how long a new instance takes to sync its session records.
func (r *Refproxy) SyncTime() time.Duration {
	return time.Duration(float64(r.Sessions) / r.SyncRate * float64(time.Second))
}

// Traffic is the open-loop load.
type Traffic struct {
	Rate    float64        `yaml:"rate,required" above:"0" max:"100000" hint:"requests a second" doc:"requests a second"`
	Timeout time.Duration  `yaml:"timeout" above:"0s" default:"2s" hint:"such as 1s" doc:"of a request, from its intended time"`
	Streams map[string]int `yaml:"streams" keys:"keepalive newconn keepalive-get keepalive-post newconn-get" min:"0" max:"10000" default:"{keepalive-get: 40, keepalive-post: 40, newconn-get: 20}" doc:"weight of each stream: keepalive and newconn (a new connection for each request) of a custom target, whose default is 80 and 20; the others of refproxy"`
	// Kept connections stay where a balancer of connections has put them: few of them, and
	// which instances a stream meets is a matter of luck.
	Connections int `yaml:"connections,omitempty" min:"0" max:"10000" hint:"0 leaves it to the lab" doc:"kept connections of each keepalive stream, used in turn; 0 means 10 for each replica and at least 32, and no more than can be used every 2 s"`
	// A machine with no CPU to spare proves nothing about a design, unless that is the question.
	Saturation string  `yaml:"saturation,omitempty" words:"allowed" doc:"allowed: losses count even where the machine had no CPU to spare; else such a trial is invalid"`
	Deny       float64 `yaml:"deny" form:"share" min:"0" max:"0.5" default:"2%" hint:"such as 2%" doc:"share of requests that must be denied"`
}

// Bounds on how many connections a stream keeps when the scenario does not say.
const (
	leastKept      = 32
	keptPerReplica = 10
	keptUse        = 2 * time.Second // a kept connection is used this often at least: servers close those that wait
)

// Connections is how many kept connections a stream uses in turn, 0 where it keeps none.
func (s *Scenario) Connections(stream string) int {
	if !strings.HasPrefix(stream, "keepalive") {
		return 0
	}
	if s.Load.Connections > 0 {
		return s.Load.Connections
	}
	sum := 0
	for _, weight := range s.Load.Streams {
		sum += weight
	}
	rate := s.Load.Rate * float64(s.Load.Streams[stream]) / float64(max(sum, 1))
	want := max(keptPerReplica*max(s.Replicas, s.Action.To), leastKept)
	return max(min(want, int(rate*keptUse.Seconds())), 1)
}

// streams are the streams that there are for the target.
func (s *Scenario) streams() []string {
	if s.Target.Own() {
		return []string{"keepalive", "newconn"}
	}
	return []string{"keepalive-get", "keepalive-post", "newconn-get"}
}

// Phases are stretches of the load, from its start.
type Phases struct {
	Baseline Phase `yaml:"baseline,required" doc:"nothing happens, nothing may fail"`
	Window   Phase `yaml:"window,required" doc:"measured; the action starts with it" address:"it begins with the command and ends by calm, see action.settle and action.max"`
}

// Phase is a stretch of time.
type Phase struct {
	From time.Duration `yaml:"from,required" doc:"from the start of the load"`
	To   time.Duration `yaml:"to,required" doc:"from the start of the load"`
}

// ActionKind is what is done to the subject.
type ActionKind string

// The actions.
const (
	None    ActionKind = record.NoAction
	Rollout ActionKind = "rollout"
	Restart ActionKind = "restart"
	Scale   ActionKind = "scale"
	Command ActionKind = "command" // of the user's own, on a target that is an address
)

// Action is the one disruptive thing that a trial does.
type Action struct {
	Kind    ActionKind    `yaml:"kind,required" words:"none rollout restart scale command" doc:"what is done to the subject"`
	To      int           `yaml:"to,required" kinds:"scale" min:"0" max:"100" hint:"say how many replicas to scale to, such as to: 5" doc:"scale: wanted replicas"`
	Then    string        `yaml:"then,omitempty" kinds:"rollout" words:"rollback" doc:"rollout: rollback goes back to the revision before, as soon as the rollout has ended"`
	Timeout time.Duration `yaml:"timeout" above:"0s" default:"1m" hint:"such as 60s" doc:"for the action to complete; for a rollout and for the rollback behind it each"`

	Run   []string `yaml:"run" kinds:"command" doc:"command: a program and its arguments, unless every design has its own"`
	Reset []string `yaml:"reset" kinds:"command" doc:"command: what takes back what run did, between two trials; it is not measured"`
	// The load goes on behind the command until nothing has failed for Calm.
	Settle time.Duration `yaml:"settle" kinds:"command" above:"0s" default:"30s" hint:"such as 30s" doc:"command: how long the load goes on at least, once the command has ended"`
	Max    time.Duration `yaml:"max" kinds:"command" above:"0s" default:"5m" hint:"such as 5m" doc:"command: how long it goes on at most; a service that still fails then has failed"`

	// What a rollout to a revision that cannot run has to do is to stop.
	MayStop bool `yaml:"may_stop,omitempty" kinds:"rollout" doc:"rollout: the runtime may stop it, or never complete it, and that is no failure; a rollback follows all the same and must complete"`
	// What an action that is not complete when the window ends costs later is in no number.
	AllowUnfinished bool `yaml:"allow_unfinished" kinds:"none rollout restart scale" doc:"the action need not be complete when the window ends; without this such a trial is invalid"`
}

// Rollback is what comes behind a rollout that is taken back.
const Rollback = record.Rollback

// ActionName is what results call the action: none, rollout, rollout-rollback, restart,
// scale-out, scale-in, command.
func (s *Scenario) ActionName() string {
	if s.Action.Then == Rollback {
		return record.RolloutRollback
	}
	if s.Action.Kind != Scale {
		return string(s.Action.Kind)
	}
	if s.Action.To < s.Replicas {
		return "scale-in"
	}
	return "scale-out"
}

// Balancer is how requests reach the instances where the runtime brings no balancer.
type Balancer struct {
	Policy drivers.Policy `yaml:"policy" words:"round-robin least-connections" default:"round-robin" doc:"how it picks an instance"`
	TLS    string         `yaml:"tls,omitempty" words:"passthrough terminate" doc:"passthrough: connections go unread to an instance each, as they do where nothing is said and the target speaks TLS or h2c; terminate: TLS ends at the balancer, with a certificate of the lab's, and each request goes to an instance"`
}

// The ways of a balancer with TLS.
const (
	Passthrough = "passthrough"
	Terminate   = "terminate"
)

// Design is how the subject is configured and which signal the runtime is given. It is
// data: nothing outside this package's catalogue may know a design's name.
type Design struct {
	Name  string `yaml:"name,required" form:"slug" doc:"1 to 40 lower-case letters, digits and dashes"`
	From  string `yaml:"from,omitempty" words:"{builtin design}" doc:"the name of a builtin design to start from; the other keys come on top of it" deployed:"remove it; what differs between designs is in their manifests" address:"remove it; what differs between designs is their run"` // "" once it is read
	About string `yaml:"about" form:"prose" doc:"what is good or bad about it"`

	Manifests []drivers.Manifest `yaml:"manifests" doc:"applied instead of the target's, with a target that is a Deployment" address:"remove it; what differs between designs is their run"`

	Run   []string `yaml:"run" doc:"run instead of the action's command, with a target that is an address" deployed:"remove it; what differs between designs is in their manifests"`
	Reset []string `yaml:"reset" doc:"run instead of the action's reset, with a target that is an address" deployed:"remove it; what differs between designs is in their manifests"`

	Settings `deployed:"remove it; what differs between designs is in their manifests" address:"remove it; what differs between designs is their run"`

	// On is what is different on a driver, by its name: probes that cost more are asked
	// less often, and a slower verdict needs a longer drain.
	On map[string]Settings `yaml:"on" keys:"{driver}" doc:"what is different on a driver, by its name" deployed:"remove it; what differs between designs is in their manifests" address:"remove it; what differs between designs is their run"`
}

// ManifestsOf are what a design's target is made of: its own manifests, else the target's. Of
// a target with revisions see ManifestsAt.
func (s *Scenario) ManifestsOf(d Design) []drivers.Manifest {
	if len(d.Manifests) > 0 {
		return d.Manifests
	}
	return s.Target.Manifests
}

// For returns the design as it is on a driver.
func (d Design) For(driver string) Design {
	if s, ok := d.On[driver]; ok {
		d.Settings = s
	}
	d.On = nil
	return d
}

// Equal says whether two designs ask for the same.
func (d Design) Equal(o Design) bool { return reflect.DeepEqual(d, o) }

// Settings are what a design decides.
type Settings struct {
	Health     string            `yaml:"health" words:"none naive shallow pull stack-aware deep-readiness deep-liveness" doc:"how the reference proxy tells its readiness"`
	FailOpen   bool              `yaml:"fail_open" doc:"the reference proxy serves what it cannot decide yet"`
	FailClosed bool              `yaml:"fail_closed" doc:"the reference proxy serves nothing by what is older than the target's max_age"`
	Args       []string          `yaml:"args" doc:"more arguments of a custom target" deployed:"say it as args in the design's manifests"`
	Env        map[string]string `yaml:"env" doc:"more environment variables of a custom target" deployed:"say it as env in the design's manifests"`

	Signal   Signal `yaml:"signal,inherited" doc:"what the runtime routes by" deployed:"say it as readinessProbe in the design's manifests"`
	Startup  Signal `yaml:"startup" doc:"asked first, by runtimes that know such a probe" deployed:"say it as startupProbe in the design's manifests"`
	Liveness Signal `yaml:"liveness" doc:"a restart follows when it fails, on runtimes that know such a probe" deployed:"say it as livenessProbe in the design's manifests"`

	Notify   bool          `yaml:"notify,omitempty" doc:"it tells its supervisor by sd_notify, and a supervisor that listens believes that alone"`
	Watchdog time.Duration `yaml:"watchdog,omitempty" doc:"silence after which such a supervisor kills it; 0s means never"`
	Socket   bool          `yaml:"socket,omitempty" doc:"the runtime holds the listener and hands it over"`

	DeregisterFirst bool          `yaml:"deregister_first" doc:"the balancer is told before the instance is stopped"`
	PreStop         time.Duration `yaml:"pre_stop,omitempty" doc:"a wait between the moment at which the instance leaves the balancer and the one at which it is asked to stop, as a preStop hook of Kubernetes makes one" deployed:"say it as lifecycle.preStop in the design's manifests"`
	LameDuck        time.Duration `yaml:"lame_duck" doc:"unready but serving, after SIGTERM"`
	CloseWait       time.Duration `yaml:"close_wait" doc:"then answering with Connection: close"`
	StopGrace       time.Duration `yaml:"stop_grace" default:"5s" doc:"until SIGKILL" deployed:"say it as terminationGracePeriodSeconds in the design's manifests"`
}

// Signal is what the runtime asks an instance. It is no drivers.Probe, which can ask more
// than a scenario may say.
type Signal struct {
	Kind     drivers.ProbeKind `yaml:"kind,inherited" words:"none tcp http command image" doc:"how an instance is asked"`
	Port     string            `yaml:"port" kinds:"tcp http" words:"data health" default:"health" doc:"tcp and http: the port that is asked"`
	Scheme   string            `yaml:"scheme,omitempty" kinds:"http" words:"http https" doc:"http: https is asked over TLS, and nobody's certificate is verified, as a kubelet does; without it what the target speaks at the port data, and http at the port health"`
	Path     string            `yaml:"path" kinds:"http" form:"path" default:"/readyz" hint:"such as /readyz" doc:"http: from the root"`
	Command  []string          `yaml:"command,inherited" kinds:"command" hint:"a program and its arguments, such as [/bin/check, --brief]" doc:"command: a program beside the instance, and its arguments; status 0 is a good answer"`
	Interval time.Duration     `yaml:"interval" kinds:"tcp http command" min:"10ms" default:"200ms" doc:"from one question to the next"`
	Timeout  time.Duration     `yaml:"timeout" kinds:"tcp http command" above:"0s" default:"1s" hint:"such as 1s" doc:"for one answer"`
	Rise     int               `yaml:"rise" kinds:"tcp http command" min:"1" max:"1000" default:"1" hint:"answers in a row" doc:"good answers in a row that make it ready"`
	Fall     int               `yaml:"fall" kinds:"tcp http command" min:"1" max:"1000" default:"2" hint:"answers in a row" doc:"bad answers in a row that make it unready"`
}

// Probe is what drivers are told of the signal.
func (g Signal) Probe() drivers.Probe {
	return drivers.Probe{
		Kind: g.Kind, Port: g.Port, Path: g.Path, Command: g.Command,
		Interval: g.Interval, Timeout: g.Timeout, Rise: g.Rise, Fall: g.Fall,
	}
}

// Gate is what must hold of one design: a limit on a metric, or that the metric is not worse
// than it is of another design, or was in earlier runs. Either Op and Limit are set, or Against.
type Gate struct {
	Design string `yaml:"design,required" doc:"one of the scenario's"`
	Metric string `yaml:"metric,required" words:"{metric}" doc:"what is limited, or compared"`
	Op     string `yaml:"op,omitempty" words:">= <=" doc:"which side of the limit is good"`
	Limit  *Limit `yaml:"limit" doc:"in the metric's unit: 99.9% or 0.999, a count, 250ms; of failed also a share of the requests: 0.1%"`
	Stream string `yaml:"stream,omitempty" doc:"only the requests of this stream of the load; without it all of them"`

	Against string        `yaml:"against,omitempty" doc:"instead of a limit: another design of the scenario, or baseline, which are the earlier runs of --baseline"`
	Margin  time.Duration `yaml:"margin,omitempty" doc:"with against: how much more is no matter; without it 50 ms, or 20 % if that is more"`

	Level string `yaml:"level,omitempty" words:"fail warn" doc:"warn: a miss is a warning, and the verdict stays as it is; fail when nothing is said"`

	// Share says that the limit on a count is a share of the requests, 0..1.
	Share bool `yaml:"-"`
}

// Recorded is the gate as the record has it.
func (g Gate) Recorded() record.Gate {
	return record.Gate{
		Design: g.Design, Metric: g.Metric, Op: g.Op, Limit: g.limit(), Share: g.Share, Stream: g.Stream,
		Against: g.Against, Margin: g.Margin, Warn: g.Level == "warn",
	}
}

// limit is the limit as a number, 0 where there is none.
func (g Gate) limit() float64 {
	if g.Limit == nil {
		return 0
	}
	return float64(*g.Limit)
}

// Control names a design that must show failures. In a scenario it may be the name alone.
type Control struct {
	Design string `yaml:"design,required" doc:"one of the scenario's"`
	// What a design loses may depend on how quickly a runtime tells its balancer.
	On []string `yaml:"on" words:"{driver}" doc:"drivers on which it must; without it on every one"`
}

// Limit is a number in the metric's unit: a rate 0..1 (also written 99.9%), a count, or
// a duration (250ms), which is kept in milliseconds.
type Limit float64
