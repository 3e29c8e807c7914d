package starter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// found is what was found out about a program or an image.
type found struct {
	driver string // to run it on, "" where it is the first one that is offered
	told   told
	tries  []string // ways of telling it that did not work, before told

	status  map[string]int // of the answers, by path
	request string         // path of the request
	signal  string         // path of the signal, "" means that a connection is all there is to ask
}

// told is how a program is told where to listen.
type told struct {
	args []string
	env  []string // K=v
	port int      // it is not told: it listens there
	what string   // for people
}

// program writes the scenario of a program or an image.
func (p *page) program(ctx context.Context, ask Ask, offers []Offer) (driver string, err error) {
	f, err := look(ctx, ask, offers)
	if err != nil {
		return "", err
	}
	service, what := ask.Image, ask.Image
	if ask.Exec != "" {
		service = filepath.Base(ask.Exec)
		if what, err = ask.path(ask.Exec); err != nil {
			return "", err
		}
	} else if name, _, tagged := strings.Cut(path.Base(service), ":"); tagged {
		service = name
	}
	p.head(ask, nameOf(service), "Replaces every instance of "+service+" under load: as it is, and with a wait before each stop.", f.driver)
	p.line("target:")
	if ask.Exec != "" {
		p.line("  exec: %s # from the folder of this file; a name without a slash is looked up in PATH", quoted(what))
	} else {
		p.line("  image: %s", quoted(what))
	}
	p.told(f)
	p.request(f)
	if ask.Exec != "" {
		p.line("  # The same service on another driver, over what is said above:")
		p.line("  # on: {docker: {image: %q, ports: {data: 8080}}}", nameOf(service)+":1")
	}
	p.tail(3, "")
	p.line("phases:")
	p.line("  baseline: {from: 1s, to: 4s}")
	p.line("  window: {from: 4s, to: 24s}")
	p.line("action: {kind: rollout, timeout: 60s}")
	p.line("rolling: {max_surge: 1, max_unavailable: 0} # a new instance first, then an old one goes")
	p.line("")
	p.line("trials: 1 # 3 and more tell luck from a difference")
	p.designs(f)
	return f.driver, nil
}

// told writes how the program is told where to listen.
func (p *page) told(f found) {
	p.line("  # Filled in for each instance, in args and env: $${listen.data} is host:port to listen on,")
	p.line("  # $${port.data} the number alone, $${instance} its name, $${revision} v1 or v2.")
	if len(f.tries) > 0 {
		p.line("  # It does not listen where it is told by %s.", strings.Join(f.tries, ", by "))
	}
	if f.told.what != "" {
		p.line("  # Found: %s.", f.told.what)
	}
	if len(f.told.args) > 0 {
		p.line("  args: %s", quotedAll(f.told.args))
	}
	if len(f.told.env) > 0 {
		p.line("  env:")
		for _, kv := range f.told.env {
			k, v, _ := strings.Cut(kv, "=")
			p.line("    %s: %s", k, quoted(v))
		}
	}
	if f.told.port > 0 {
		p.line("  ports: {data: %d} # where it listens, whatever it is told", f.told.port)
	}
}

// request writes what the load asks.
func (p *page) request(f found) {
	var answers []string
	everything := f.ok(nowhere)
	for _, at := range paths {
		if everything && at != "/" {
			continue
		}
		if status, ok := f.status[at]; ok && status != http.StatusNotFound {
			answers = append(answers, fmt.Sprintf("%s %d", at, status))
		}
	}
	if everything {
		answers = append(answers, "and it answers whatever path is asked")
	}
	if len(answers) > 0 {
		p.line("  # What the load asks; put a request of real life here. Found: %s.", strings.Join(answers, ", "))
	} else {
		p.line("  # What the load asks, and how it has to be answered; put a request of real life here.")
	}
	status := f.status[f.request]
	if status == 0 {
		status = http.StatusOK
	}
	p.line("  request: {path: %s, expect: {status: %d}}", quoted(f.request), status)
}

// designs writes the two ways that are compared, and the gate.
func (p *page) designs(f found) {
	signal := "{kind: tcp, port: data, interval: 400ms, fall: 2}"
	if f.signal != "" {
		signal = fmt.Sprintf("{kind: http, port: data, path: %s, interval: 400ms, fall: 2}", quoted(f.signal))
	}
	p.line("designs:")
	p.line("  - name: as-it-is")
	p.line("    about: Whoever routes to it learns of a stop by asking it.")
	p.line("    signal: %s # what the runtime routes by", signal)
	p.line("    stop_grace: 10s # from SIGTERM to SIGKILL")
	p.line("  - name: drained")
	p.line("    about: Nothing is sent to it any more for 2 s before it is asked to stop.")
	p.line("    signal: %s", signal)
	p.line("    deregister_first: true # whoever routes is told of the stop")
	p.line("    pre_stop: 2s # a preStop hook on Kubernetes; elsewhere the lab waits")
	p.line("    stop_grace: 10s")
	p.gate()
}

func (p *page) gate() {
	p.line("")
	p.line("# What must hold for the run to pass, and for exit code 0.")
	p.line("gates:")
	p.line("  - {design: drained, metric: failed, op: <=, limit: 0}")
}

// look finds out how the service is told where to listen, and what it answers.
func look(ctx context.Context, ask Ask, offers []Offer) (found, error) {
	feature, what := drivers.Feature("exec"), "programs"
	if ask.Image != "" {
		feature, what = "image", "images"
	} else if problems := drivers.ExamineExec(drivers.Stack{Subject: drivers.Service{Exec: ask.Exec}}); len(problems) > 0 {
		return found{}, hint(errors.New(problems[0].Message), problems[0].Hint)
	}
	var why error
	for _, d := range offers {
		if answer := d.Support()[feature]; answer.How == drivers.Refused && answer.When == nil {
			continue
		}
		if err := d.Check(ctx); err != nil {
			why = errors.Join(why, err)
			continue
		}
		f, err := lookOn(ctx, d, ask)
		if d != offers[0] {
			f.driver = d.Name()
		}
		return f, err
	}
	if ask.Port == 0 && len(ask.Args)+len(ask.Env) == 0 {
		return found{}, hint(fmt.Errorf("no driver that runs %s is available, so nobody can find out where it listens: %w", what, why), "say it yourself: --port N, or what it is told, such as -- --addr '${listen.data}'")
	}
	f := found{driver: able(offers, feature), told: told{args: ask.Args, env: ask.Env, port: ask.Port}, request: ask.Path}
	if f.request == "" {
		f.request = "/"
	}
	return f, nil
}

// ok says whether a path was answered well.
func (f *found) ok(at string) bool { return f.status[at] >= 200 && f.status[at] < 300 }

// choose picks the request and the signal out of the answers.
func (f *found) choose(ask Ask) error {
	all := f.ok(nowhere) // it answers everything: a health path says no more than any other
	for _, at := range healthPaths {
		if f.ok(at) && !all {
			f.signal = at
			break
		}
	}
	switch {
	case ask.Path != "":
		f.request = ask.Path
	case f.ok("/"), f.signal == "":
		f.request = "/"
	default:
		f.request = f.signal
	}
	status := f.status[f.request]
	if status < 200 {
		return hint(fmt.Errorf("it listens and does not answer GET %s over HTTP/1.1", f.request), "describe it by hand: docs/runtimes.md, a custom target")
	}
	if f.signal == "" && f.ok(f.request) {
		f.signal = f.request
	}
	return nil
}

// nowhere is a path that no service has.
const nowhere = "/rollout-lab-asks-for-nothing"

var (
	healthPaths = []string{"/readyz", "/ready", "/healthz", "/health", "/-/ready", "/actuator/health/readiness", "/actuator/health", "/ping", "/status"}
	paths       = slices.Concat([]string{"/"}, healthPaths)
)
