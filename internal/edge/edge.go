// Package edge is a balancer for runtimes that bring none: it spreads requests, or connections,
// over the endpoints that it is told to route to, and that is the runtime's decision, not its
// own. It checks no health, ejects nobody and never tries anything twice, neither on purpose
// nor by its transport's kindness: an endpoint's failure reaches the client, or the
// measurement behind it would flatter. It is not a general reverse proxy: no caching, no
// rewriting.
//
// Where endpoints speak HTTP/1.1 without TLS, or where it has a certificate and TLS ends at it, it
// reads the requests and each one may go to another endpoint. It gives answers of its own
// with their reason in the header Rollout-Lab-Reason: 503 when nothing is routed to, 502 when
// the endpoint failed before the head of its answer was there (or, said with
// drivers.HarnessReason, when the balancer could not even try), and 501 to CONNECT. Where the
// answer's body breaks off later, the client's connection is aborted.
//
// Elsewhere, where they speak TLS or HTTP/2, it passes connections on unread, see relay. No answer can name
// the endpoint then: Balancer.Trace says where a connection went, or why it went nowhere.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

const reasonConnect = "no tunnels"

// Defaults of Config.
const (
	DefaultDialTimeout     = 2 * time.Second
	DefaultResponseTimeout = 30 * time.Second
	DefaultIdleTimeout     = 60 * time.Second
	DefaultContinueTimeout = time.Second
	DefaultMaxIdle         = 512
)

// Config configures a Balancer. The zero value is useful.
type Config struct {
	Listen string // TCP address to listen on, "" means 127.0.0.1:0
	// Policy is how an endpoint is chosen for a request. RoundRobin takes them in turn: one
	// that is new takes its first turn after all the others, and one that goes does not
	// disturb the order of the rest. LeastConnections takes one of those with the fewest
	// requests in flight, in turn.
	Policy drivers.Policy

	DialTimeout     time.Duration // to connect to an endpoint; 0 means DefaultDialTimeout, negative none
	ResponseTimeout time.Duration // from the request written to the head of the answer; 0 means DefaultResponseTimeout, negative none
	IdleTimeout     time.Duration // an unused connection to an endpoint is closed after it; 0 means DefaultIdleTimeout, negative never
	ContinueTimeout time.Duration // a body that was announced is sent after it, though the endpoint has not asked for it; 0 means DefaultContinueTimeout
	MaxIdle         int           // unused connections kept for each endpoint; 0 means DefaultMaxIdle

	// Wire is how the endpoints are spoken to. Where it is not plain HTTP/1.1 connections are
	// passed on unread, unless there is a Certificate.
	Wire drivers.Wire
	// Certificate is whom the balancer is to its clients, in HTTP/1.1 or HTTP/2 over TLS as
	// each of them chooses; nil means that it speaks no TLS with them.
	Certificate *tls.Certificate

	// For tests. observe is told, with the balancer's lock held, of the beginning of each
	// attempt and of its end; of a request that nothing was routed to for, the zero Endpoint.
	observe func(Endpoint, *attempt)
	log     io.Writer // what net/http complains about: clients that speak no HTTP, panics
}

// withDefaults resolves the zero values; afterwards 0 means none.
func (c Config) withDefaults() Config {
	if c.Policy == "" {
		c.Policy = drivers.RoundRobin
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	c.DialTimeout = durationOr(c.DialTimeout, DefaultDialTimeout)
	c.ResponseTimeout = durationOr(c.ResponseTimeout, DefaultResponseTimeout)
	c.IdleTimeout = durationOr(c.IdleTimeout, DefaultIdleTimeout)
	if c.log == nil {
		c.log = io.Discard
	}
	if c.ContinueTimeout == 0 {
		c.ContinueTimeout = DefaultContinueTimeout
	}
	if c.MaxIdle == 0 {
		c.MaxIdle = DefaultMaxIdle
	}
	return c
}

// passes says whether connections are passed on unread.
func (c Config) passes() bool {
	return c.Certificate == nil && c.Wire.Opaque()
}

// scheme is that of the balancer's own URL.
func (c Config) scheme() string {
	if c.Certificate != nil {
		return "https"
	}
	return c.Wire.Scheme()
}

func durationOr(d, zero time.Duration) time.Duration {
	switch {
	case d == 0:
		return zero
	case d < 0:
		return 0
	}
	return d
}

// ErrClosed is what Close returns when the balancer was closed before.
var ErrClosed = errors.New("edge: balancer is closed")

// Balancer listens from New to Close. Its methods may be called concurrently.
type Balancer struct {
	config Config
	url    string
	relay  *relay // nil where requests are read
	server *http.Server
	proxy  *httputil.ReverseProxy
	cut    context.CancelFunc // ends every request that is under way
	served chan error         // the server's end

	mu      sync.Mutex
	order   []*backend // in turn
	next    int        // index in order of whose turn it is
	active  int        // requests under way, refused ones included
	closing bool
	quiet   chan struct{} // closed once closing and nothing is active
	still   sync.Once     // closes it

	connMu sync.Mutex
	unused map[net.Conn]struct{} // client connections that have not sent a byte; nil once closing
}

// New listens and serves until Close. It routes nowhere yet.
func New(config Config) (*Balancer, error) {
	config = config.withDefaults()
	if config.Policy != drivers.RoundRobin && config.Policy != drivers.LeastConnections {
		return nil, fmt.Errorf("edge: unknown policy %q", config.Policy)
	}
	if err := config.Wire.Validate(); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	listener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	base, cut := context.WithCancel(context.Background())
	b := &Balancer{
		config: config,
		url:    config.scheme() + "://" + reachable(listener.Addr()),
		cut:    cut,
		served: make(chan error, 1),
		quiet:  make(chan struct{}),
		unused: make(map[net.Conn]struct{}),
	}
	if config.passes() {
		b.relay = newRelay(base, b, listener)
		go func() { b.served <- b.relay.serve() }()
		return b, nil
	}
	b.proxy = b.newProxy()
	// No timeouts here: a client's idle connection must never be closed from this side,
	// because the request that is just being sent on it would fail and be held against an
	// endpoint.
	b.server = &http.Server{
		Handler:                      http.HandlerFunc(b.serve),
		ErrorLog:                     log.New(config.log, "", 0),
		BaseContext:                  func(net.Listener) context.Context { return base },
		ConnContext:                  withClientConn,
		ConnState:                    b.trackUnused,
		DisableGeneralOptionsHandler: true,
	}
	serve := b.server.Serve
	if config.Certificate != nil {
		b.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*config.Certificate}}
		serve = func(l net.Listener) error { return b.server.ServeTLS(l, "", "") }
	}
	go func() { b.served <- serve(listener) }()
	return b, nil
}

// reachable is the address that a client on this machine can connect to.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
}

// URL is where the balancer listens: scheme and host, no path, no final slash.
func (b *Balancer) URL() string { return b.url }

// Trace implements drivers.Tracer, where connections are passed on; elsewhere it knows none.
func (b *Balancer) Trace(client netip.AddrPort) (drivers.Way, bool) {
	if b.relay == nil {
		return drivers.Way{}, false
	}
	return b.relay.trace(client)
}

// Close stops listening and waits until the requests under way, upgraded connections
// included, are finished; connections that were passed on, until their endpoint has ended
// them. When ctx ends first they are cut off and the error says how many there were. A second
// call returns ErrClosed at once.
func (b *Balancer) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return ErrClosed
	}
	b.closing = true
	if b.active == 0 {
		b.still.Do(func() { close(b.quiet) })
	}
	routed := slices.Clone(b.order)
	b.mu.Unlock()

	if b.relay != nil {
		err := b.relay.close(ctx, b.cut)
		b.cut()
		if serveErr := <-b.served; serveErr != nil {
			err = errors.Join(err, fmt.Errorf("edge: accept: %w", serveErr))
		}
		return err
	}
	// Shutdown would wait seconds for connections that a client has opened in reserve.
	b.closeUnused()
	err := b.server.Shutdown(ctx)
	if err == nil {
		select {
		case <-b.quiet:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		b.mu.Lock()
		err = fmt.Errorf("edge: cut off %d requests under way: %w", b.active, err)
		b.mu.Unlock()
		b.cut()
		if closeErr := b.server.Close(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
		<-b.quiet
	}
	b.cut()
	if serveErr := <-b.served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("edge: serve: %w", serveErr))
	}
	for _, backend := range routed {
		backend.letGo()
	}
	return err
}

// trackUnused keeps the set of client connections that have not sent anything yet.
func (b *Balancer) trackUnused(conn net.Conn, state http.ConnState) {
	b.connMu.Lock()
	defer b.connMu.Unlock()
	switch {
	case state != http.StateNew:
		delete(b.unused, conn)
	case b.unused == nil:
		conn.Close()
	default:
		b.unused[conn] = struct{}{}
	}
}

func (b *Balancer) closeUnused() {
	b.connMu.Lock()
	defer b.connMu.Unlock()
	for conn := range b.unused {
		conn.Close()
	}
	b.unused = nil
}
