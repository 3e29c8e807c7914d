// Package portforward carries connections from this machine to the ports of one pod, through
// the API server and past every Service. It knows nothing of what is asked over them, sends
// nothing twice, and tells a pod that refuses a connection from one that answers.
package portforward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Dialer opens a connection to a pod over which any number of connections to its ports are
// carried.
type Dialer func(namespace, pod string) (httpstream.Connection, error)

// NewDialer dials through the API server: by WebSocket, and by SPDY where that is refused.
func NewDialer(config *rest.Config, client kube.Interface) (Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, fmt.Errorf("forward to pods: %w", err)
	}
	return func(namespace, pod string) (httpstream.Connection, error) {
		url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
		bySPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
		byWebSocket, err := portforward.NewSPDYOverWebsocketDialer(url, config)
		if err != nil {
			return nil, err
		}
		conn, _, err := portforward.NewFallbackDialer(byWebSocket, bySPDY, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
		}).Dial(portforward.PortForwardProtocolV1Name)
		return conn, err
	}, nil
}

// Forward carries connections from listeners on the loopback interface to the ports of a
// pod. The listeners stay as they are while the pod behind them is restarted or, with
// Retarget, another one. The connection to the pod is made when it is first needed, and
// again after it broke; nothing that was sent over it is sent twice. Its methods may be
// called concurrently.
type Forward struct {
	dial      Dialer
	namespace string
	addrs     map[string]string // host:port by name of the port
	listeners []net.Listener
	work      sync.WaitGroup

	mu     sync.Mutex
	pod    string
	tunnel *tunnel
	next   int // ID of the next request
	closed bool
	open   map[net.Conn]struct{}
}

// Listen listens for every one of the ports, which have names and the numbers that they have
// in the pod. The caller must Close the Forward.
func Listen(dial Dialer, namespace, pod string, numbers map[string]int32) (*Forward, error) {
	f := &Forward{dial: dial, namespace: namespace, pod: pod, addrs: map[string]string{}, open: map[net.Conn]struct{}{}}
	for port, number := range numbers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("listen for port %s of pod %s: %w", port, pod, err)
		}
		f.listeners, f.addrs[port] = append(f.listeners, l), l.Addr().String()
		f.work.Add(1)
		go f.accept(l, number)
	}
	return f, nil
}

// Addrs are the addresses of the listeners, host:port by the name of the port.
func (f *Forward) Addrs() map[string]string { return maps.Clone(f.addrs) }

func (f *Forward) accept(l net.Listener, number int32) {
	defer f.work.Done()
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // of one connection; the listener lives
		}
		if !f.enter(conn) {
			conn.Close()
			return
		}
		go func() {
			defer f.work.Done()
			defer f.leave(conn)
			if err := f.carry(conn, number); err != nil {
				// So that the client sees a broken connection and not the end of an answer.
				if tcp, ok := conn.(*net.TCPConn); ok {
					tcp.SetLinger(0) //nolint:errcheck // the connection is closed next, whatever it says
				}
			}
		}()
	}
}

func (f *Forward) enter(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.open[conn] = struct{}{}
	f.work.Add(1)
	return true
}

func (f *Forward) leave(conn net.Conn) {
	conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, conn)
}

// tunnel is a connection to a pod that carries others.
type tunnel struct {
	httpstream.Connection
	users   int  // connections that it carries; Forward.mu is held
	retired bool // it carries no new ones and is closed with the last; Forward.mu is held
}

// enterTunnel returns the connection to the pod, made if there is none that works, and the
// ID of the request that is to be sent over it. leaveTunnel must follow.
func (f *Forward) enterTunnel() (*tunnel, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, 0, net.ErrClosed
	}
	if f.tunnel != nil {
		select {
		case <-f.tunnel.CloseChan():
			f.tunnel = nil
		default:
		}
	}
	if f.tunnel == nil {
		conn, err := f.dial(f.namespace, f.pod)
		if err != nil {
			return nil, 0, fmt.Errorf("reach pod %s: %w", f.pod, err)
		}
		f.tunnel = &tunnel{Connection: conn}
	}
	f.next++
	f.tunnel.users++
	return f.tunnel, f.next, nil
}

// leaveTunnel ends one use of a tunnel. After a failure it is used no more: one over which
// the pod has refused a connection was seen to stall those that came later.
func (f *Forward) leaveTunnel(t *tunnel, failed bool) {
	f.mu.Lock()
	t.users--
	if failed || f.tunnel != t {
		t.retired = true
		if f.tunnel == t {
			f.tunnel = nil
		}
	}
	over := t.retired && t.users == 0
	f.mu.Unlock()
	if over {
		t.Close()
	}
}

// streams opens the pair of streams that stands for one connection to a port of the pod.
func (t *tunnel) streams(number int32, id int) (data, failure httpstream.Stream, err error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(number)))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err = t.CreateStream(headers)
	if err != nil {
		return nil, nil, err
	}
	failure.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err = t.CreateStream(headers)
	if err != nil {
		t.RemoveStreams(failure)
		return nil, nil, err
	}
	return data, failure, nil
}

// carry carries one connection until either side has ended, and returns an error if the
// pod did not take it or it broke.
func (f *Forward) carry(local net.Conn, number int32) (err error) {
	t, id, err := f.enterTunnel()
	if err != nil {
		return err
	}
	refused := false
	defer func() { f.leaveTunnel(t, refused) }()
	data, failure, err := t.streams(number, id)
	if err != nil {
		refused = true
		return err
	}
	defer t.RemoveStreams(data, failure)
	failed := make(chan error, 1)
	go func() { failed <- readFailure(failure) }()
	remote, mine := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(local, data)
		remote <- err
	}()
	go func() {
		_, err := io.Copy(data, local)
		data.Close()
		mine <- err
	}()
	var ended error
	select {
	case ended = <-remote:
		data.Reset()                      //nolint:errcheck // discards what the pod will not read, else it would block others
		local.SetReadDeadline(time.Now()) //nolint:errcheck // ends the other copy; on a closed connection it has ended
		<-mine
	case ended = <-mine:
		if ended != nil {
			data.Reset() //nolint:errcheck // the client is gone; nobody is left to tell
		}
		// Else the client has sent all, and the answer may follow.
		ended = errors.Join(ended, <-remote)
		data.Reset() //nolint:errcheck // as above
	}
	why := <-failed
	refused = why != nil
	return errors.Join(ended, why)
}

// messageLimit bounds, in bytes, what is read of why a node refuses a connection.
const messageLimit = 300

// readFailure waits for what the node says about the connection; nothing is good news.
func readFailure(s io.Reader) error {
	message, err := io.ReadAll(io.LimitReader(s, messageLimit))
	if err == nil && len(message) > 0 {
		err = errors.New(strings.Join(strings.Fields(strings.ToValidUTF8(string(message), "")), " "))
	}
	return err
}

// Accepts asks whether a port of the pod takes a connection. A listener's own acceptance
// says nothing about that, and the node tells only when it does not; so silence for as
// long as quiet is taken for a yes.
func (f *Forward) Accepts(ctx context.Context, number int32, quiet time.Duration) error {
	t, id, err := f.enterTunnel()
	if err != nil {
		return err
	}
	refused := true
	defer func() { f.leaveTunnel(t, refused) }()
	data, failure, err := t.streams(number, id)
	if err != nil {
		return err
	}
	defer t.RemoveStreams(data, failure)
	defer data.Reset() //nolint:errcheck // the answer is known
	failed := make(chan error, 1)
	go func() { failed <- readFailure(failure) }()
	silence := time.NewTimer(quiet)
	defer silence.Stop()
	select {
	case err := <-failed:
		return err
	case <-silence.C:
		refused = false
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Retarget makes the listeners lead to another pod. Connections that are open stay.
func (f *Forward) Retarget(pod string) {
	f.mu.Lock()
	var over *tunnel
	if f.pod != pod {
		if f.tunnel != nil && f.tunnel.users == 0 {
			over = f.tunnel
		}
		f.pod, f.tunnel = pod, nil
	}
	f.mu.Unlock()
	if over != nil {
		over.Close()
	}
}

// Close ends everything and waits for it.
func (f *Forward) Close() {
	f.mu.Lock()
	f.closed = true
	for conn := range f.open {
		conn.Close()
	}
	if f.tunnel != nil {
		f.tunnel.Close()
	}
	f.mu.Unlock()
	for _, l := range f.listeners {
		l.Close()
	}
	f.work.Wait()
}
