// Package relay passes connections on to the services behind it, and badly where it is told to:
// not at all, late, slowly, in pieces, or with an end. It works on bytes (toxiproxy does) and
// knows nothing of what they mean; names and packets are beyond it.
package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// Kind is a way to pass connections on badly.
type Kind string

// The kinds.
const (
	Refuse    Kind = "refuse"    // nobody listens, and the connections that there are end
	Blackhole Kind = "blackhole" // connections are made and stay, and nothing gets through; they end with it
	Latency   Kind = "latency"   // what is answered comes later
	Bandwidth Kind = "bandwidth" // so many bytes a second get through, each way
	Reset     Kind = "reset"     // a connection ends as soon as something is sent on it
	Slicer    Kind = "slicer"    // what is answered comes in small pieces
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{Refuse, Blackhole, Latency, Bandwidth, Reset, Slicer} }

// The pieces of Slicer.
const (
	PieceBytes = 16
	PieceEvery = 10 * time.Millisecond
)

// Trouble is what is wrong with a link.
type Trouble struct {
	Kind    Kind          `json:"kind"`
	Latency time.Duration `json:"latency_ns,omitempty"` // of Latency
	Jitter  time.Duration `json:"jitter_ns,omitempty"`  // so much more or less
	Rate    int           `json:"rate,omitempty"`       // of Bandwidth, KiB a second and connection
}

func (t Trouble) check() error {
	switch {
	case !slices.Contains(Kinds(), t.Kind):
		return fmt.Errorf("kind is %q, want one of %q", t.Kind, Kinds())
	case t.Kind == Latency && (t.Latency < time.Millisecond || t.Jitter < 0 || t.Jitter > t.Latency):
		return fmt.Errorf("latency is %v ± %v, want at least 1ms, and no more jitter than that", t.Latency, t.Jitter)
	case t.Kind == Bandwidth && t.Rate < 1:
		return fmt.Errorf("rate is %d, want KiB a second above 0", t.Rate)
	}
	return nil
}

// toxic is a stage that bytes go through in one direction.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream: to the service; downstream: from it
	Attributes map[string]any `json:"attributes"`
}

// toxics are the stages that make the trouble.
func (t Trouble) toxics() []toxic {
	both := func(kind string, attributes map[string]any) []toxic {
		return []toxic{
			{"trouble-to", kind, "upstream", attributes}, {"trouble-from", kind, "downstream", attributes},
		}
	}
	switch t.Kind {
	case Blackhole:
		return both("timeout", map[string]any{"timeout": 0})
	case Latency:
		return both("latency", map[string]any{"latency": t.Latency.Milliseconds(), "jitter": t.Jitter.Milliseconds()})[1:]
	case Bandwidth:
		return both("bandwidth", map[string]any{"rate": t.Rate})
	case Reset:
		return both("reset_peer", map[string]any{"timeout": 0})[:1]
	case Slicer:
		return both("slicer", map[string]any{"average_size": PieceBytes, "size_variation": 0, "delay": PieceEvery.Microseconds()})[1:]
	}
	return nil
}

// ErrNoLink: the relay has no link of that name.
var ErrNoLink = errors.New("no such link")

// Link says where a relay listens, and to whom it passes on what it accepts there.
type Link struct {
	Name   string
	Listen string // host:port
	To     string // host:port
}

// link is one of a relay's.
type link struct {
	Link
	proxy    *toxiproxy.Proxy
	to, from *counter

	mu      sync.Mutex // held while trouble is made or ended
	trouble *Trouble
}

// Relay is a number of links. Its methods may be called concurrently.
type Relay struct{ links map[string]*link }

// Start returns a relay that passes connections on until it is closed.
func Start(links []Link) (*Relay, error) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some of the stages log by themselves
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	r := &Relay{links: make(map[string]*link)}
	for _, l := range links {
		if r.links[l.Name] != nil {
			return nil, errors.Join(fmt.Errorf("two links are called %q", l.Name), r.Close())
		}
		started := &link{Link: l, proxy: toxiproxy.NewProxy(server, l.Name, l.Listen, l.To)}
		var err error
		if started.to, err = started.count("upstream"); err == nil {
			started.from, err = started.count("downstream")
		}
		if err == nil {
			err = started.proxy.Start()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s port: %w", l.Name, err), r.Close())
		}
		r.links[l.Name] = started
	}
	return r, nil
}

// Close ends every link and its connections.
func (r *Relay) Close() error {
	for _, l := range r.links {
		l.proxy.Stop()
	}
	return nil
}

// Addr is where a link listens.
func (r *Relay) Addr(name string) string { return r.links[name].address() }

func (l *link) address() string {
	l.proxy.Lock()
	defer l.proxy.Unlock()
	return l.proxy.Listen
}

// Spoil makes trouble on a link, and returns once it is there for every connection. There is at
// most one at a time: another one takes its place.
func (r *Relay) Spoil(ctx context.Context, name string, t Trouble) error {
	if err := t.check(); err != nil {
		return err
	}
	l, ok := r.links[name]
	if !ok {
		return fmt.Errorf("%w: %q; there are %q", ErrNoLink, name, slices.Sorted(maps.Keys(r.links)))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.heal(ctx); err != nil {
		return err
	}
	l.trouble = &t
	if t.Kind == Refuse {
		l.proxy.Stop()
		return nil
	}
	for _, stage := range t.toxics() {
		if err := l.add(stage); err != nil {
			return errors.Join(fmt.Errorf("%s of %q: %w", t.Kind, name, err), l.heal(ctx))
		}
	}
	return nil
}

// Heal ends the trouble of a link, if there is any, and returns once it is gone.
func (r *Relay) Heal(ctx context.Context, name string) error {
	l, ok := r.links[name]
	if !ok {
		return fmt.Errorf("%w: %q; there are %q", ErrNoLink, name, slices.Sorted(maps.Keys(r.links)))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heal(ctx)
}

func (l *link) heal(ctx context.Context) error {
	if l.trouble == nil {
		return nil
	}
	if l.trouble.Kind == Refuse {
		if err := l.proxy.Start(); err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
			return fmt.Errorf("listen again: %w", err)
		}
	}
	for _, stage := range l.trouble.toxics() {
		if err := l.proxy.Toxics.RemoveToxic(ctx, stage.Name); err != nil && !errors.Is(err, toxiproxy.ErrToxicNotFound) {
			return fmt.Errorf("end %s: %w", l.trouble.Kind, err)
		}
	}
	l.trouble = nil
	return nil
}

func (l *link) add(stage toxic) error {
	text, err := json.Marshal(stage)
	if err != nil {
		return err
	}
	_, err = l.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	return err
}

// count puts a counter in front of whatever trouble there will be, for one direction.
func (l *link) count(direction string) (*counter, error) {
	text, err := json.Marshal(toxic{"count-" + direction, countType, direction, nil})
	if err != nil {
		return nil, err
	}
	added, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return added.Toxic.(*counter), nil
}

// countType is the type of the stage that counts.
const countType = "count"

func init() { toxics.Register(countType, new(counter)) }

// counter is a stage that changes nothing and counts what comes to it.
type counter struct{ chunks, bytes atomic.Uint64 }

// Pipe passes on what comes until it is interrupted or the connection ends.
func (c *counter) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			c.chunks.Add(1)
			c.bytes.Add(uint64(len(chunk.Data)))
			stub.Output <- chunk
		}
	}
}

// Counts are what came to a link, in pieces as they came, whether or not it got through.
type Counts struct {
	Chunks uint64 `json:"chunks"`
	Bytes  uint64 `json:"bytes"`
}

func (c *counter) now() Counts { return Counts{c.chunks.Load(), c.bytes.Load()} }

// LinkStatus is what a link does now, and has done.
type LinkStatus struct {
	Listen    string   `json:"listen"`
	To        string   `json:"to"`
	Listening bool     `json:"listening"`
	Trouble   *Trouble `json:"trouble,omitempty"`
	Sent      Counts   `json:"sent"`     // to the service, since the start
	Answered  Counts   `json:"answered"` // by it
}

// Status is what every link does now, by name.
func (r *Relay) Status() map[string]LinkStatus {
	all := make(map[string]LinkStatus)
	for name, l := range r.links {
		l.mu.Lock()
		s := LinkStatus{To: l.To, Trouble: l.trouble, Sent: l.to.now(), Answered: l.from.now()}
		l.mu.Unlock()
		l.proxy.Lock()
		s.Listen, s.Listening = l.proxy.Listen, l.proxy.Enabled
		l.proxy.Unlock()
		all[name] = s
	}
	return all
}

// check refuses a link that leads nowhere.
func (l Link) check() error {
	for what, address := range map[string]string{"listen": l.Listen, "to": l.To} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("%s of link %q is %q, want host:port", what, l.Name, address)
		}
	}
	return nil
}
