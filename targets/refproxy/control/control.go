// Package control is the control plane of the reference proxy: it owns the routes and
// their policy, the session records and the signing key, streams them to the proxies at
// a bounded rate, and lets an operator publish, revoke and stall. It keeps everything in
// memory: a control plane that starts again starts a new epoch from its options.
package control

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// The routes that every configuration has.
const (
	AppPrefix       = "/app/"       // every active session may use it
	ForbiddenPrefix = "/forbidden/" // nobody may use it
)

// The groups that routes are allowed to.
const (
	sessionGroup = "staff"     // of every session
	otherGroup   = "operators" // of none: routes that only fill up the policy
)

// DefaultHeartbeat is the time between two heartbeats of a stream.
const DefaultHeartbeat = time.Second

// ErrNoSession: no such session exists.
var ErrNoSession = errors.New("no such session")

// Options say what a control plane holds and how fast it gives it away.
type Options struct {
	Seed     []byte  // of the signing key, credential.SeedSize bytes
	Sessions int     // initial session records, at least 1
	SyncRate float64 // session records a second for each subscriber, above 0
	Routes   int     // routes beside the ones that every configuration has, at least 0

	Heartbeat time.Duration // 0 means DefaultHeartbeat

	// AllowFaults lets the operator have proxies do something wrong.
	AllowFaults bool
}

// Plane is a control plane. Its methods may be called concurrently.
type Plane struct {
	options Options
	issuer  *credential.Issuer
	epoch   string

	mu          sync.Mutex
	config      *policy.Config // never changed, only replaced
	bad         bool           // config is one that proxies must reject
	revoked     []bool         // by number of the session
	changes     []int          // the session that each version after the first changed
	stalled     bool
	changed     chan struct{} // closed and replaced whenever anything above changes
	subscribers map[*subscriber]struct{}
	processes   map[string]*process // that follow the stream of faults, by their lives
}

// New returns a control plane at generation 1.
func New(o Options) (*Plane, error) {
	switch {
	case o.Sessions < 1:
		return nil, fmt.Errorf("sessions is %d, want at least 1", o.Sessions)
	case !(o.SyncRate > 0): // also refuses what is not a number
		return nil, fmt.Errorf("sync rate is %v, want records a second above 0", o.SyncRate)
	case o.Routes < 0:
		return nil, fmt.Errorf("routes is %d, want at least 0", o.Routes)
	case o.Heartbeat < 0:
		return nil, fmt.Errorf("heartbeat is %v, want at least 0", o.Heartbeat)
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = DefaultHeartbeat
	}
	issuer, err := credential.NewIssuer(o.Seed)
	if err != nil {
		return nil, err
	}
	p := &Plane{
		options: o, issuer: issuer, epoch: rand.Text(),
		revoked:     make([]bool, o.Sessions),
		changed:     make(chan struct{}),
		subscribers: make(map[*subscriber]struct{}),
		processes:   make(map[string]*process),
	}
	p.config = &policy.Config{Generation: 1, Routes: p.routes()}
	for n := range p.revoked {
		p.revoked[n] = credential.Revoked(n)
	}
	return p, nil
}

// routes returns the routes of a good configuration.
func (p *Plane) routes() []policy.Route {
	routes := make([]policy.Route, 0, p.options.Routes+2)
	routes = append(routes,
		policy.Route{Prefix: AppPrefix, Allow: []string{sessionGroup}},
		policy.Route{Prefix: ForbiddenPrefix},
	)
	for n := range p.options.Routes {
		routes = append(routes, policy.Route{
			Prefix: fmt.Sprintf("/service-%05d/", n), Allow: []string{otherGroup},
		})
	}
	return routes
}

// Publish makes the next generation of the configuration and returns its number. A bad
// one holds a route that a proxy must reject it for; the next good one repairs it.
func (p *Plane) Publish(bad bool) policy.Generation {
	routes := p.routes()
	if bad {
		routes = append(routes, policy.Route{Prefix: "no-slashes", Allow: []string{sessionGroup}})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config = &policy.Config{Generation: p.config.Generation + 1, Routes: routes}
	p.bad = bad
	p.notify()
	return p.config.Generation
}

// Revoke revokes a session and returns the version of the session records that says so.
// Revoking it again changes nothing. The error wraps ErrNoSession.
func (p *Plane) Revoke(session string) (version uint64, err error) {
	n, err := p.number(session)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.revoked[n] {
		p.revoked[n] = true
		p.changes = append(p.changes, n)
		p.notify()
	}
	return p.version(), nil
}

// Revoked says whether a session is revoked. The error wraps ErrNoSession.
func (p *Plane) Revoked(session string) (bool, error) {
	n, err := p.number(session)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revoked[n], nil
}

// number is the number of the session with the given ID.
func (p *Plane) number(session string) (int, error) {
	digits, ok := strings.CutPrefix(session, strings.TrimRight(credential.SessionID(0), "0"))
	n := 0
	if _, err := fmt.Sscanf(digits, "%d", &n); !ok || err != nil ||
		n < 0 || n >= len(p.revoked) || credential.SessionID(n) != session {
		return 0, fmt.Errorf("%w: %q; they are %s to %s", ErrNoSession, session,
			credential.SessionID(0), credential.SessionID(len(p.revoked)-1))
	}
	return n, nil
}

// Stall makes every stream silent, or lets them go on. The connections stay, as they do
// when a control plane hangs.
func (p *Plane) Stall(stalled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != stalled {
		p.stalled = stalled
		p.notify()
	}
}

// Status is what a control plane holds and who follows it.
type Status struct {
	Epoch      string            `json:"epoch"`
	Generation policy.Generation `json:"generation"`
	Bad        bool              `json:"bad"`      // the generation is one that proxies must reject
	Routes     int               `json:"routes"`   // of the generation
	Sessions   int               `json:"sessions"` // records
	Revoked    int               `json:"revoked"`  // of these
	Version    uint64            `json:"version"`  // of the session records
	Stalled    bool              `json:"stalled"`
	// Faults are those that proxies have been told of, by instance.
	Faults map[string][]feed.Fault `json:"faults,omitempty"`

	Subscribers []Subscriber `json:"subscribers"` // by instance, then stream
}

// Subscriber is one stream that is being followed.
type Subscriber struct {
	Instance string    `json:"instance"`
	Stream   string    `json:"stream"` // config, sessions
	Since    time.Time `json:"since"`
	// Position is the generation or the version that was sent last; 0 while the
	// subscriber is still being sent its first.
	Position uint64 `json:"position"`
	// Records is how many records of a snapshot were sent so far.
	Records int `json:"records"`
}

// Status returns what the control plane holds now.
func (p *Plane) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Epoch: p.epoch, Generation: p.config.Generation, Bad: p.bad,
		Routes: len(p.config.Routes), Sessions: len(p.revoked), Version: p.version(),
		Stalled: p.stalled, Subscribers: make([]Subscriber, 0, len(p.subscribers)),
	}
	for _, r := range p.revoked {
		if r {
			s.Revoked++
		}
	}
	for _, proc := range p.processes {
		if len(proc.faults) > 0 && proc.streams > 0 {
			if s.Faults == nil {
				s.Faults = make(map[string][]feed.Fault)
			}
			s.Faults[proc.instance] = slices.Clone(proc.faults)
		}
	}
	for sub := range p.subscribers {
		s.Subscribers = append(s.Subscribers, sub.Subscriber)
	}
	slices.SortFunc(s.Subscribers, func(a, b Subscriber) int {
		if c := strings.Compare(a.Instance, b.Instance); c != 0 {
			return c
		}
		return strings.Compare(a.Stream, b.Stream)
	})
	return s
}

// notify tells every stream that something changed. The caller holds the lock.
func (p *Plane) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// version numbers the state of the session records, from 1. The caller holds the lock.
func (p *Plane) version() uint64 { return uint64(len(p.changes)) + 1 }

// since returns the records that changed after a version, and the version now.
func (p *Plane) since(version uint64) ([]feed.Record, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var records []feed.Record
	for _, n := range p.changes[version-1:] {
		records = append(records, p.record(n))
	}
	return records, p.version()
}

// records returns the records from one number up to, not including, another.
func (p *Plane) records(from, to int) []feed.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := make([]feed.Record, 0, to-from)
	for n := from; n < to; n++ {
		records = append(records, p.record(n))
	}
	return records
}

// record is the session record of a number. The caller holds the lock.
func (p *Plane) record(n int) feed.Record {
	return feed.Record{ID: credential.SessionID(n), Group: sessionGroup, Revoked: p.revoked[n]}
}
