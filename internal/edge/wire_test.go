package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dial opens a client's connection to the balancer and sends text on it.
func dial(t testing.TB, b *Balancer, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// recorder is a backend that keeps the bytes of one request, with a body of that many,
// and answers it.
func recorder(t testing.TB, body int) (addr string, got <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1)
	go func() {
		defer close(out)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var text strings.Builder
		in := bufio.NewReader(conn)
		for !strings.HasSuffix(text.String(), "\r\n\r\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			text.WriteString(line)
		}
		if _, err := io.CopyN(&text, in, int64(body)); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		// What should not be there would arrive before the balancer lets go.
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(&text, in)
		out <- text.String()
	}()
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String(), out
}

// The requests as an endpoint gets them, byte for byte.
func TestRequestOnTheWire(t *testing.T) {
	forwarded := "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: lab\r\nX-Forwarded-Proto: http\r\n"
	tests := []struct {
		name, sent, want string
		body             int // bytes behind the head
	}{
		{"GET", "GET /a?x=1;y=%zz HTTP/1.1\r\nHost: lab\r\n\r\n",
			"GET /a?x=1;y=%zz HTTP/1.1\r\nHost: lab\r\n" + forwarded + "\r\n", 0},
		{"GET that says 0", "GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: lab\r\n" + forwarded + "content-length: 0\r\n\r\n", 0},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HEAD / HTTP/1.1\r\nHost: lab\r\n" + forwarded + "\r\n", 0},
		{"DELETE", "DELETE / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"DELETE / HTTP/1.1\r\nHost: lab\r\n" + forwarded + "\r\n", 0},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: lab\r\n\r\n",
			"OPTIONS * HTTP/1.1\r\nHost: lab\r\n" + forwarded + "\r\n", 0},
		{"POST without a body", "POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: lab\r\n" + forwarded + "content-length: 0\r\n\r\n", 0},
		{"POST", "POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 4\r\n\r\nbody",
			"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 4\r\n" + forwarded + "\r\nbody", 4},
		{"GET with a body", "GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 4\r\n\r\nbody",
			"GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 4\r\n" + forwarded + "\r\nbody", 4},
		{"POST of unknown length", "POST / HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n" + forwarded + "\r\n4\r\nbody\r\n0\r\n\r\n", 14},
		{"headers of the hop and of the way", "GET / HTTP/1.1\r\nHost: lab\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n" +
			"Proxy-Authorization: x\r\nX-Forwarded-For: 10.1.1.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.1.1.1\r\nUser-Agent: me\r\nX-End: 2\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: lab\r\nUser-Agent: me\r\nForwarded: for=10.1.1.1\r\nX-End: 2\r\nX-Forwarded-For: 10.1.1.1, 127.0.0.1\r\n" +
				"X-Forwarded-Host: lab\r\nX-Forwarded-Proto: https\r\n\r\n", 0},
		{"absolute target", "GET http://lab/a HTTP/1.1\r\nHost: other\r\n\r\n",
			"GET /a HTTP/1.1\r\nHost: lab\r\n" + forwarded + "\r\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr, got := recorder(t, tt.body)
			b := start(t, Config{})
			b.Route(Endpoint{ID: "a", Addr: addr})
			conn := dial(t, b, tt.sent)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("got %v, %v, want a 200", res, err)
			}
			if diff := cmp.Diff(tt.want, <-got); diff != "" {
				t.Errorf("the endpoint got (-want +got):\n%s", diff)
			}
		})
	}
}

// The answers as a client gets them, byte for byte.
func TestAnswerOnTheWire(t *testing.T) {
	const date = "Date: Sun, 22 Nov 2026 12:00:00 GMT\r\n"
	tests := []struct{ name, request, answer, want string }{
		{"length", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\nContent-Type: a/b\r\n\r\nhi",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: a/b\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\nhi"},
		{"no type is guessed", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 6\r\n\r\n<html>",
			"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n<html>"},
		{"chunks and a trailer", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Rollout-Lab-Endpoint: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 12345\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n"},
		{"no content", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 204 No Content\r\n" + date + "\r\n",
			"HTTP/1.1 204 No Content\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n"},
		{"the endpoint's connection ends, the client's does not", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Connection: close\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nhi",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\nhi"},
		{"headers of the hop", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nhi",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\nhi"},
		{"early hints", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\n\r\nhi",
			"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\nhi"},
		{"a reason of its own", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 503 Service Unavailable\r\n" + date + "Rollout-Lab-Reason: not synced\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n" + date + "Rollout-Lab-Endpoint: a\r\nRollout-Lab-Reason: not synced\r\n\r\n"},
		{"the harness's trouble, as an endpoint says", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 502 Bad Gateway\r\n" + date + "Rollout-Lab-Reason: harness: no ports\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n"},
		{"the same, behind another reason", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 502 Bad Gateway\r\n" + date + "Rollout-Lab-Reason: x\r\nrollout-lab-reason:  harness: y\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n"},
		{"the balancer's own, as an endpoint says", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 503 Service Unavailable\r\n" + date + "Rollout-Lab-Reason: no ready endpoint\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n"},
		{"its name, as an endpoint says", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Rollout-Lab-Endpoint: b\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n"},
		{"a status out of the classes", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
			"HTTP/1.1 799 Odd\r\n" + date + "Content-Length: 0\r\n\r\n",
			"HTTP/1.1 799 status code 799\r\nContent-Length: 0\r\n" + date + "Rollout-Lab-Endpoint: a\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			backend := serveWire(t, func(conn net.Conn, n int, r *http.Request) bool {
				io.WriteString(conn, tt.answer)
				return true
			})
			b := start(t, Config{})
			b.Route(Endpoint{ID: "a", Addr: backend.addr})
			conn := dial(t, b, tt.request)
			got := make([]byte, len(tt.want))
			if n, err := io.ReadFull(conn, got); err != nil {
				t.Fatalf("got %q and %v, want %q", got[:n], err, tt.want)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Fatalf("the client got (-want +got):\n%s", diff)
			}
			// An answer behind it shows that the client's connection is still good, and that
			// nothing follows the first answer.
			b.Unroute("a")
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 503 {
				t.Errorf("next on the connection: got %v, %v, want a 503", res, err)
			}
		})
	}
}
