package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Endpoint is a place that requests can be sent to.
type Endpoint struct {
	ID       string // names it in headers, counters, Unroute and Drained
	Revision string
	Addr     string // host:port
}

// ErrRouted is what Drained returns for an endpoint that still gets requests.
var ErrRouted = errors.New("edge: endpoint is routed to")

// backend is an endpoint between a Route and the end of its last request. It has a
// transport of its own, so that closing its idle connections touches nobody else's.
type backend struct {
	endpoint  Endpoint
	label     string // the ID, fit for a header
	transport *http.Transport
	ledger    *Counter
	inFlight  int // guarded by the balancer's lock
	gone      bool
	drained   chan struct{} // closed once gone, without requests, and its idle connections closed
}

// Route sends requests to the endpoint from here on. The same ID with another revision
// or address replaces the former one, which is drained as by Unroute; with the same ones
// nothing happens. It does nothing after Close.
func (b *Balancer) Route(endpoint Endpoint) {
	b.mu.Lock()
	at := b.index(endpoint.ID)
	if b.closing || at >= 0 && b.order[at].endpoint == endpoint {
		b.mu.Unlock()
		return
	}
	ledger := b.ledgers[endpoint]
	if ledger == nil {
		ledger = &Counter{Endpoint: endpoint}
		b.ledgers[endpoint] = ledger
		b.entries = append(b.entries, ledger)
	}
	ledger.Routed = true
	fresh := &backend{
		endpoint:  endpoint,
		label:     headerText(endpoint.ID),
		transport: b.newTransport(),
		ledger:    ledger,
		drained:   make(chan struct{}),
	}
	var old *backend
	if at >= 0 {
		old, b.order[at] = b.order[at], fresh
		b.retire(old)
	} else {
		// Just behind the one whose turn it is: it waits until all the others had theirs.
		b.order = slices.Insert(b.order, b.next, fresh)
		if len(b.order) > 1 {
			b.next = (b.next + 1) % len(b.order)
		}
	}
	b.mu.Unlock()
	if old != nil {
		old.settle(b)
	}
}

// Unroute sends no new requests to the endpoint; those under way go on, and its idle
// connections are closed. It returns at once: Drained waits. An unknown ID is no error.
func (b *Balancer) Unroute(id string) {
	b.mu.Lock()
	at := b.index(id)
	if at < 0 {
		b.mu.Unlock()
		return
	}
	old := b.order[at]
	b.order = slices.Delete(b.order, at, at+1)
	if at < b.next {
		b.next--
	}
	if b.next >= len(b.order) {
		b.next = 0
	}
	b.retire(old)
	b.mu.Unlock()
	old.settle(b)
}

// Drained waits until no request is under way at former endpoints of that ID and their
// idle connections are closed. It returns ErrRouted at once where the ID is routed to, nil for
// an unknown ID, and an error that wraps ctx's when that ends first.
func (b *Balancer) Drained(ctx context.Context, id string) error {
	b.mu.Lock()
	routed := b.index(id) >= 0
	waiting := slices.Clone(b.former[id])
	b.mu.Unlock()
	if routed {
		return fmt.Errorf("draining %s: %w", id, ErrRouted)
	}
	for _, old := range waiting {
		select {
		case <-old.drained:
		case <-ctx.Done():
			b.mu.Lock()
			left := old.inFlight
			b.mu.Unlock()
			return fmt.Errorf("edge: waited for %d requests under way at %s: %w", left, id, ctx.Err())
		}
	}
	return nil
}

// index finds a routed endpoint, -1 where there is none; the caller holds the lock.
func (b *Balancer) index(id string) int {
	return slices.IndexFunc(b.order, func(o *backend) bool { return o.endpoint.ID == id })
}

// retire notes that a backend gets no more requests; the caller holds the lock and calls
// settle once it has let go of it.
func (b *Balancer) retire(old *backend) {
	old.gone = true
	old.ledger.Routed = false
	b.former[old.endpoint.ID] = append(b.former[old.endpoint.ID], old)
}

// settle closes the idle connections of a retired backend and, where nothing is under
// way at it, declares it drained.
func (old *backend) settle(b *Balancer) {
	old.transport.CloseIdleConnections()
	b.mu.Lock()
	defer b.mu.Unlock()
	if old.inFlight > 0 {
		return // the end of its last request settles it again
	}
	id := old.endpoint.ID
	at := slices.Index(b.former[id], old)
	if at < 0 {
		return // settled already: Unroute and the end of the last request can meet here
	}
	if b.former[id] = slices.Delete(b.former[id], at, at+1); len(b.former[id]) == 0 {
		delete(b.former, id)
	}
	close(old.drained)
}

// begin chooses the endpoint of a request and books it there; nil when there is none.
func (b *Balancer) begin() *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active++
	if len(b.order) == 0 {
		return nil
	}
	at := b.next
	if b.config.Policy == drivers.LeastConnections {
		for i := range b.order {
			candidate := (b.next + i) % len(b.order)
			if b.order[candidate].inFlight < b.order[at].inFlight {
				at = candidate
			}
		}
	}
	b.next = (at + 1) % len(b.order)
	chosen := b.order[at]
	chosen.inFlight++
	chosen.ledger.InFlight++
	chosen.ledger.Requests++
	return chosen
}

// end books the end of a request; a is nil for one that no endpoint was found for.
func (b *Balancer) end(a *attempt) {
	b.mu.Lock()
	b.active--
	if b.closing && b.active == 0 {
		close(b.quiet)
	}
	if a == nil {
		b.mu.Unlock()
		return
	}
	a.backend.inFlight--
	a.backend.ledger.InFlight--
	a.backend.ledger.record(a)
	last := a.backend.gone && a.backend.inFlight == 0
	b.mu.Unlock()
	if last {
		a.backend.settle(b)
	}
}

// headerText makes text fit for a header's value, whatever is in it.
func headerText(text string) string {
	const longest = 256
	if len(text) > longest {
		text = text[:longest]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
