// Package checks has ready-made functions for Registry.RegisterCheck: whether a port can be
// connected to, whether a URL answers, whether a name resolves. Each looks once, at the thing
// itself, on a connection of its own, and keeps nothing. How long it may take is for its context
// to say, which a registry bounds by CheckOptions.Timeout.
//
// A database needs none of them: (*sql.DB).PingContext is such a function as it is.
package checks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// TCP checks that a connection to addr, host:port, can be opened. Nothing is sent: that somebody
// listens is all that it says.
func TCP(addr string) healthkit.CheckFunc {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// mostBody is what is read of an answer: enough for the answers of probes, and bounded.
const mostBody = 64 << 10

// HTTP checks that a GET of address is answered with one of the statuses; none given stands for
// any from 200 to 299. Redirects are answers and are not followed: the login page that one leads
// to would say nothing of the service. The body is read, up to 64 KiB, and thrown away: an answer
// that breaks off before that is none. The transport is that of requests; nil stands for one
// that keeps no connections and otherwise does as http.DefaultTransport. The query of address and
// a password in it are in no error.
func HTTP(transport http.RoundTripper, address string, statuses ...int) healthkit.CheckFunc {
	if transport == nil {
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return withoutURL(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return withoutURL(err)
		}
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, mostBody))
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if good(resp.StatusCode, statuses) {
			return nil
		}
		return fmt.Errorf("%s answers %s", req.URL.Host, resp.Status)
	}
}

func good(status int, statuses []int) bool {
	if len(statuses) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.Contains(statuses, status)
}

// withoutURL is an error of net/http without the address in its text.
func withoutURL(err error) error {
	if e, ok := err.(*url.Error); ok {
		return e.Err
	}
	return err
}

// DNS checks that host resolves to an address. Nil stands for net.DefaultResolver, which also
// reads the hosts file. It says nothing of what is at the address.
func DNS(resolver *net.Resolver, host string) healthkit.CheckFunc {
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	return func(ctx context.Context) error {
		// LookupHost heeds the deadline of ctx, but not its cancellation.
		addrs, err := resolver.LookupIPAddr(ctx, host)
		if err == nil && len(addrs) == 0 {
			return fmt.Errorf("%s has no address", host)
		}
		return err
	}
}
