package edge

import (
	"net/http"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// Endpoint is a place that requests can be sent to.
type Endpoint struct {
	ID       string // names it in headers and to Unroute
	Revision string
	Addr     string // host:port
}

// backend is an endpoint between a Route and the end of its last request. It has a
// transport of its own, so that closing its idle connections touches nobody else's.
type backend struct {
	endpoint  Endpoint
	label     string          // the ID, fit for a header
	transport *http.Transport // nil where connections are passed on
	inFlight  int             // requests, or connections; guarded by the balancer's lock
	gone      bool            // guarded by it too: gets no more of them
}

// letGo closes the connections that no request uses.
func (o *backend) letGo() {
	if o.transport != nil {
		o.transport.CloseIdleConnections()
	}
}

// Route sends requests, or connections where those are passed on, to the endpoint from here
// on. The same ID with another revision
// or address replaces the former one, which is drained as by Unroute; with the same ones
// nothing happens. It does nothing after Close.
func (b *Balancer) Route(endpoint Endpoint) {
	b.mu.Lock()
	at := b.index(endpoint.ID)
	if b.closing || at >= 0 && b.order[at].endpoint == endpoint {
		b.mu.Unlock()
		return
	}
	fresh := &backend{endpoint: endpoint, label: headerText(endpoint.ID)}
	if b.relay == nil {
		fresh.transport = b.newTransport()
	}
	var old *backend
	if at >= 0 {
		old, b.order[at] = b.order[at], fresh
		old.gone = true
	} else {
		// Just behind the one whose turn it is: it waits until all the others had theirs.
		b.order = slices.Insert(b.order, b.next, fresh)
		if len(b.order) > 1 {
			b.next = (b.next + 1) % len(b.order)
		}
	}
	b.mu.Unlock()
	if old != nil {
		old.letGo()
	}
}

// Unroute sends no new requests to the endpoint; those under way go on, and its idle
// connections are closed. Connections that were passed on stay where they are. It returns at
// once. An unknown ID is no error.
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
	old.gone = true
	b.mu.Unlock()
	old.letGo()
}

// index finds a routed endpoint, -1 where there is none; the caller holds the lock.
func (b *Balancer) index(id string) int {
	return slices.IndexFunc(b.order, func(o *backend) bool { return o.endpoint.ID == id })
}

// observe tells a test; the caller holds the lock.
func (b *Balancer) observe(e Endpoint, a *attempt) {
	if b.config.observe != nil {
		b.config.observe(e, a)
	}
}

// begin chooses the endpoint of a request and books it there; nil when there is none.
func (b *Balancer) begin() *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active++
	if len(b.order) == 0 {
		b.observe(Endpoint{}, nil)
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
	b.observe(chosen.endpoint, nil)
	return chosen
}

// end books the end of a request; a is nil for one that no endpoint was found for.
func (b *Balancer) end(a *attempt) {
	b.mu.Lock()
	b.active--
	if b.closing && b.active == 0 {
		// Once: a request may still come on a connection that was idle a moment ago.
		b.still.Do(func() { close(b.quiet) })
	}
	if a == nil {
		b.mu.Unlock()
		return
	}
	a.backend.inFlight--
	b.observe(a.backend.endpoint, a)
	last := a.backend.gone && a.backend.inFlight == 0
	b.mu.Unlock()
	if last {
		// What the last requests have used is idle only now.
		a.backend.letGo()
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
