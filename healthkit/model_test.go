//go:build go1.25

package healthkit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The model keeps the raw log of every component and judges it from scratch
// each time it is asked. It shares no code with the registry beyond the names
// of states and options.

type modelReport struct {
	at    time.Duration
	state State
	ttl   time.Duration // zero: does not expire
}

type modelComponent struct {
	opts    Options
	log     []modelReport
	gen     uint64
	hasGen  bool
	genAt   time.Duration
	atLeast int  // of a group
	ever    bool // of a group: it has served
}

type modelToken struct {
	limit time.Duration
	last  time.Duration
	idle  bool
}

type model struct {
	now         time.Duration
	phase       Phase
	components  map[string]*modelComponent
	tokens      map[string]*modelToken
	expect      []string
	agree       bool
	floor       uint64
	grace       time.Duration
	maxAge      time.Duration
	genEverMet  bool
	genBadSince time.Duration
	genMet      bool
	started     bool
}

func serving(s State) bool { return s == Ready || s == Degraded }

// judge replays the log of a component up to now.
func (c *modelComponent) judge(now time.Duration) (state State, ever bool) {
	var (
		expires       time.Duration = -1
		held          State
		heldN         int
		heldAt        time.Duration
		want, wantFor = 0, time.Duration(0)
	)
	clock := func(until time.Duration, inclusive bool) {
		// The earlier of expiry and end of hysteresis comes first; at the same
		// moment expiry does.
		due := func(t time.Duration) bool { return t < until || inclusive && t == until }
		ripe := time.Duration(-1)
		if heldN > 0 && heldN >= want {
			ripe = heldAt + wantFor
		}
		if ripe >= 0 && due(ripe) && (expires < 0 || ripe < expires) {
			state, heldN = held, 0
			ever = ever || serving(held)
		}
		if expires >= 0 && due(expires) && state != Draining && state != Stopped {
			state, heldN, expires = Stale, 0, -1
		}
	}
	for _, rep := range c.log {
		clock(rep.at, true)
		if state == Stopped && rep.state != Stopped || state == Draining && rep.state != Draining && rep.state != Stopped {
			continue
		}
		expires = -1
		if rep.ttl > 0 && rep.state != Draining && rep.state != Stopped {
			expires = rep.at + rep.ttl
		}
		h := c.opts.Hysteresis
		crossing := (rep.state == Failed || serving(rep.state)) && state != Starting && serving(rep.state) != serving(state)
		if crossing && ever && h != (Hysteresis{}) {
			want, wantFor = max(1, h.FailCount), h.FailFor
			if serving(rep.state) {
				want, wantFor = max(1, h.RecoverCount), h.RecoverFor
			}
			if heldN == 0 {
				heldAt = rep.at
			}
			heldN++
			held = rep.state
			if heldN < want || rep.at < heldAt+wantFor {
				continue
			}
		}
		heldN = 0
		state = rep.state
		ever = ever || serving(state)
	}
	clock(now, true)
	return state, ever
}

// generations brings the policy up to date; it must be called at every event
// that can change it.
func (m *model) generations() (ok bool) {
	var gens []uint64
	silent := false
	for _, c := range m.components {
		if c.opts.Generational && !c.opts.Optional {
			gens = append(gens, c.gen)
			silent = silent || !c.hasGen || m.maxAge > 0 && m.now >= c.genAt+m.maxAge
		}
	}
	met := !silent
	if len(gens) == 0 {
		met = !m.agree && m.floor == 0
	} else {
		met = met && slices.Min(gens) >= m.floor && (!m.agree || slices.Min(gens) == slices.Max(gens))
	}
	if !met && m.genMet {
		m.genBadSince = m.now
	}
	m.genMet = met
	m.genEverMet = m.genEverMet || met
	return met || m.genEverMet && !silent && m.now < m.genBadSince+m.grace
}

// inGroup returns the group that stands for the component.
func (m *model) inGroup(c *modelComponent) *modelComponent {
	if g := m.components[c.opts.Group]; g != nil && g.atLeast > 0 {
		return g
	}
	return nil
}

// stateOf judges a component or a group. A group has as its state the best one
// that enough members have reached, if serving is best, then failed, then stale.
func (m *model) stateOf(name string) (state State, ever bool) {
	g := m.components[name]
	if g.atLeast == 0 {
		return g.judge(m.now)
	}
	all := true
	var ranks []int
	for _, c := range m.components {
		if c.opts.Group != name {
			continue
		}
		s, _ := c.judge(m.now)
		all = all && s == Ready
		ranks = append(ranks, map[State]int{Ready: 3, Degraded: 3, Failed: 2, Stale: 1}[s])
	}
	slices.Sort(ranks)
	state = Starting
	if len(ranks) >= g.atLeast {
		state = []State{Starting, Stale, Failed, Degraded}[ranks[len(ranks)-g.atLeast]]
	}
	if state == Degraded && all {
		state = Ready
	}
	g.ever = g.ever || serving(state)
	return state, g.ever
}

// sharedDown finds whether a failed shared dependency lies below.
func (m *model) sharedDown(name string, depth int) bool {
	if depth > len(m.components) {
		return false
	}
	for _, d := range m.components[name].opts.DependsOn {
		if m.components[d] == nil {
			continue
		}
		state, ever := m.stateOf(d)
		if state == Failed && ever && m.components[d].opts.OnFailure == FailShared {
			return true
		}
		if (state == Failed || state == Stale) && m.sharedDown(d, depth+1) {
			return true
		}
	}
	return false
}

func (m *model) ready() bool {
	gens := m.generations()
	required, good := 0, true
	for name, c := range m.components {
		state, ever := m.stateOf(name)
		if c.opts.Optional || m.inGroup(c) != nil {
			continue
		}
		required++
		open := ever && (state == Failed && c.opts.OnFailure != FailClosed || (state == Failed || state == Stale) && m.sharedDown(name, 0))
		good = good && (serving(state) || open)
	}
	for _, n := range m.expect {
		good = good && m.components[n] != nil
	}
	if m.phase > PhaseServing || !gens || !good || required == 0 {
		return false
	}
	m.started = true
	if m.phase == PhaseStarting {
		m.phase = PhaseServing
	}
	return true
}

// sleep lets time pass in the steps in which everything here happens, so that
// what was true for a moment is seen.
func (m *model) sleep(d time.Duration) {
	for end := m.now + d; m.now < end; {
		m.now += time.Millisecond
		m.ready()
	}
}

func (m *model) live() bool {
	for _, t := range m.tokens {
		if !t.idle && m.now >= t.last+t.limit {
			return false
		}
	}
	for _, c := range m.components {
		if s, _ := c.judge(m.now); c.atLeast == 0 && c.opts.LivenessOverride && (s == Failed || s == Stale) {
			return false
		}
	}
	return true
}

var modelOptions = []Options{
	{},
	{Optional: true},
	{TTL: 50 * time.Millisecond},
	{OnFailure: FailOpen},
	{Hysteresis: Hysteresis{FailCount: 2, RecoverCount: 3}},
	{Hysteresis: Hysteresis{FailFor: 30 * time.Millisecond, RecoverFor: 20 * time.Millisecond}},
	{Hysteresis: Hysteresis{FailCount: 2, FailFor: 25 * time.Millisecond}, TTL: 40 * time.Millisecond, OnFailure: FailOpen},
	{Generational: true},
	{Generational: true, TTL: 70 * time.Millisecond, LivenessOverride: true},
	{LivenessOverride: true, Optional: true, Generational: true},
	{DependsOn: []string{"a", "b", "c", "d"}, TTL: 55 * time.Millisecond},
	{OnFailure: FailShared},
	{OnFailure: FailShared, TTL: 60 * time.Millisecond, DependsOn: []string{"a"}},
	{Group: "d"},
	{Group: "d", TTL: 45 * time.Millisecond, Hysteresis: Hysteresis{FailCount: 2, RecoverFor: 10 * time.Millisecond}},
}

// play reads ops as pairs of bytes and compares the registry with the model
// after each.
func play(t *testing.T, ops []byte) {
	synctest.Test(t, func(t *testing.T) {
		if len(ops) == 0 {
			return
		}
		m := &model{components: map[string]*modelComponent{}, tokens: map[string]*modelToken{}}
		cfg := Config{}
		if ops[0]&1 != 0 {
			cfg.Expect, m.expect = []string{"a"}, []string{"a"}
		}
		if ops[0]&2 != 0 {
			cfg.Generations.Agree, m.agree = true, true
		}
		if ops[0]&4 != 0 {
			cfg.Generations.Grace, m.grace = 35*time.Millisecond, 35*time.Millisecond
		}
		if ops[0]&8 != 0 {
			cfg.Generations.MaxAge, m.maxAge = 55*time.Millisecond, 55*time.Millisecond
		}
		r := New(cfg)
		defer func() {
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		handles := map[string]*Component{}
		tokens := map[string]*Loop{}
		m.genMet = true // so that the first violation has a beginning
		m.generations()
		var version uint64
		for i := 1; i+1 < len(ops); i += 2 {
			op, arg := ops[i]%16, int(ops[i+1])
			name := string(rune('a' + arg%4))
			what := apply(t, m, r, handles, tokens, op, arg, name)
			version = compare(t, m, r, fmt.Sprintf("op %d: %s", (i-1)/2, what), version)
			if t.Failed() {
				return
			}
		}
	})
}

func apply(t *testing.T, m *model, r *Registry, handles map[string]*Component, tokens map[string]*Loop, op byte, arg int, name string) string {
	h, mc := handles[name], m.components[name]
	say := func(s State, ttl time.Duration, do func()) string {
		if h == nil {
			return "nothing"
		}
		do()
		mc.log = append(mc.log, modelReport{m.now, s, ttl})
		return fmt.Sprintf("%s reports %s", name, s)
	}
	switch op {
	case 0, 1:
		if name == "d" && arg >= 96 {
			return applyGroup(t, m, r, arg)
		}
		if mc != nil && mc.atLeast > 0 {
			if _, err := r.Register(name, Options{}); !errors.Is(err, ErrDuplicate) {
				t.Fatalf("register under the name of a group: got %v", err)
			}
			return "nothing"
		}
		opts := modelOptions[arg/4%len(modelOptions)]
		c, err := r.Register(name, opts)
		if (err != nil) != (h != nil) || err != nil && !errors.Is(err, ErrDuplicate) {
			t.Fatalf("register %s: got error %v, registered before: %v", name, err, h != nil)
		}
		if err == nil {
			handles[name], m.components[name] = c, &modelComponent{opts: opts}
		}
		return "register " + name
	case 2:
		if h != nil {
			h.Retract()
			h.Ready() // a report after the end must not bring it back
			delete(handles, name)
			delete(m.components, name)
		}
		return "retract " + name
	case 3, 4, 5:
		if h != nil {
			return say(Ready, h.opts.TTL, h.Ready)
		}
	case 6:
		if h != nil {
			return say(Degraded, h.opts.TTL, func() { h.Degraded("slow") })
		}
	case 7, 8:
		if h != nil {
			return say(Failed, h.opts.TTL, func() { h.Failed(errors.New("no route")) })
		}
	case 9:
		switch {
		case h == nil:
		case arg >= 250:
			return say(Stopped, 0, func() { h.Stopped("") })
		case arg >= 240:
			return say(Draining, 0, func() { h.Draining("") })
		case arg >= 200:
			return say(Starting, h.opts.TTL, func() { h.Starting("again") })
		default:
			return say(Ready, 15*time.Millisecond, func() { h.ReadyFor(15 * time.Millisecond) })
		}
	case 10, 11:
		d := time.Duration(arg%32) * time.Millisecond
		time.Sleep(d)
		m.sleep(d)
		return "sleep " + d.String()
	case 12, 13:
		if h != nil {
			h.Generation(uint64(arg / 4 % 4))
			mc.gen, mc.hasGen, mc.genAt = uint64(arg/4%4), true, m.now
			return name + " serves a generation"
		}
	case 14:
		return applyToken(t, m, r, tokens, arg, name)
	case 15:
		return applyPhase(t, m, r, arg)
	}
	return "nothing"
}

// applyGroup registers d as a group or retracts it.
func applyGroup(t *testing.T, m *model, r *Registry, arg int) string {
	if g := m.components["d"]; g != nil {
		if g.atLeast > 0 && arg >= 200 {
			(&Group{r.byName["d"]}).Retract()
			delete(m.components, "d")
			return "retract group d"
		}
		if _, err := r.RegisterGroup("d", GroupOptions{AtLeast: 1}); !errors.Is(err, ErrDuplicate) {
			t.Fatalf("group of a taken name: got %v", err)
		}
		return "nothing"
	}
	opts := GroupOptions{AtLeast: 1 + arg/4%2, OnFailure: FailurePolicy(arg / 8 % 3), Optional: arg%3 == 0}
	if _, err := r.RegisterGroup("d", opts); err != nil {
		t.Fatal(err)
	}
	m.components["d"] = &modelComponent{opts: Options{OnFailure: opts.OnFailure, Optional: opts.Optional}, atLeast: opts.AtLeast}
	return fmt.Sprintf("register group d of %d", opts.AtLeast)
}

func applyToken(t *testing.T, m *model, r *Registry, tokens map[string]*Loop, arg int, name string) string {
	token, mt := tokens[name], m.tokens[name]
	if token == nil {
		token, err := r.RegisterLoop(name, 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		tokens[name], m.tokens[name] = token, &modelToken{limit: 20 * time.Millisecond, last: m.now}
		return "token " + name
	}
	switch arg / 4 % 4 {
	case 0, 1:
		token.Tick()
		mt.last, mt.idle = m.now, false
	case 2:
		token.Idle()
		mt.idle = true
	case 3:
		token.Close()
		token.Tick()
		delete(tokens, name)
		delete(m.tokens, name)
	}
	return "work on token " + name
}

func applyPhase(t *testing.T, m *model, r *Registry, arg int) string {
	type move struct {
		to   Phase
		from []Phase
	}
	moves := []move{
		{PhaseLameDuck, []Phase{PhaseStarting, PhaseServing, PhaseLameDuck}},
		{PhaseDraining, []Phase{PhaseLameDuck, PhaseDraining}},
		{PhaseStopped, []Phase{PhaseDraining, PhaseStopped}},
	}
	switch {
	case arg < 128:
		n := uint64(arg % 3)
		r.RequireGeneration(n)
		m.floor = max(m.floor, n)
		return "require generation"
	case arg < 216:
		// Mostly a move that is refused, so that long sequences stay in service.
		if m.phase != PhaseStarting && m.phase != PhaseServing {
			return "nothing"
		}
		mv := moves[1+arg%2]
		if err := r.Advance(mv.to, "told"); !errors.Is(err, ErrPhase) {
			t.Fatalf("move from %s to %s: got %v, want ErrPhase", m.phase, mv.to, err)
		}
		return "illegal move"
	}
	mv := moves[arg%3]
	err := r.Advance(mv.to, "told")
	if legal := slices.Contains(mv.from, m.phase); legal != (err == nil) || !legal && !errors.Is(err, ErrPhase) {
		t.Fatalf("move from %s to %s: got %v, legal %v", m.phase, mv.to, err, legal)
	} else if legal {
		m.phase = mv.to
	}
	return "move to " + mv.to.String()
}

func compare(t *testing.T, m *model, r *Registry, when string, last uint64) uint64 {
	t.Helper()
	want := m.ready()
	// The counters are asked before anything brings the registry up to date.
	if got := r.Ready(); got != want {
		t.Errorf("%s: Ready() = %v, want %v (%s)", when, got, want, r.Snapshot().Reason())
	}
	if got, want := r.Live(), m.live(); got != want {
		t.Errorf("%s: Live() = %v, want %v", when, got, want)
	}
	s := r.Snapshot()
	if s.Ready() != want || s.Live() != m.live() || s.Started != m.started || s.Phase != m.phase || r.Phase() != m.phase {
		t.Errorf("%s: snapshot ready %v live %v started %v phase %v, want %v %v %v %v", when, s.Ready(), s.Live(), s.Started, s.Phase, want, m.live(), m.started, m.phase)
	}
	if got, _ := s.ReadyWithout(); got != want {
		t.Errorf("%s: ReadyWithout() = %v, want %v", when, got, want)
	}
	if got := len(s.Causes()) == 0; got != want {
		t.Errorf("%s: causes %v, ready %v", when, s.Causes(), want)
	}
	if s.Version < last {
		t.Errorf("%s: version fell from %d to %d", when, last, s.Version)
	}
	if len(s.Components) != len(m.components) {
		t.Errorf("%s: got %d components, want %d", when, len(s.Components), len(m.components))
	}
	for _, c := range s.Components {
		mc := m.components[c.Name]
		if mc == nil {
			t.Errorf("%s: %s is not in the model", when, c.Name)
			continue
		}
		if want, ever := m.stateOf(c.Name); c.State != want || c.EverReady != ever {
			t.Errorf("%s: %s is %s (ever ready %v), want %s (%v) at %v; options %+v, log %v", when, c.Name, c.State, c.EverReady, want, ever, m.now, mc.opts, mc.log)
		}
	}
	codes := map[string]bool{"/readyz": want, "/readyz?verbose": want, "/livez": m.live(), "/startupz": m.started, "/drainz": m.phase == PhaseStopped, "/readyz?exclude=none-such": want}
	for path, ok := range codes {
		rec := httptest.NewRecorder()
		r.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if got := rec.Code == http.StatusOK; got != ok {
			t.Errorf("%s: %s answers %d, want ok %v", when, path, rec.Code, ok)
		}
	}
	return s.Version
}

func FuzzModel(f *testing.F) {
	f.Add([]byte{0, 0, 8, 3, 0, 11, 31, 11, 31})
	f.Add([]byte{7, 0, 28, 0, 29, 12, 4, 12, 5, 3, 0, 3, 1, 12, 8, 10, 31, 10, 31})
	f.Add([]byte{8, 0, 28, 12, 4, 3, 0, 10, 31, 12, 4, 10, 31, 10, 31})
	f.Add([]byte{0, 1, 103, 0, 52, 0, 53, 3, 0, 3, 1, 7, 0, 7, 1, 1, 203, 3, 1})
	f.Add([]byte{0, 0, 44, 0, 41, 3, 0, 3, 1, 7, 0, 7, 1, 3, 0, 2, 0})
	f.Add([]byte{0, 0, 0, 3, 0, 15, 216, 15, 217, 15, 218})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 400 {
			ops = ops[:400]
		}
		play(t, ops)
	})
}

func TestModelRandom(t *testing.T) {
	runs := 300
	if testing.Short() {
		runs = 100
	}
	ready := 0
	for seed := range runs {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		ops := make([]byte, 201)
		for i := range ops {
			ops[i] = byte(rng.Uint32())
		}
		play(t, ops)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		ready++
	}
	if ready != runs {
		t.Errorf("got %d runs, want %d", ready, runs)
	}
}
