package load

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// role makes the test binary another program when it runs itself.
const role = "ROLLOUT_LAB_LOAD_ROLE"

// What the server shows, in PEM; without it it speaks no TLS.
const (
	serverCertificate = "ROLLOUT_LAB_LOAD_CERTIFICATE"
	serverKey         = "ROLLOUT_LAB_LOAD_KEY"
)

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		goleak.VerifyTestMain(m)
	case "server":
		os.Exit(serveUntilEOF())
	case "starved":
		os.Exit(probeStarved())
	case "starved balancer":
		os.Exit(probeStarvedBalancer())
	default:
		panic("unknown role")
	}
}

// serveUntilEOF is a trivial server: it prints its address and serves until its input ends.
func serveUntilEOF() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(ln.Addr())
	server := &http.Server{Handler: http.HandlerFunc(echo), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	if certificate := os.Getenv(serverCertificate); certificate == "" {
		go server.Serve(ln)
	} else {
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(os.Getenv(serverKey)))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
		go server.ServeTLS(ln, "", "")
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	return 0
}

// childServer starts the trivial server in a process of its own and returns its URL.
func childServer(tb testing.TB, env ...string) string {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), role+"=server"), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("server: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return "http://" + strings.TrimSpace(line)
}
