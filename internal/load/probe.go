package load

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// ProbeOnce sends one request straight to addr (host:port) as the wire says, on a new connection, without
// any retry, and says what became of it: its class (OK means that it met with what it has to
// meet with, which for one of the expectation Deny is a denial), the status of the answer
// (0 without one) and the reason. The timeout counts from the call. A request that cannot be sent
// at all, or a ctx that ends first, is of the class Other.
func ProbeOnce(ctx context.Context, addr string, wire drivers.Wire, r Request, timeout time.Duration) (record.Class, int, string) {
	c, err := newDirectCall(addr, wire, &r)
	if err != nil {
		return record.Other, 0, errorText(err)
	}
	once, err := transportFor(wire, nil, false, 1, timeout)
	if err != nil {
		return record.Other, 0, errorText(err)
	}
	defer once.CloseIdleConnections()
	names := newHeaderNames(nil, "", "")
	var s record.Sample
	exchange(ctx, once, c, &names, time.Now().Add(timeout), false, &s)
	return s.Class, s.Status, s.Reason
}

// newDirectCall prepares a request to addr that may be of either expectation.
func newDirectCall(addr string, wire drivers.Wire, r *Request) (*call, error) {
	expect := record.Serve // unless it says otherwise; what is neither is refused
	if r.Expect == record.Deny {
		expect = record.Deny
	}
	return newCall(&url.URL{Scheme: wire.Scheme(), Host: addr}, r, expect)
}

// ProbePlan is how a Prober asks.
type ProbePlan struct {
	Base    time.Time     // of the trial
	Period  time.Duration // from the start of one probe of an instance to the start of its next
	Wire    drivers.Wire  // how instances are spoken to
	Timeout time.Duration // of one probe; while one lasts longer than the period, no other is sent
	// Request says by its Expect and Statuses what an able instance does with it: it serves
	// it, or it denies it. Where an instance that is not ready lets everything in, only the
	// request that must be denied tells.
	Request Request
}

// Prober asks a changing set of instances directly, each one on a schedule of its own.
// Its methods may be called concurrently.
type Prober struct {
	plan ProbePlan
	ask  func(addr string) (record.Class, string)
	out  *mailbox[record.ProbeResult]

	mu      sync.Mutex
	targets map[string]context.CancelFunc // by instance
	added   uint64
	closed  bool
	probes  sync.WaitGroup // one for each target that was added
}

// NewProber returns a prober that has no instance to ask yet. It calls sink from one
// goroutine; a slow sink delays nothing. The caller must Close it.
func NewProber(p ProbePlan, sink func(record.ProbeResult)) (*Prober, error) {
	if p.Base.IsZero() || p.Period <= 0 || p.Timeout <= 0 {
		return nil, fmt.Errorf("prober: base, period %v and timeout %v must be set", p.Period, p.Timeout)
	}
	// The address is each target's own; this checks the request.
	if _, err := newDirectCall("host", p.Wire, &p.Request); err != nil {
		return nil, fmt.Errorf("prober: %w", err)
	}
	once, err := transportFor(p.Wire, nil, false, 1, p.Timeout)
	if err != nil {
		return nil, fmt.Errorf("prober: %w", err)
	}
	return newProber(p, sink, func(addr string) (record.Class, string) {
		return askDirectly(once, addr, &p)
	}), nil
}

// askDirectly sends the plan's request to addr.
func askDirectly(once transport, addr string, p *ProbePlan) (record.Class, string) {
	c, err := newDirectCall(addr, p.Wire, &p.Request)
	if err != nil {
		return record.Other, errorText(err)
	}
	names := newHeaderNames(nil, "", "")
	var s record.Sample
	exchange(context.Background(), once, c, &names, time.Now().Add(p.Timeout), false, &s)
	return s.Class, s.Reason
}

func newProber(p ProbePlan, sink func(record.ProbeResult), ask func(string) (record.Class, string)) *Prober {
	return &Prober{
		plan:    p,
		ask:     ask,
		out:     newMailbox(sink),
		targets: make(map[string]context.CancelFunc),
	}
}

// Add starts to probe an instance at addr (host:port). An instance of the same ID that
// was there before is replaced. After Close it does nothing.
func (p *Prober) Add(instance, revision, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if stop, ok := p.targets[instance]; ok {
		stop()
	}
	ctx, stop := context.WithCancel(context.Background())
	p.targets[instance] = stop
	// Instances that were added at once are not all asked at once.
	offset := time.Duration(hash(p.added) % uint64(p.plan.Period))
	p.added++
	p.probes.Go(func() { p.watch(ctx, instance, revision, addr, offset) })
}

// Remove ends the probing of an instance. A probe that is under way still finishes and
// is still reported. It does not block; an unknown instance is ignored.
func (p *Prober) Remove(instance string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stop, ok := p.targets[instance]; ok {
		stop()
		delete(p.targets, instance)
	}
}

// Close removes every instance and returns when the last result was handed to the sink,
// which takes at most the timeout of a probe. Only one call waits; further ones do
// nothing.
func (p *Prober) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	for _, stop := range p.targets {
		stop()
	}
	clear(p.targets)
	p.mu.Unlock()

	p.probes.Wait()
	p.out.close()
}

// watch asks one instance until ctx ends: at offset, and then once in every period, at
// most one at a time. Periods that a slow probe has used up are left out.
func (p *Prober) watch(ctx context.Context, instance, revision, addr string, offset time.Duration) {
	next := time.Now().Add(offset)
	for waitUntil(ctx, next) {
		sent := time.Now()
		class, reason := p.ask(addr)
		done := time.Now()
		p.out.put(record.ProbeResult{
			At:       sent.Sub(p.plan.Base),
			Took:     done.Sub(sent),
			Instance: instance,
			Revision: revision,
			OK:       class == record.OK,
			Class:    class,
			Reason:   reason,
		})
		next = next.Add(p.plan.Period)
		if behind := done.Sub(next); behind > 0 {
			next = next.Add((behind + p.plan.Period - 1) / p.plan.Period * p.plan.Period)
		}
	}
}
