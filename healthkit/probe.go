package healthkit

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultProbeAddr is where ProbeCommand looks without --addr.
const DefaultProbeAddr = "127.0.0.1:8081"

// probeOutput bounds what is read and printed: Docker keeps the first 4096
// bytes of what a HEALTHCHECK prints.
const probeOutput = 4096

// ProbeCommand is the healthcheck subcommand of a service: it asks a Handler
// that listens elsewhere (in the same container, as a rule) and returns the exit
// code, 0 when the answer is yes, 1 otherwise (2 is reserved by Docker). The
// verdict and its reason go to stdout, where Docker keeps them; misuse goes to
// stderr. args are without the name of the command:
//
//	--probe ready|live|startup   what to ask; ready by default
//	--addr  HOST:PORT, :PORT, http://HOST:PORT[/PREFIX] or unix:PATH
//	--timeout DURATION           for everything together; 2s by default
func ProbeCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	probe := flags.String("probe", "ready", "what to ask: ready, live or startup")
	addr := flags.String("addr", DefaultProbeAddr, "HOST:PORT, :PORT, http://HOST:PORT or unix:PATH of the health listener")
	timeout := flags.Duration("timeout", 2*time.Second, "how long everything may take")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 1
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "healthcheck: unexpected argument %q\n", flags.Arg(0))
		return 1
	}
	paths := map[string]string{"ready": "/readyz", "live": "/livez", "startup": "/startupz"}
	path, ok := paths[*probe]
	if !ok {
		fmt.Fprintf(stderr, "healthcheck: unknown probe %q\nhint: one of ready, live, startup\n", *probe)
		return 1
	}
	if *timeout <= 0 {
		fmt.Fprintf(stderr, "healthcheck: --timeout %v is not positive\n", *timeout)
		return 1
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("no answer within %v", *timeout))
	defer cancel()
	text, ok, err := askProbe(ctx, *addr, path)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		fmt.Fprintf(stdout, "no verdict from %s at %s: %s\n", path, *addr, oneLine(err.Error()))
		return 1
	}
	fmt.Fprintln(stdout, strings.TrimRight(text, "\n"))
	if !ok {
		return 1
	}
	return 0
}

// askProbe asks once, over a connection of its own. It uses no proxy and
// follows no redirect: both would ask someone else.
func askProbe(ctx context.Context, addr, path string) (text string, ok bool, err error) {
	base, socket, err := probeURL(addr)
	if err != nil {
		return "", false, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path+"?verbose", nil)
	if err != nil {
		return "", false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeOutput-1))
	if err != nil {
		return "", false, fmt.Errorf("read answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return string(body), true, nil
	case http.StatusServiceUnavailable:
		return string(body), false, nil
	}
	return "", false, fmt.Errorf("answer %s is no verdict", resp.Status)
}

// probeURL turns the forms of --addr into a base URL and, for a unix socket,
// its path.
func probeURL(addr string) (base, socket string, err error) {
	if rest, ok := strings.CutPrefix(addr, "unix:"); ok {
		rest = strings.TrimPrefix(rest, "//")
		if rest == "" {
			return "", "", fmt.Errorf("address %q has no socket path", addr)
		}
		return "http://localhost", rest, nil
	}
	if strings.HasPrefix(addr, "http://") {
		u, err := url.Parse(addr)
		if err != nil || u.Host == "" || u.RawQuery != "" {
			return "", "", fmt.Errorf("address %q is no http://HOST:PORT", addr)
		}
		return strings.TrimRight(addr, "/"), "", nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("address %q: %w", addr, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), "", nil
}
