package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// relay passes connections on unread: each one to the endpoint whose turn it is when the
// connection comes, and it stays there until either side ends it, whether the endpoint is
// routed to any more or not. What one side does reaches the other: an end as an end, a reset
// as a reset. A connection that no endpoint takes is reset.
type relay struct {
	balancer *Balancer
	listener net.Listener
	ctx      context.Context // of dialling; ends with the relay
	open     context.Context // ends once nothing is accepted any more
	shut     context.CancelFunc

	mu       sync.Mutex
	closing  bool
	passages map[*passage]struct{} // those that were passed on
	ways     map[netip.AddrPort]drivers.Way
	passing  sync.WaitGroup
}

func newRelay(ctx context.Context, b *Balancer, listener net.Listener) *relay {
	open, shut := context.WithCancel(ctx)
	return &relay{
		balancer: b, listener: listener, ctx: ctx, open: open, shut: shut,
		passages: make(map[*passage]struct{}), ways: make(map[netip.AddrPort]drivers.Way),
	}
}

// acceptPause is how long nothing is accepted when this machine cannot.
const acceptPause = 5 * time.Millisecond

// serve accepts until the listener is closed.
func (r *relay) serve() error {
	defer r.shut()
	for {
		conn, err := r.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && isHarness(err):
			// The client waits meanwhile, as it would for any server without a descriptor.
			select {
			case <-time.After(acceptPause):
			case <-r.ctx.Done():
			}
		case err != nil:
			return err
		default:
			r.passing.Go(func() { r.pass(conn.(*net.TCPConn)) })
		}
	}
}

// pass takes a client's connection to its end.
func (r *relay) pass(client *net.TCPConn) {
	from := clientOf(client)
	way := drivers.Way{At: time.Now()}
	chosen := r.balancer.begin()
	if chosen == nil {
		way.Reason = drivers.NoInstanceReason
		r.note(from, way)
		r.balancer.end(nil)
		r.refuse(client)
		return
	}
	a := &attempt{backend: chosen}
	defer r.balancer.end(a)
	way.Instance = chosen.endpoint.ID
	r.note(from, way)
	dialer := &net.Dialer{Timeout: r.balancer.config.DialTimeout}
	instance, err := dialer.DialContext(r.ctx, "tcp", chosen.endpoint.Addr)
	if err != nil {
		a.fault = dialFault(err)
		way.Reason = string(a.fault)
		r.note(from, way)
		r.refuse(client)
		return
	}
	p := &passage{client: client, instance: instance.(*net.TCPConn)}
	if !r.keep(p) {
		p.cut()
		return
	}
	defer r.forget(p)
	p.copyBothWays(func() { r.answered(p) })
}

// refuse resets a client's connection once it has said something, as clients do at once in
// both of the protocols that are passed on. Before that the reset may end the client's attempt
// to connect, and it would not know from where it did: what is noted of the connection would
// not be found.
func (r *relay) refuse(client *net.TCPConn) {
	defer reset(client)
	if client.SetReadDeadline(time.Now().Add(DefaultDialTimeout)) != nil {
		return // it is closed already
	}
	stop := context.AfterFunc(r.open, func() { _ = client.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = client.Read(make([]byte, 1)) // whatever it is, nobody takes it
}

// clientOf is the address that the client has for its own.
func clientOf(conn *net.TCPConn) netip.AddrPort {
	addr := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// note says which way a connection went. There are no more entries than a client has ports.
func (r *relay) note(from netip.AddrPort, way drivers.Way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ways[from] = way
}

func (r *relay) trace(client netip.AddrPort) (drivers.Way, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	way, ok := r.ways[netip.AddrPortFrom(client.Addr().Unmap(), client.Port())]
	return way, ok
}

// keep remembers a passage, unless everything was cut already.
func (r *relay) keep(p *passage) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.passages[p] = struct{}{}
	return true
}

func (r *relay) forget(p *passage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.passages, p)
}

// answered takes note that the instance has said all that it will ever say. Nothing is lost
// with such a connection once the balancer is closed.
func (r *relay) answered(p *passage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.answered = true; r.closing {
		p.cut()
	}
}

// close stops accepting and waits until every connection has ended at the instance's side.
// When ctx ends first, the rest are cut off.
func (r *relay) close(ctx context.Context, cut context.CancelFunc) error {
	err := r.listener.Close()
	<-r.open.Done()
	r.mu.Lock()
	r.closing = true
	for p := range r.passages {
		if p.answered {
			p.cut()
		}
	}
	r.mu.Unlock()
	passed := make(chan struct{})
	go func() { r.passing.Wait(); close(passed) }()
	select {
	case <-passed:
	case <-ctx.Done():
		cut()
		err = errors.Join(err, r.cutOff(ctx))
		<-passed
	}
	return err
}

func (r *relay) cutOff(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for p := range r.passages {
		if !p.answered {
			n++
		}
		p.cut()
	}
	return fmt.Errorf("edge: cut off %d connections: %w", n, ctx.Err())
}

// passage is a client's connection and the one to its instance.
type passage struct {
	client, instance *net.TCPConn
	answered         bool // guarded by the relay's lock
}

// cut resets both sides.
func (p *passage) cut() {
	reset(p.client)
	reset(p.instance)
}

// copyBothWays returns when both directions have ended. answered is called when that of the
// answers has.
func (p *passage) copyBothWays(answered func()) {
	var asking sync.WaitGroup
	var asked, answers bool
	asking.Go(func() { asked = p.copyOneWay(p.instance, p.client) })
	answers = p.copyOneWay(p.client, p.instance)
	answered()
	asking.Wait()
	if !asked || !answers {
		p.cut()
		return
	}
	// Both have said that they are done; there is nobody to tell of an error.
	p.client.Close()
	p.instance.Close()
}

// copyOneWay passes on what src says, and its end, and reports whether it ended in an orderly
// way. It copies by itself rather than in the kernel (splice), for which Go would hold two
// descriptors more for each direction of each connection.
func (p *passage) copyOneWay(dst, src *net.TCPConn) (orderly bool) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				// dst takes no more. What it has said before is still on its way to src,
				// and so is the reset, by the other direction.
				return false
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = dst.CloseWrite() // it fails where dst is gone, which the other direction sees
			return true
		default:
			p.cut()
			return false
		}
	}
}

// reset closes a connection so that the other side gets a reset, not an orderly end.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // both fail only on a connection that is closed already
	_ = conn.Close()
}
