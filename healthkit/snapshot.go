package healthkit

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Snapshot is everything the registry knew at one version. Its times are those of
// the wall clock as it was set then. It never changes;
// its slices and maps are shared by all readers and must not be written to. Adapters are
// functions of it.
type Snapshot struct {
	// Version grows with every change; a later snapshot has a higher one.
	Version uint64 `json:"version"`
	// Phase, since when, and what Advance, Shutdown or Close gave as reason.
	Phase       Phase     `json:"phase"`
	PhaseSince  time.Time `json:"phase_since"`
	PhaseReason string    `json:"phase_reason,omitempty"`
	// Started tells whether the process was ever ready, FirstReady when.
	Started    bool      `json:"started"`
	Created    time.Time `json:"created"`
	FirstReady time.Time `json:"first_ready,omitzero"`
	// Components and Loops are sorted by name.
	Components  []ComponentStatus `json:"components"`
	Loops       []LoopStatus      `json:"loops,omitempty"`
	Generations GenerationStatus  `json:"generations"`
	// Missing are the expected names that are not registered, sorted.
	// One that no component can have is quoted.
	Missing []string `json:"missing,omitempty"`
	// Unknown are other names that meet nothing, sorted: see Registry.Validate.
	Unknown []UnknownName `json:"unknown,omitempty"`

	allowEmpty bool
	ready      bool
	live       bool
	plain      atomic.Pointer[Snapshot] // without reasons; itself when it has none
	readyText  atomic.Pointer[[]byte]
	liveText   atomic.Pointer[[]byte]
	startText  atomic.Pointer[[]byte]
}

// ComponentStatus is one component in a snapshot.
type ComponentStatus struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Reason is what came with the report, or why the registry judged
	// otherwise. It is raw text of the service, valid UTF-8 and at most 1 KiB
	// (a longer one ends with " ... (cut)"): adapters escape it, and show it
	// only to those who may see it (WithoutReasons).
	Reason string `json:"reason,omitempty"`
	// Attributes are those of Component.SetAttribute.
	Attributes map[string]string `json:"attributes,omitempty"`
	// Since is when State began.
	Since time.Time `json:"since"`
	// Transitions counts changes of State.
	Transitions uint64 `json:"transitions"`
	// Rejected counts reports after Draining or Stopped that were not legal.
	Rejected    uint64    `json:"rejected,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Pending is a change that hysteresis holds back, for people to read.
	Pending      string        `json:"pending,omitempty"`
	Optional     bool          `json:"optional,omitempty"`
	OnFailure    FailurePolicy `json:"on_failure"`
	EverReady    bool          `json:"ever_ready"`
	DependsOn    []string      `json:"depends_on,omitempty"`
	Generational bool          `json:"generational,omitempty"`
	// Generation is meaningful when HasGeneration is set.
	Generation      uint64    `json:"generation,omitempty"`
	HasGeneration   bool      `json:"has_generation,omitempty"`
	GenerationSince time.Time `json:"generation_since,omitzero"`
	// GenerationTooOld is set when it was last reported longer ago than
	// GenerationPolicy.MaxAge.
	GenerationTooOld bool `json:"generation_too_old,omitempty"`
	// Group is the registered group that counts in place of this component.
	Group string `json:"group,omitempty"`
	// AtLeast is positive for a group: how many of Members (sorted) must serve.
	AtLeast int      `json:"at_least,omitempty"`
	Members []string `json:"members,omitempty"`
	// ExcusedBy names the failed dependency with FailShared because of which
	// the failure or staleness of this component does not count.
	ExcusedBy string `json:"excused_by,omitempty"`
	// FailsLiveness is set when this component makes the process not live.
	FailsLiveness bool `json:"fails_liveness,omitempty"`
}

// Blocking tells whether this component keeps the process unready.
func (c ComponentStatus) Blocking() bool {
	return c.Group == "" && c.ExcusedBy == "" && blocks(c.Optional, c.OnFailure, c.EverReady, c.State)
}

// GenerationStatus is how the generational components stand to the policy.
type GenerationStatus struct {
	Agree   bool   `json:"agree"`
	AtLeast uint64 `json:"at_least"`
	// MaxAge is zero when a generation does not become too old.
	MaxAge time.Duration `json:"max_age_ns,omitempty"`
	// Met tells whether the policy holds; Tolerated, that it does not but was
	// met before and the grace has not run out.
	Met       bool `json:"met"`
	Tolerated bool `json:"tolerated,omitempty"`
	// Since is when the policy ceased to hold.
	Since time.Time `json:"since,omitzero"`
}

// LoopStatus is one work loop in a snapshot.
type LoopStatus struct {
	Name  string        `json:"name"`
	Limit time.Duration `json:"limit_ns"`
	// Stuck tells whether the loop has missed its limit; Since, since when it
	// is stuck or not; Stalls, how often it got stuck.
	Stuck  bool      `json:"stuck"`
	Since  time.Time `json:"since"`
	Stalls uint64    `json:"stalls"`
}

// Ready tells whether requests should be routed to the process.
func (s *Snapshot) Ready() bool { return s.ready }

// Live tells whether the process makes progress.
func (s *Snapshot) Live() bool { return s.live }

// Degraded tells whether the process is ready with something amiss: a
// component that is not plainly Ready, a generation that is pending.
func (s *Snapshot) Degraded() bool {
	if !s.ready {
		return false
	}
	return !s.Generations.Met || slices.ContainsFunc(s.Components, func(c ComponentStatus) bool { return c.State != Ready })
}

// Component returns the status of the named component.
func (s *Snapshot) Component(name string) (ComponentStatus, bool) {
	i, ok := slices.BinarySearchFunc(s.Components, name, func(c ComponentStatus, n string) int { return strings.Compare(c.Name, n) })
	if !ok {
		return ComponentStatus{}, false
	}
	return s.Components[i], true
}

// ReadyWithout judges readiness as if the named components were not there. It
// returns the names that no component has, in the order given. What remains
// must still hold at least one required component, unless the registry allows
// an empty set. A group is judged by the members that remain; without the
// group its members do not count either.
func (s *Snapshot) ReadyWithout(names ...string) (ready bool, unknown []string) {
	without := setOf(names)
	seen := make(map[string]bool)
	for _, n := range names {
		if !seen[n] && !s.knows(n) {
			seen[n] = true
			unknown = append(unknown, n)
		}
	}
	if s.Phase > PhaseServing {
		return false, unknown
	}
	required := 0
	t := tally{agree: s.Generations.Agree, floor: s.Generations.AtLeast}
	for _, c := range s.Components {
		if without[c.Name] {
			continue
		}
		if c.AtLeast > 0 {
			c.State = s.groupStateWithout(c, without)
		}
		if c.Blocking() {
			return false, unknown
		}
		if c.Optional || c.Group != "" {
			continue
		}
		required++
		if c.Generational {
			t.add(c.Generation, c.HasGeneration && !c.GenerationTooOld)
		}
	}
	for _, n := range s.Missing {
		if !without[n] {
			return false, unknown
		}
	}
	if required == 0 && !s.allowEmpty {
		return false, unknown
	}
	return t.met() || s.Generations.Tolerated && !t.silent, unknown
}

// knows tells whether a component has the name or is expected under it.
func (s *Snapshot) knows(name string) bool {
	if _, ok := s.Component(name); ok {
		return true
	}
	_, missing := slices.BinarySearch(s.Missing, name)
	return missing
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

// Snapshot returns the current snapshot. It builds one only when something has
// changed since the last; that the wall clock was set is a change too, which is
// noticed within 100 ms.
func (r *Registry) Snapshot() *Snapshot {
	now := int64(-1)
	if w := r.wake.Load(); w != never {
		if now = r.now(); now >= w {
			r.catchUp()
		}
	}
	if s := r.snapshot.Load(); s != nil {
		if now < 0 {
			now = r.now()
		}
		if now < r.wallDue.Load() {
			return s
		}
	}
	now = r.lock()
	defer r.mu.Unlock()
	if now >= r.wallDue.Load() {
		r.checkWall()
	}
	if s := r.snapshot.Load(); s != nil {
		return s
	}
	s := r.build()
	r.snapshot.Store(s)
	return s
}

// build makes a snapshot. The caller holds the lock.
func (r *Registry) build() *Snapshot {
	s := &Snapshot{
		Version:     r.version,
		Phase:       Phase(r.phase.Load()),
		PhaseSince:  r.at(r.phaseSince),
		PhaseReason: r.phaseReason,
		Started:     r.started.Load(),
		Created:     r.at(0),
		Components:  make([]ComponentStatus, len(r.components)),
		Loops:       make([]LoopStatus, len(r.loops)),
		Generations: GenerationStatus{
			Agree:     r.gens.policy.Agree,
			AtLeast:   r.gens.floor,
			MaxAge:    r.gens.policy.MaxAge,
			Met:       r.gens.met,
			Tolerated: !r.gens.met && r.gens.ok(r.gens.judged),
		},
		allowEmpty: r.cfg.AllowEmpty,
		ready:      r.ready.Load(),
		live:       r.live.Load(),
	}
	if s.Started {
		s.FirstReady = r.at(r.firstReady)
	}
	if !r.gens.met {
		s.Generations.Since = r.at(r.gens.badSince)
	}
	for i, c := range r.components {
		s.Components[i] = c.status()
	}
	for i, t := range r.loops {
		s.Loops[i] = LoopStatus{Name: t.name, Limit: t.limit, Stuck: t.stuck, Since: r.at(t.since), Stalls: t.stalls}
	}
	s.Unknown = r.unknown()
	if r.missing > 0 {
		for name := range r.expect {
			if r.byName[name] == nil {
				s.Missing = append(s.Missing, name)
			}
		}
		slices.Sort(s.Missing)
	}
	return s
}

func (c *Component) status() ComponentStatus {
	s := ComponentStatus{
		Name:          c.name,
		State:         c.state,
		Reason:        c.reason,
		Attributes:    c.attributes,
		Since:         c.r.at(c.since),
		Transitions:   c.transitions,
		Rejected:      c.rejected,
		Pending:       c.pending.describe(c.opts.Hysteresis),
		Optional:      c.opts.Optional,
		OnFailure:     c.opts.OnFailure,
		EverReady:     c.everReady,
		DependsOn:     c.opts.DependsOn,
		Generational:  c.opts.Generational,
		Generation:    c.gen.Load(),
		HasGeneration: c.hasGen.Load(),
		FailsLiveness: c.killing,

		GenerationTooOld: c.genOld,
	}
	if c.group != nil {
		s.Group = c.group.name
	}
	if c.quorum != nil {
		c.describeGroup(&s)
	}
	if e := c.excuse(); e != nil {
		s.ExcusedBy = e.name
	}
	if c.lastErr != "" {
		s.LastError, s.LastErrorAt = c.lastErr, c.r.at(c.lastErrAt)
	}
	if s.HasGeneration {
		s.GenerationSince = c.r.at(c.genSince)
	}
	return s
}
