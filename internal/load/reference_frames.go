package load

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// errNotProcessed: the server has said that it did not process the request.
var errNotProcessed = errors.New("the server did not process the request")

// frameConn is a connection of the reference client that speaks HTTP/2, one request at a
// time: frames are written and read here, so that nothing of net/http's idea of streams,
// leaves and repetitions is shared with the load.
type frameConn struct {
	conn   net.Conn
	frames *http2.Framer
	reader sync.WaitGroup

	mu     sync.Mutex // of everything below, and of writing
	change *sync.Cond // a window has grown, or the answer has ended
	encode *hpack.Encoder
	block  bytes.Buffer

	maxFrame            int
	window, firstWindow int64 // that may be sent on the connection, and on a new stream
	next                uint32
	away                bool   // the server has taken its leave
	last                uint32 // of the streams that it processes, once away
	ended               error  // the connection's end
	now                 *frameAnswer
}

// frameAnswer is the answer to the request under way.
type frameAnswer struct {
	request *Request
	stream  uint32
	window  int64
	got     response
	body    []byte
	length  int64 // that the answer says it has, -1 when it does not
	done    bool
	err     error
}

const (
	ownWindow   = 1 << 20         // bytes of an answer that may be under way
	ownPatience = 5 * time.Second // with a server that does not read
)

func newFrameConn(conn net.Conn) (*frameConn, error) {
	c := &frameConn{
		conn: conn, frames: http2.NewFramer(conn, conn), next: 1,
		maxFrame: 16 << 10, window: 65_535, firstWindow: 65_535, // until the server says otherwise
	}
	c.change = sync.NewCond(&c.mu)
	c.encode = hpack.NewEncoder(&c.block)
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.frames.MaxHeaderListSize = maxHeader
	_, err := io.WriteString(conn, http2.ClientPreface)
	if err == nil {
		err = c.frames.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: ownWindow},
			http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeader},
		)
	}
	if err == nil {
		err = c.frames.WriteWindowUpdate(0, ownWindow)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{}) // what ends a request ends its connection
	}
	if err != nil {
		_ = conn.Close() // there is nothing on it
		return nil, err
	}
	c.reader.Go(c.read)
	return c, nil
}

func (c *frameConn) rest() {} // its reader goes on

func (c *frameConn) wake() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended == nil && !c.away
}

// Close closes the connection and waits for its reader.
func (c *frameConn) Close() error {
	err := c.conn.Close()
	c.reader.Wait()
	return err
}

// send sends a request on a stream of its own.
func (c *frameConn) send(v *reference, r *Request, _ bool, deadline time.Time) (response, error) {
	limit := time.AfterFunc(time.Until(deadline), func() { c.finish(os.ErrDeadlineExceeded) })
	defer limit.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return response{}, c.ended
	}
	a := &frameAnswer{request: r, stream: c.next, window: c.firstWindow}
	c.now, c.next = a, c.next+2
	whole, err := c.write(v, a)
	for err == nil && !a.done {
		c.change.Wait()
	}
	c.now = nil
	if err == nil {
		err = a.err
	}
	a.got.reusable = err == nil && whole && !c.away && c.ended == nil
	a.got.body = err == nil && r.wanted(a.body)
	return a.got, err
}

// finish ends the answer under way, for a reason or because it is complete.
func (c *frameConn) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(err)
}

// settle is finish while c.mu is held.
func (c *frameConn) settle(err error) {
	if c.now != nil && !c.now.done {
		c.now.done, c.now.err = true, err
	}
	c.change.Broadcast()
}

// write writes a request. It is not whole when the answer came before its end. c.mu is held.
func (c *frameConn) write(v *reference, a *frameAnswer) (whole bool, err error) {
	r := a.request
	if err := c.conn.SetWriteDeadline(time.Now().Add(v.plan.Timeout)); err != nil {
		return false, err
	}
	block := c.headers(v, r)
	for first := true; first || len(block) > 0; first = false {
		part := block[:min(len(block), c.maxFrame)]
		block = block[len(part):]
		if first {
			err = c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: a.stream, BlockFragment: part, EndStream: len(r.Body) == 0, EndHeaders: len(block) == 0})
		} else {
			err = c.frames.WriteContinuation(a.stream, len(block) == 0, part)
		}
		if err != nil {
			return false, err
		}
	}
	for rest := r.Body; len(rest) > 0; {
		for !a.done && min(a.window, c.window) <= 0 {
			c.change.Wait()
		}
		if a.done {
			return false, nil
		}
		part := rest[:min(int64(len(rest)), int64(c.maxFrame), a.window, c.window)]
		rest = rest[len(part):]
		a.window, c.window = a.window-int64(len(part)), c.window-int64(len(part))
		if err := c.frames.WriteData(a.stream, len(rest) == 0, part); err != nil {
			return false, err
		}
	}
	return true, nil
}

// headers encodes the header of a request.
func (c *frameConn) headers(v *reference, r *Request) []byte {
	c.block.Reset()
	field := func(name, value string) { _ = c.encode.WriteField(hpack.HeaderField{Name: name, Value: value}) } // a buffer takes it
	host := v.host
	for name, value := range r.Header {
		if http.CanonicalHeaderKey(name) == "Host" {
			host = value
		}
	}
	field(":method", cmp.Or(r.Method, http.MethodGet))
	field(":scheme", v.plan.Wire.Scheme())
	field(":authority", host)
	field(":path", strings.ReplaceAll(r.Path, " ", "%20"))
	agent := "rollout-lab-reference"
	for name, value := range r.Header {
		switch lower := strings.ToLower(name); lower {
		case "host":
		case "user-agent":
			agent = value
		default:
			field(lower, value)
		}
	}
	field("user-agent", agent)
	if r.tellsLength() {
		field("content-length", strconv.Itoa(len(r.Body)))
	}
	return c.block.Bytes()
}

// read reads frames until the connection ends.
func (c *frameConn) read() {
	for {
		frame, err := c.frames.ReadFrame()
		c.mu.Lock()
		var stream http2.StreamError
		if err == nil { // what it asks for must be answered at once
			err = c.conn.SetWriteDeadline(time.Now().Add(ownPatience))
		}
		switch {
		case errors.As(err, &stream):
			if c.isNow(stream.StreamID) {
				c.settle(err)
			}
			err = nil
		case err == nil:
			err = c.see(frame)
		}
		if err != nil {
			c.ended = err
			if c.now != nil && c.now.got.status != 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			c.settle(err)
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

func (c *frameConn) isNow(stream uint32) bool { return c.now != nil && c.now.stream == stream }

// see acts on a frame; an error ends the connection. c.mu is held.
func (c *frameConn) see(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.frames.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		c.away, c.last = true, f.LastStreamID
		if c.now != nil && c.now.stream > c.last {
			c.settle(fmt.Errorf("%w: GOAWAY, %v", errNotProcessed, f.ErrCode))
		}
	case *http2.RSTStreamFrame:
		switch {
		case !c.isNow(f.StreamID):
		case f.ErrCode == http2.ErrCodeRefusedStream:
			c.settle(fmt.Errorf("%w: %v", errNotProcessed, f.ErrCode))
		default:
			c.settle(fmt.Errorf("the stream was reset: %v", f.ErrCode))
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
		} else if c.isNow(f.StreamID) {
			c.now.window += int64(f.Increment)
		}
		c.change.Broadcast()
	case *http2.MetaHeadersFrame:
		if c.isNow(f.StreamID) {
			c.header(f)
		}
	case *http2.DataFrame:
		return c.data(f)
	}
	return nil
}

func (c *frameConn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		switch s.ID {
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.encode.SetMaxDynamicTableSizeLimit(s.Val)
		case http2.SettingInitialWindowSize:
			if c.now != nil {
				c.now.window += int64(s.Val) - c.firstWindow
			}
			c.firstWindow = int64(s.Val)
		}
		return s.Valid()
	})
	if err != nil {
		return err
	}
	c.change.Broadcast()
	return c.frames.WriteSettingsAck()
}

// header takes an answer's head, or the trailer behind its body.
func (c *frameConn) header(f *http2.MetaHeadersFrame) {
	a := c.now
	if a.got.status == 0 {
		status, err := strconv.Atoi(f.PseudoValue("status"))
		switch {
		case err != nil:
			c.settle(fmt.Errorf("an answer of the status %q", f.PseudoValue("status")))
			return
		case status < http.StatusOK:
			return // what comes before the answer itself
		}
		a.got.status, a.length = status, -1
		value := func(name string) string {
			for _, field := range f.RegularFields() {
				if strings.EqualFold(field.Name, name) {
					return field.Value
				}
			}
			return ""
		}
		a.got.head(a.request, value)
		if n, err := strconv.ParseInt(value("content-length"), 10, 64); err == nil && a.request.Method != http.MethodHead && status != http.StatusNotModified {
			a.length = n
		}
	}
	if f.StreamEnded() {
		c.complete(a)
	}
}

// complete ends the answer whose last frame has come.
func (c *frameConn) complete(a *frameAnswer) {
	if a.length >= 0 && a.got.bytes != a.length {
		c.settle(io.ErrUnexpectedEOF)
		return
	}
	c.settle(nil)
}

// data takes a part of an answer's body, and makes room for as much again.
func (c *frameConn) data(f *http2.DataFrame) error {
	if f.Length > 0 {
		if err := c.frames.WriteWindowUpdate(0, f.Length); err != nil {
			return err
		}
	}
	a := c.now
	if !c.isNow(f.StreamID) || a.done {
		return nil
	}
	a.got.bytes += int64(len(f.Data()))
	if room := a.request.enough() - int64(len(a.body)); room > 0 {
		a.body = append(a.body, f.Data()[:min(room, int64(len(f.Data())))]...)
	}
	if f.StreamEnded() {
		c.complete(a)
		return nil
	}
	if f.Length > 0 {
		return c.frames.WriteWindowUpdate(f.StreamID, f.Length)
	}
	return nil
}
