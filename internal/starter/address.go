package starter

import (
	"context"
	"errors"
	"net"
	"net/url"
)

// address writes the scenario of what answers at an address, which a command changes.
func (p *page) address(ctx context.Context, ask Ask) error {
	if len(ask.Args) == 0 {
		return hint(errors.New("a service at an address is changed by your own command, and there is none"), "rollout-lab init --url "+ask.URL+" -- kubectl rollout restart deploy/web")
	}
	u, err := url.Parse(ask.URL)
	if err != nil || u.Host == "" {
		return hint(errors.New("--url "+ask.URL+" is no address"), "such as http://127.0.0.1:8080")
	}
	base := u.Scheme + "://" + u.Host
	path := ask.Path
	if path == "" {
		path = u.RequestURI()
	}
	status, err := get(ctx, base+path)
	name := nameOf(u.Hostname())
	if net.ParseIP(u.Hostname()) != nil {
		name = "service"
	}
	p.head(ask, name, "Changes what answers at "+u.Host+" by a command, under load.", "")
	p.line("target:")
	p.line("  url: %s", quoted(base))
	if err != nil || status < 200 || status > 299 {
		p.line("  # It did not answer GET %s with a 2xx when this was written.", path)
		status = 200
	}
	p.line("  request: {path: %s, expect: {status: %d}} # put a request of real life here", quoted(path), status)
	p.line("")
	p.line("# Sent on time, whether or not answers come back: 100 requests a second tell an outage of 10 ms.")
	p.line("load: {rate: 100, timeout: 2s}")
	p.line("phases: {baseline: {from: 1s, to: 4s}} # nothing happens and nothing may fail; then comes the command")
	p.line("action:")
	p.line("  kind: command")
	p.line("  timeout: 5m # for the command")
	p.line("  settle: 10s # the load goes on behind it so long at least, until nothing fails any more")
	p.line("  max: 2m # and so long at most")
	p.line("  # reset: [what, takes, it, back] # between two trials")
	p.line("")
	p.line("# Two ways of changing it are compared by two designs, each with a run of its own.")
	p.line("designs:")
	p.line("  - name: as-it-is")
	p.line("    run: %s", quotedAll(ask.Args))
	p.line("")
	p.line("# What must hold for the run to pass, and for exit code 0.")
	p.line("gates:")
	p.line("  - {design: as-it-is, metric: failed, op: <=, limit: 0}")
	return nil
}
