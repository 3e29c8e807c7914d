//go:build go1.25

package healthkit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroupState(t *testing.T) {
	tests := []struct {
		atLeast int
		members []State
		want    State
	}{
		{1, nil, Starting},
		{2, []State{Ready}, Starting},
		{2, []State{Ready, Ready}, Ready},
		{2, []State{Ready, Ready, Ready}, Ready},
		{2, []State{Ready, Ready, Failed}, Degraded},
		{2, []State{Ready, Degraded}, Degraded},
		{2, []State{Ready, Ready, Stopped}, Degraded},
		{2, []State{Ready, Failed, Starting}, Failed},
		{2, []State{Failed, Failed, Failed}, Failed},
		{2, []State{Ready, Stale, Failed}, Failed},
		{2, []State{Ready, Stale, Starting}, Stale},
		{2, []State{Ready, Starting, Starting}, Starting},
		{2, []State{Ready, Draining, Stopped}, Starting},
	}
	for _, tt := range tests {
		var n census
		for _, s := range tt.members {
			n[s]++
		}
		if got := n.state(tt.atLeast); got != tt.want {
			t.Errorf("at least %d of %v: got %s, want %s", tt.atLeast, tt.members, got, tt.want)
		}
	}
}

func TestGroupCountsInPlaceOfItsMembers(t *testing.T) {
	r := New(Config{})
	var members []*Component
	for i := range 3 {
		members = append(members, mustRegister(t, r, fmt.Sprintf("replica-%d", i), Options{Group: "replicas"}))
	}
	members[0].Ready()
	members[1].Ready()
	if r.Ready() {
		t.Error("without a group, a member that starts must count by itself")
	}
	g, err := r.RegisterGroup("replicas", GroupOptions{AtLeast: 2})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when string, ready bool, text string) {
		t.Helper()
		if got := r.Ready(); got != ready {
			t.Errorf("%s: got ready %v, want %v", when, got, ready)
		}
		if got := r.Snapshot().Reason(); !strings.Contains(got, text) {
			t.Errorf("%s: got %q, want it to hold %q", when, got, text)
		}
	}
	expect("two of three", true, "replicas degraded: 2 of 3 members serve, at least 2 must")
	members[1].Failed(errors.New("connection refused"))
	expect("one of three", false, "replica-1 failed: connection refused (blocks replicas)")
	if ok, _ := r.Snapshot().ReadyWithout("replicas"); ok {
		t.Error("without its only group the registry is empty, and so not ready")
	}
	members[2].Ready()
	expect("another two", true, "replicas degraded")
	if ok, _ := r.Snapshot().ReadyWithout("replica-1"); !ok {
		t.Error("without the one that failed, two of two serve")
	}
	if ok, _ := r.Snapshot().ReadyWithout("replica-0"); ok {
		t.Error("without one that serves, one of two serves")
	}
	members[0].Retract()
	expect("one of two", false, "replica-1 failed")
	members[1].Ready()
	expect("all", true, "ready")
	if s := stateOf(t, r, "replicas"); s != Ready {
		t.Errorf("got %s, want ready", s)
	}
	members[1].Failed(nil)
	g.Retract()
	g.Retract()
	expect("without the group, members count again", false, "replica-1 failed")
	members[1].Ready()
	expect("and recover by themselves", true, "ready")
}

func TestGroupRefusals(t *testing.T) {
	r := New(Config{})
	group := func(name string, o GroupOptions) error { _, err := r.RegisterGroup(name, o); return err }
	member := func(o Options) error { o.Group = "g"; _, err := r.Register("m", o); return err }
	mustRegister(t, r, "taken", Options{})
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"no members asked for", group("g", GroupOptions{}), ErrOptions},
		{"bad name", group("a b", GroupOptions{AtLeast: 1}), ErrName},
		{"taken", group("taken", GroupOptions{AtLeast: 1}), ErrDuplicate},
		{"optional member", member(Options{Optional: true}), ErrOptions},
		{"generational member", member(Options{Generational: true}), ErrOptions},
		{"member with a policy", member(Options{OnFailure: FailOpen}), ErrOptions},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.err, tt.want)
		}
	}
}

// The outage of a dependency that all instances share. Fail-closed evicts the
// whole fleet; fail-shared evicts none of it, also when the parts that depend on
// it fail too, and still evicts the one instance that has a trouble of its own.
func TestSharedOutageEvictsNobody(t *testing.T) {
	type instance struct {
		r                 *Registry
		db, auth, storage *Component
	}
	fleet := func(p FailurePolicy) []instance {
		var all []instance
		for range 3 {
			r := New(Config{})
			i := instance{
				r:       r,
				db:      mustRegister(t, r, "db", Options{OnFailure: p}),
				auth:    mustRegister(t, r, "auth", Options{DependsOn: []string{"session"}}),
				storage: mustRegister(t, r, "storage", Options{}),
			}
			session := mustRegister(t, r, "session", Options{DependsOn: []string{"db"}})
			for _, c := range []*Component{i.db, i.auth, i.storage, session} {
				c.Ready()
			}
			i.db.Failed(errors.New("connection refused"))
			session.Failed(errors.New("no database"))
			i.auth.Failed(errors.New("no session"))
			all = append(all, i)
		}
		return all
	}
	routed := func(all []instance) int {
		n := 0
		for _, i := range all {
			if status, _ := get(t, i.r.Handler(), http.MethodGet, "/readyz"); status == http.StatusOK {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		policy FailurePolicy
		want   int
	}{{FailClosed, 0}, {FailOpen, 0}, {FailShared, 3}} {
		if got := routed(fleet(tt.policy)); got != tt.want {
			t.Errorf("%s: %d of 3 instances are routed to, want %d", tt.policy, got, tt.want)
		}
	}

	all := fleet(FailShared)
	one := all[0]
	if s := one.r.Snapshot(); !s.Degraded() || !strings.Contains(s.Reason(), "auth failed: no session (excused by db)") {
		t.Errorf("got %q, want it degraded and the excuse named", s.Reason())
	}
	one.storage.Failed(errors.New("disk full"))
	if got := routed(all); got != 2 {
		t.Errorf("with one broken disk %d of 3 are routed to, want 2", got)
	}
	one.storage.Ready()
	one.auth.Starting("restarts")
	if got := routed(all); got != 2 {
		t.Errorf("with one instance that starts again %d of 3 are routed to, want 2: only failure is excused", got)
	}
	one.auth.Failed(errors.New("no session"))
	one.db.Ready()
	if got := routed(all); got != 2 {
		t.Errorf("where the outage is over %d of 3 are routed to, want 2: nothing excuses the rest there", got)
	}
	one.db.Failed(errors.New("again"))
	one.db.Retract()
	if one.r.Ready() {
		t.Error("a dependency that was retracted excuses nothing")
	}
}

func TestExcuseNeedsAFirstReadiness(t *testing.T) {
	r := New(Config{})
	db := mustRegister(t, r, "db", Options{OnFailure: FailShared})
	auth := mustRegister(t, r, "auth", Options{DependsOn: []string{"db", "auth"}})
	db.Failed(errors.New("down"))
	auth.Ready()
	auth.Failed(errors.New("no database"))
	if s, _ := r.Snapshot().Component("auth"); r.Ready() || s.ExcusedBy != "" {
		t.Errorf("a shared dependency that was never ready is no outage; got auth excused by %q", s.ExcusedBy)
	}
	auth.Ready()
	db.Ready()
	db.Failed(errors.New("down"))
	if !r.Ready() {
		t.Errorf("got %s", r.Snapshot().Reason())
	}
	mustRegister(t, r, "late", Options{DependsOn: []string{"db"}}).Failed(errors.New("no database"))
	if r.Ready() {
		t.Error("a component that was never ready is not excused")
	}
}

// Who waits for the answer of a database that hangs reports nothing.
func TestSharedOutageExcusesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer r.Close(t.Context())
		db := mustRegister(t, r, "db", Options{OnFailure: FailShared, TTL: time.Minute})
		session := mustRegister(t, r, "session", Options{DependsOn: []string{"db"}, TTL: 10 * time.Second})
		auth := mustRegister(t, r, "auth", Options{DependsOn: []string{"session"}, TTL: 10 * time.Second})
		other := mustRegister(t, r, "other", Options{TTL: 10 * time.Second})
		all := []*Component{db, session, auth, other}
		report := func(c ...*Component) {
			for _, c := range c {
				c.Ready()
			}
		}
		expect := func(when string, want bool) {
			t.Helper()
			if r.Ready() != want {
				t.Errorf("%s: got %s", when, r.Snapshot().Reason())
			}
		}
		report(all...)
		expect("at first", true)
		db.Failed(errors.New("no answer"))
		for range 5 {
			time.Sleep(9 * time.Second)
			report(other)
		}
		expect("the others wait for the database", true)
		if s, _ := r.Snapshot().Component("auth"); s.State != Stale || s.ExcusedBy != "db" {
			t.Errorf("auth is %s and excused by %q", s.State, s.ExcusedBy)
		}
		db.Ready()
		expect("the outage is over, and they still say nothing", false)
		report(session, auth)
		expect("all is well", true)

		db.Failed(errors.New("no answer"))
		time.Sleep(11 * time.Second)
		expect("one that does not need the database is silent too", false)
		report(other)
		expect("it speaks again", true)
		for range 6 {
			time.Sleep(9 * time.Second)
			report(other)
		}
		expect("nobody knows how the database is", false)
	})
}

// What is fine in between passes no outage on.
func TestExcuseGoesOverFailuresOnly(t *testing.T) {
	r := New(Config{})
	var all []*Component
	for name, needs := range map[string][]string{"db": nil, "session": {"db"}, "auth": {"session"}} {
		opts := Options{DependsOn: needs}
		if name == "db" {
			opts.OnFailure = FailShared
		}
		c := mustRegister(t, r, name, opts)
		c.Ready()
		all = append(all, c)
	}
	for _, c := range all {
		if c.Name() != "session" {
			c.Failed(errors.New("down"))
		}
	}
	if s, _ := r.Snapshot().Component("auth"); r.Ready() || s.ExcusedBy != "" {
		t.Errorf("got ready %v, auth excused by %q", r.Ready(), s.ExcusedBy)
	}
}

// Two members change at the same moment. The group must not be taken for one
// that has served because it was looked at in between.
func TestGroupIsJudgedAfterTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		defer closeRegistry(t, r)
		a := mustRegister(t, r, "a", Options{Group: "g", Hysteresis: Hysteresis{RecoverFor: time.Second}})
		b := mustRegister(t, r, "b", Options{Group: "g"})
		a.Ready()
		a.Failed(errors.New("down"))
		if _, err := r.RegisterGroup("g", GroupOptions{AtLeast: 2, OnFailure: FailOpen}); err != nil {
			t.Fatal(err)
		}
		a.Ready()               // takes effect in a second
		b.ReadyFor(time.Second) // counts for a second
		time.Sleep(time.Second)
		if g, _ := r.Snapshot().Component("g"); g.EverReady || stateOf(t, r, "a") != Ready || stateOf(t, r, "b") != Stale {
			t.Errorf("got ever ready %v with a %s and b %s", g.EverReady, stateOf(t, r, "a"), stateOf(t, r, "b"))
		}
	})
}

func TestGenerationMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Generations: GenerationPolicy{Agree: true, Grace: time.Hour, MaxAge: time.Minute}})
		defer closeRegistry(t, r)
		a := mustRegister(t, r, "a", Options{Generational: true})
		b := mustRegister(t, r, "b", Options{Generational: true})
		for _, c := range []*Component{a, b} {
			c.Ready()
			c.Generation(7)
		}
		time.Sleep(time.Minute - 1)
		version := r.Version()
		a.Generation(7)
		if !r.Ready() || r.Version() != version {
			t.Errorf("confirmed in time: got ready %v, version %d after %d", r.Ready(), r.Version(), version)
		}
		time.Sleep(time.Nanosecond)
		if r.Ready() {
			t.Error("ready on a generation nobody has confirmed for a minute")
		}
		if got, want := r.Snapshot().Reason(), "have a=7 b=7 (older than 1m0s)"; !strings.Contains(got, want) {
			t.Errorf("got %q, want it to hold %q", got, want)
		}
		if ok, _ := r.Snapshot().ReadyWithout("b"); !ok {
			t.Error("without the old one, all are young")
		}
		b.Generation(7)
		if !r.Ready() {
			t.Errorf("confirmed late: got %s", r.Snapshot().Reason())
		}
		// A state that does not change is not old while it is confirmed.
		for range 100 {
			time.Sleep(30 * time.Second)
			a.Generation(7)
			b.Generation(7)
			if !r.Ready() {
				t.Fatalf("got %s", r.Snapshot().Reason())
			}
		}
		a.Generation(8)
		time.Sleep(time.Minute)
		if r.Ready() {
			t.Error("the grace of a disagreement hides that nobody confirms anything")
		}
		a.Generation(7)
		b.Generation(7)
		s, _ := r.Snapshot().Component("b")
		if age := time.Since(s.GenerationSince); age < 50*time.Minute {
			t.Errorf("got age %v, want that of the state, not of the report", age)
		}
	})
}
