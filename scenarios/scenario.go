// Package scenarios is the catalogue of experiments and the typed form of one: the
// strict loader, the JSON Schema, and the scenarios that come embedded. It reads files
// and does no other I/O.
package scenarios

import "time"

// Scenario names a target, a load, one action and the gates. Every field is filled in
// and checked once Load or Parse has returned it.
type Scenario struct {
	Name  string `yaml:"name"`  // 1 to 40 lower-case letters, digits and dashes
	About string `yaml:"about"` // what it shows, in two or three lines

	Vars map[string]string `yaml:"vars"` // defaults of ${name}; overridden by --var

	Target   Target   `yaml:"target"`
	Limits   Limits   `yaml:"limits"`   // of one instance of the subject
	Replicas int      `yaml:"replicas"` // of the subject, before the action
	Load     Traffic  `yaml:"load"`
	Phases   Phases   `yaml:"phases"`
	Action   Action   `yaml:"action"`
	Rolling  Rolling  `yaml:"rolling"`
	Balancer Balancer `yaml:"balancer"`

	Trials  int      `yaml:"trials"`  // an arm, unless --trials says otherwise
	Designs []Design `yaml:"designs"` // what is compared: builtin ones by name, or described here
	Gates   []Gate   `yaml:"gates"`   // what must hold for the run to pass
	// PositiveControls names designs that must show failures here.
	PositiveControls []string `yaml:"positive_controls"`
	// ControlsOn names the drivers on which they must; none means on every one. What a
	// design loses may depend on how quickly a runtime tells its balancer.
	ControlsOn []string `yaml:"controls_on"`

	// Source is the scenario written out: variables filled in, designs resolved, nothing
	// left to a default. Parsing it gives the same scenario.
	// NotChosen are the gates and controls of designs that WithDesigns left out: a run
	// that lacks them has not shown what the scenario asks for.
	NotChosen struct {
		Gates            []Gate
		PositiveControls []string
	} `yaml:"-"`

	Source string `yaml:"-"`
	File   string `yaml:"-"` // where it came from, for messages
}

// Target is the service under test: the reference proxy, or a custom target. Exactly
// one of refproxy, image, exec and deployment is set; the other fields are for a service of
// your own.
type Target struct {
	Refproxy *Refproxy `yaml:"refproxy"`

	// Deployment makes a Kubernetes Deployment the service. What it runs, its probes, its
	// limits and how it is replaced are in its own YAML.
	Deployment string     `yaml:"deployment"` // the name of a Deployment, in the manifests or in the cluster
	Service    string     `yaml:"service"`    // with deployment: the name of the Service in front of it
	Port       string     `yaml:"port"`       // with deployment: name or number of the Service's port; without it its first
	Manifests  []Manifest `yaml:"manifests"`  // with deployment: files with the objects to apply; none when they exist already

	Image string            `yaml:"image"` // a container image that the runtime has or can pull
	Exec  string            `yaml:"exec"`  // the path of a program
	Args  []string          `yaml:"args"`  // arguments; ${listen.data}, ${instance} and ${revision} are filled in
	Env   map[string]string `yaml:"env"`   // environment variables; filled in as args are
	Ports Ports             `yaml:"ports"` // where it listens

	Request Request `yaml:"request"` // what the load asks, and how it has to be answered
}

// Own says whether the target is a service of the user's own.
func (t *Target) Own() bool { return t.Refproxy == nil }

// Deployed says whether the target is a Kubernetes Deployment that somebody else describes.
func (t *Target) Deployed() bool { return t.Deployment != "" }

// Ports are the numbers of the ports at which a custom target listens. 0 means that
// it is told where to listen, by ${listen.data} or ${listen.health} among its arguments.
type Ports struct {
	Data   int  `yaml:"data"`   // where it serves requests
	Health int  `yaml:"health"` // where it answers health questions, if that is another one
	Two    bool `yaml:"-"`      // there is a port for health
}

// Request is what the load asks of a custom target.
type Request struct {
	Path   string            `yaml:"path"`   // from the root, with its query
	Header map[string]string `yaml:"header"` // sent with it
	Status int               `yaml:"status"` // of a successful answer
	Body   string            `yaml:"body"`   // the exact body of a successful answer; without it any whole body will do
}

// Limits are what one instance may use at most. 0 means no limit.
type Limits struct {
	CPUs   float64 `yaml:"cpus"`   // processor time a second, in seconds: 0.5 is half a CPU
	Memory int     `yaml:"memory"` // MiB
}

// Refproxy is the reference zero-trust proxy with its control plane and upstream.
type Refproxy struct {
	Sessions        int           `yaml:"sessions"`         // session records to sync at start, >= 1
	SyncRate        float64       `yaml:"sync_rate"`        // records a second and subscriber, > 0
	Routes          int           `yaml:"routes"`           // routes in the configuration
	UpstreamLatency time.Duration `yaml:"upstream_latency"` // how long the upstream takes to answer, >= 0
}

// SyncTime is how long a new instance takes to sync its session records.
func (r *Refproxy) SyncTime() time.Duration {
	return time.Duration(float64(r.Sessions) / r.SyncRate * float64(time.Second))
}

// Traffic is the open-loop load.
type Traffic struct {
	Rate    float64        `yaml:"rate"`    // requests a second, > 0
	Timeout time.Duration  `yaml:"timeout"` // from the intended time
	Streams map[string]int `yaml:"streams"` // weight of each stream: keepalive-get, keepalive-post, newconn-get
	Deny    float64        `yaml:"deny"`    // share of requests that must be denied, 0..0.5
}

// Phases are stretches of the load, from its start.
type Phases struct {
	Baseline Phase `yaml:"baseline"` // nothing happens, nothing may fail
	Window   Phase `yaml:"window"`   // measured; the action starts with it
}

// Phase is a stretch of time.
type Phase struct {
	From time.Duration `yaml:"from"` // from the start of the load
	To   time.Duration `yaml:"to"`   // from the start of the load
}

// ActionKind is what is done to the subject.
type ActionKind string

// The actions.
const (
	None    ActionKind = "none"
	Rollout ActionKind = "rollout"
	Restart ActionKind = "restart"
	Scale   ActionKind = "scale"
)

// Action is the one disruptive thing that a trial does.
type Action struct {
	Kind    ActionKind    `yaml:"kind"`    // none, rollout, restart, scale
	To      int           `yaml:"to"`      // scale: wanted replicas
	Timeout time.Duration `yaml:"timeout"` // for the action to complete
	// AllowUnfinished says that the action need not be complete when the window ends.
	// What it costs later is then in no number, so without this such a trial is invalid.
	AllowUnfinished bool `yaml:"allow_unfinished"`
}

// ActionName is what results call the action: none, rollout, restart, scale-out, scale-in.
func (s *Scenario) ActionName() string {
	if s.Action.Kind != Scale {
		return string(s.Action.Kind)
	}
	if s.Action.To < s.Replicas {
		return "scale-in"
	}
	return "scale-out"
}

// Rolling is how instances are replaced.
type Rolling struct {
	MaxSurge       int `yaml:"max_surge"`       // instances that may exist above replicas
	MaxUnavailable int `yaml:"max_unavailable"` // instances that may be missing below replicas
}

// Balancer is how requests reach the instances where the runtime brings no balancer.
type Balancer struct {
	Policy string `yaml:"policy"` // round-robin, least-connections
}

// Design is how the subject is configured and which signal the runtime is given. It is
// data: nothing outside this package's catalogue may know a design's name.
type Design struct {
	Name  string `yaml:"name"`  // 1 to 40 lower-case letters, digits and dashes
	About string `yaml:"about"` // what is good or bad about it

	// Manifests are applied instead of the target's, with a target that is a Deployment.
	Manifests []Manifest `yaml:"manifests"`

	Settings

	// On is what is different on a driver, by its name: probes that cost more are asked
	// less often, and a slower verdict needs a longer drain.
	On map[string]Settings `yaml:"on"`
}

// ManifestsOf are what a design's target is made of: its own manifests, else the target's.
func (s *Scenario) ManifestsOf(d Design) []Manifest {
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

// Settings are what a design decides.
type Settings struct {
	Health   string            `yaml:"health"`    // refproxy --health: none, naive, pull, stack-aware
	FailOpen bool              `yaml:"fail_open"` // refproxy --fail-open: serve what cannot be decided yet
	Args     []string          `yaml:"args"`      // more arguments of a custom target
	Env      map[string]string `yaml:"env"`       // more environment variables of a custom target

	Signal   Signal `yaml:"signal"`   // what the runtime routes by
	Startup  Signal `yaml:"startup"`  // asked first, by runtimes that know such a probe
	Liveness Signal `yaml:"liveness"` // a restart follows when it fails, on runtimes that know such a probe

	Notify   bool          `yaml:"notify"`   // it tells its supervisor by sd_notify, and a supervisor that listens believes that alone
	Watchdog time.Duration `yaml:"watchdog"` // silence after which such a supervisor kills it; 0s means never
	Socket   bool          `yaml:"socket"`   // the runtime holds the listener and hands it over

	DeregisterFirst bool          `yaml:"deregister_first"` // the balancer is told before the instance is stopped
	PreStop         time.Duration `yaml:"pre_stop"`         // the runtime waits, before it asks the instance to stop, where it knows such a hook
	LameDuck        time.Duration `yaml:"lame_duck"`        // unready but serving, after SIGTERM
	CloseWait       time.Duration `yaml:"close_wait"`       // then answering with Connection: close
	StopGrace       time.Duration `yaml:"stop_grace"`       // until SIGKILL
}

// Signal is what the runtime asks an instance.
type Signal struct {
	Kind     string        `yaml:"kind"`     // none, tcp, http, command, image
	Port     string        `yaml:"port"`     // tcp and http: data, health
	Path     string        `yaml:"path"`     // http
	Command  []string      `yaml:"command"`  // command: a program beside the instance, and its arguments; status 0 is a good answer
	Interval time.Duration `yaml:"interval"` // from one question to the next
	Timeout  time.Duration `yaml:"timeout"`  // for one answer
	Rise     int           `yaml:"rise"`     // good answers in a row that make it ready
	Fall     int           `yaml:"fall"`     // bad answers in a row that make it unready
}

// Gate is a limit on a metric of one design.
type Gate struct {
	Design string `yaml:"design"` // one of the scenario's
	Metric string `yaml:"metric"` // one of Metrics
	Op     string `yaml:"op"`     // >=, <=
	Limit  Limit  `yaml:"limit"`  // in the metric's unit: 99.9% or 0.999, a count, 250ms
}

// Limit is a number in the metric's unit: a rate 0..1 (also written 99.9%), a count, or
// a duration (250ms), which is kept in milliseconds.
type Limit float64
