//go:build go1.25

package healthkit

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inMemory serves by a GracefulServer whose connections are pipes: what a client writes stays
// with it until it is read, as it does in the kernel.
type inMemory struct {
	*GracefulServer
	l      *memory
	served chan error
	last   *lateConn // of the server's side
}

func serveInMemory(s *http.Server) *inMemory {
	if s.Handler == nil {
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	}
	m := &inMemory{GracefulServer: Graceful(s), l: newMemory(), served: make(chan error, 1)}
	go func() { m.served <- m.Serve(m.l) }()
	return m
}

// dial connects, and returns once the server waits for the first request.
func (m *inMemory) dial() (net.Conn, *bufio.Reader) {
	client, server := net.Pipe()
	m.last = &lateConn{Conn: server}
	m.l.conns <- m.last
	synctest.Wait()
	_ = client.SetDeadline(time.Now().Add(time.Hour)) // pipes can
	return client, bufio.NewReader(client)
}

// ask sends a request and reads the answer. The error is io.EOF where the server has closed the
// connection in order.
func ask(conn net.Conn, answers *bufio.Reader) (last bool, err error) {
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, oneRequest)
		written <- err
	}()
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		conn.Close()
		<-written
		return false, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Close, errors.Join(err, <-written)
}

// shutDown shuts down and tells afterwards how long that took.
func (m *inMemory) shutDown(ctx context.Context, t *testing.T) <-chan time.Duration {
	t.Helper()
	took := make(chan time.Duration, 1)
	begun := time.Now()
	go func() {
		if err := m.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-m.served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		took <- time.Since(begun)
	}()
	synctest.Wait()
	return took
}

// about allows for the looks, of which there is one every settleEvery, and for readSoon.
func about(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+100*time.Millisecond {
		t.Errorf("%s: %v, want %v and not much more", what, got, want)
	}
}

// lateConn is a connection whose reader is not let run for a while.
type lateConn struct {
	net.Conn
	late atomic.Pointer[chan struct{}]
}

func (c *lateConn) Read(p []byte) (int, error) {
	if late := c.late.Swap(nil); late != nil {
		<-*late
	}
	return c.Conn.Read(p)
}

// TestGracefulAnswersWhatLiesUnread is the stall of a process that is not let run: a request
// has arrived on a connection kept alive, its reader has not heard of it, and the connection
// is closed for its silence.
func TestGracefulAnswersWhatLiesUnread(t *testing.T) {
	for name, idleTimeout := range map[string]time.Duration{"shutdown": 0, "idle timeout": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stall, stalled := make(chan struct{}), false
				m := serveInMemory(&http.Server{IdleTimeout: idleTimeout, ConnState: func(conn net.Conn, state http.ConnState) {
					if state == http.StateIdle && !stalled {
						stalled = true
						conn.(*lateConn).late.Store(&stall)
					}
				}})
				conn, answers := m.dial()
				defer conn.Close()
				if last, err := ask(conn, answers); last || err != nil {
					t.Fatalf("first answer: last %t, %v", last, err)
				}
				answered := make(chan error, 1)
				go func() {
					last, err := ask(conn, answers)
					if want := idleTimeout == 0; err == nil && last != want {
						t.Errorf("the second answer says Connection: close: %t, want %t", last, want)
					}
					answered <- err
				}()
				synctest.Wait() // the request lies there
				var took <-chan time.Duration
				if idleTimeout == 0 {
					took = m.shutDown(context.Background(), t)
				}
				time.Sleep(1500 * time.Millisecond)
				close(stall)
				if err := <-answered; err != nil {
					t.Errorf("a request that had arrived before the connection was closed got %v", err)
				}
				if took == nil {
					took = m.shutDown(context.Background(), t)
				}
				<-took
			})
		})
	}
}

// TestGracefulGivesTimeForABody: the look at a new connection finds a header, and the body comes
// as late as the server's own limits allow.
func TestGracefulGivesTimeForABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serveInMemory(&http.Server{})
		conn, answers := m.dial()
		defer conn.Close()
		header, body := oneRequest[:len(oneRequest)-2], oneRequest[len(oneRequest)-2:]
		took := m.shutDown(context.Background(), t)
		stall := make(chan struct{})
		if _, err := io.WriteString(conn, header[:1]); err != nil { // so that the next Read is late
			t.Fatal(err)
		}
		m.last.late.Store(&stall)
		_, err := io.WriteString(conn, header[1:2])
		if err != nil {
			t.Fatal(err)
		}
		written := make(chan error, 1)
		go func() {
			_, err := io.WriteString(conn, header[2:])
			written <- err
		}()
		time.Sleep(firstRequest + 2*settleEvery)
		close(stall)
		if err := <-written; err != nil {
			t.Fatalf("the header is not read: %v", err)
		}
		time.Sleep(10 * time.Second)
		if _, err := io.WriteString(conn, body); err != nil {
			t.Fatalf("the body is not read: %v", err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); string(got) != body || err != nil || !resp.Close {
			t.Errorf("got %q, %v, last %t; want the body and the last answer", got, err, resp.Close)
		}
		<-took
	})
}

// TestGracefulAnswersWhatHTTPHasReadAhead: of a request that was sent with the one before.
func TestGracefulAnswersWhatHTTPHasReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answered := make(chan struct{})
		m := serveInMemory(&http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				<-answered
			}
		}})
		conn, answers := m.dial()
		defer conn.Close()
		header, body := oneRequest[:len(oneRequest)-2], oneRequest[len(oneRequest)-2:]
		if _, err := io.WriteString(conn, oneRequest+header); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(resp.Body); string(got) != body || err != nil {
				t.Errorf("answer %d: %q, %v", i+1, got, err)
			}
			if i == 1 {
				break
			}
			time.Sleep(quiet)
			took := m.shutDown(context.Background(), t)
			defer func() { <-took }()
			close(answered)
			time.Sleep(10 * time.Second)
			if _, err := io.WriteString(conn, body); err != nil {
				t.Fatalf("the body is not read: %v", err)
			}
		}
	})
}

// TestGracefulEndsWhoHasNotBegunToRead: net/http sets a deadline of its own after an answer and
// before it reads again.
func TestGracefulEndsWhoHasNotBegunToRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answered := make(chan struct{})
		m := serveInMemory(&http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				<-answered
			}
		}})
		conn, answers := m.dial()
		defer conn.Close()
		if _, err := ask(conn, answers); err != nil {
			t.Fatal(err)
		}
		time.Sleep(quiet)
		took := m.shutDown(context.Background(), t)
		close(answered)
		if n, err := answers.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("the client reads %d, %v; want the end", n, err)
		}
		about(t, "the shutdown took", <-took, 0)
	})
}

// TestGracefulAwaitsOneMoreRequest: each connection kept alive is told to close by an answer,
// if it asks for one in time.
func TestGracefulAwaitsOneMoreRequest(t *testing.T) {
	tests := []struct {
		name          string
		fresh         bool          // no request was sent before
		before, after time.Duration // silence before the end begins, and after
		budget        time.Duration
		answered      bool
		took          time.Duration
	}{
		{name: "at once", answered: true},
		{name: "in time", before: 200 * time.Millisecond, after: 200 * time.Millisecond, answered: true, took: 200 * time.Millisecond},
		{name: "too late", before: 200 * time.Millisecond, after: time.Second, took: 300 * time.Millisecond},
		{name: "silent for long before", before: time.Minute, after: time.Second},
		{name: "half of a budget", budget: 400 * time.Millisecond, after: time.Second, took: 200 * time.Millisecond},
		{name: "a new one", fresh: true, after: 900 * time.Millisecond, answered: true, took: 900 * time.Millisecond},
		{name: "a new one, silent", fresh: true, before: 300 * time.Millisecond, after: 2 * time.Second, took: 700 * time.Millisecond},
		{name: "a spare one", fresh: true, before: time.Minute, after: time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := serveInMemory(&http.Server{})
				conn, answers := m.dial()
				defer conn.Close()
				if !tt.fresh {
					if last, err := ask(conn, answers); last || err != nil {
						t.Fatalf("first answer: last %t, %v", last, err)
					}
				}
				time.Sleep(tt.before)
				ctx := context.Background()
				if tt.budget > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.budget)
					defer cancel()
				}
				took := m.shutDown(ctx, t)
				time.Sleep(tt.after)
				last, err := ask(conn, answers)
				switch {
				case tt.answered && (err != nil || !last):
					t.Errorf("answer: last %t, %v; want the last one", last, err)
				case !tt.answered && err == nil:
					t.Error("answered after it was over")
				}
				about(t, "the shutdown took", <-took, tt.took)
			})
		})
	}
}

// TestGracefulAwaitsWhoHasNotBeenTold: a request that is in flight when the end begins is
// answered without Connection: close, so the next one is awaited.
func TestGracefulAwaitsWhoHasNotBeenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := serveInMemory(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			<-release
		})})
		conn, answers := m.dial()
		defer conn.Close()
		type result struct {
			last bool
			err  error
		}
		first := make(chan result, 1)
		go func() {
			last, err := ask(conn, answers)
			first <- result{last, err}
		}()
		synctest.Wait()
		took := m.shutDown(context.Background(), t)
		time.Sleep(600 * time.Millisecond)
		close(release)
		if got := <-first; got.err != nil || got.last {
			t.Errorf("in flight: %+v, want an answer that could not say it is the last", got)
		}
		if last, err := ask(conn, answers); err != nil || !last {
			t.Errorf("after it: last %t, %v; want the last answer", last, err)
		}
		about(t, "the shutdown took", <-took, 600*time.Millisecond)
	})
}

// TestGracefulSpreadsTheEnds: many connections that have been silent for long are not closed
// at once, and all are closed soon.
func TestGracefulSpreadsTheEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 200
		m := serveInMemory(&http.Server{})
		ends := make(chan time.Duration, many)
		var begun time.Time
		for range many {
			conn, _ := m.dial()
			go func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
				ends <- time.Since(begun)
			}()
		}
		time.Sleep(time.Minute)
		begun = time.Now()
		took := <-m.shutDown(context.Background(), t)
		about(t, "the shutdown took", took, many/(1+many/settleSteps)*settleEvery)
		at := map[time.Duration]int{}
		for range many {
			at[<-ends]++
		}
		for when, n := range at {
			if n > 1+many/settleSteps {
				t.Errorf("%d connections of %d were closed together, after %v", n, many, when)
			}
		}
	})
}
