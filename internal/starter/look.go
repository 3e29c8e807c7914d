package starter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/images/confined"
)

const (
	tryLimit    = 3 * time.Second  // for a program to listen that is told by a guess
	sureLimit   = 30 * time.Second // for one that is told as somebody said
	helpLimit   = 2 * time.Second  // for a program to print its flags
	closeLimit  = 10 * time.Second // to remove what was started
	answerLimit = 2 * time.Second  // for one answer
	maxTries    = 8
)

// lookOn starts the service on a driver, told in one way after the other, until it listens where
// it was told, and asks it.
func lookOn(ctx context.Context, d Offer, ask Ask) (found, error) {
	var f found
	sure := len(ask.Args)+len(ask.Env) > 0 || ask.Port > 0
	var last error
	for way, err := range waysToTell(ctx, d, ask) {
		if err != nil {
			return f, err
		}
		if err := ctx.Err(); err != nil {
			return f, context.Cause(ctx)
		}
		limit := tryLimit
		if sure {
			limit = sureLimit
		}
		status, err := try(ctx, d, ask, way, limit)
		if err == nil {
			f.told, f.status = way, status
			return f, f.choose(ask)
		}
		last = err
		if !sure {
			f.tries = append(f.tries, way.what)
		}
	}
	if sure {
		return f, hint(fmt.Errorf("it does not serve when it is started so: %w", last), "try it by hand with the same arguments")
	}
	return f, hint(fmt.Errorf("it does not listen where it is told by %s; the last time: %w", strings.Join(f.tries, ", by "), last),
		"say how it is told, such as: -- --addr '${listen.data}', or --env 'PORT=${port.data}'; a container that is told nothing: --port N")
}

// waysToTell are the ways to try, the likely ones first, each found out when its turn comes: the
// one that somebody said; else the ports of an image, what most programs read, what the program's
// own help names, and guesses.
func waysToTell(ctx context.Context, d Offer, ask Ask) iter.Seq2[told, error] {
	return func(yield func(told, error) bool) {
		if len(ask.Args)+len(ask.Env) > 0 || ask.Port > 0 {
			yield(told{args: ask.Args, env: ask.Env, port: ask.Port}, nil)
			return
		}
		n, seen := 0, map[string]bool{}
		offer := func(way told) (more bool) {
			key := strings.TrimLeft(strings.Join(way.args, " "), "-") + strings.Join(way.env, " ") + strconv.Itoa(way.port)
			if seen[key] {
				return true
			}
			seen[key] = true
			n++
			return n <= maxTries && yield(way, nil)
		}
		ports, err := exposed(ctx, d, ask.Image)
		if err != nil {
			yield(told{}, err)
			return
		}
		for _, port := range ports {
			if !offer(told{port: port, what: fmt.Sprintf("the image exposes port %d, and it serves there", port)}) {
				return
			}
		}
		if !offer(told{env: []string{"PORT=${port.data}"}, what: "the environment variable PORT"}) {
			return
		}
		if ask.Exec != "" {
			for _, way := range flagsOf(ctx, ask.Exec) {
				if !offer(way) {
					return
				}
			}
		}
		for _, way := range guesses {
			if !offer(way) {
				return
			}
		}
	}
}

// exposed are the ports that an image names, where the driver can say.
func exposed(ctx context.Context, d Offer, image string) ([]int, error) {
	e, ok := d.(drivers.Exposer)
	if !ok || image == "" {
		return nil, nil
	}
	return e.Exposes(ctx, image)
}

var guesses = []told{
	{args: []string{"--addr=${listen.data}"}, what: "the argument --addr=host:port"},
	{args: []string{"--listen=${listen.data}"}, what: "the argument --listen=host:port"},
	{args: []string{"--port=${port.data}"}, what: "the argument --port=port"},
	{env: []string{"ADDR=${listen.data}"}, what: "the environment variable ADDR"},
	{args: []string{"${listen.data}"}, what: "an argument host:port"},
	{args: []string{"${port.data}"}, what: "an argument that is the port"},
}

var (
	flagName = regexp.MustCompile(`(?m)(?:^|[\s,\[])(--?)([a-z][a-z0-9._-]*)`)
	tellsIt  = regexp.MustCompile(`^(listen|addr|address|bind|http|server)([._-]?(listen|addr|address|host|bind|on))?$|^(http|server|listen)?[._-]?port$`)
)

// flagsOf are the flags that a program's own help names and that sound as if they told it where
// to listen. The program is run for that, with --help, for a moment.
func flagsOf(ctx context.Context, program string) []told {
	ctx, cancel := context.WithTimeout(ctx, helpLimit)
	defer cancel()
	cmd := confined.Command(ctx, program, "--help") // one that starts to serve instead is ended with all that it started
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // many programs fail when they print their flags, and some know no --help
	var ways []told
	for _, m := range flagName.FindAllStringSubmatch(out.String(), -1) {
		dashes, name := m[1], m[2]
		if !tellsIt.MatchString(name) {
			continue
		}
		value := "${listen.data}"
		if strings.HasSuffix(name, "port") {
			value = "${port.data}"
		}
		arg := dashes + name + "=" + value
		if !slices.ContainsFunc(ways, func(w told) bool { return w.args[0] == arg }) {
			ways = append(ways, told{args: []string{arg}, what: "the flag " + dashes + name})
		}
	}
	return ways
}

// try starts one instance, told in one way, asks it, and removes it. It returns the statuses of
// the answers by path, once it has answered at all.
func try(ctx context.Context, d drivers.Driver, ask Ask, way told, limit time.Duration) (status map[string]int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("nothing within %v", limit))
	defer cancel()
	service := drivers.Service{Name: "service", Image: ask.Image, Exec: ask.Exec, Ports: []string{"data"}, Args: way.args, Env: map[string]string{}, StopGrace: time.Second}
	if service.Exec != "" && strings.ContainsRune(service.Exec, '/') {
		if service.Exec, err = filepath.Abs(service.Exec); err != nil {
			return nil, err
		}
	}
	for _, kv := range way.env {
		k, v, _ := strings.Cut(kv, "=")
		service.Env[k] = v
	}
	if way.port > 0 {
		service.Fixed = map[string]int{"data": way.port}
	}
	env, err := d.Deploy(ctx, drivers.Stack{
		RunID: "init-" + strconv.FormatInt(time.Now().UnixNano(), 36), Name: "look", Subject: service, Replicas: 1, Revision: "v1",
		Rolling: drivers.Rolling{MaxSurge: 1},
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		err = errors.Join(err, env.Close(end))
	}()
	instances, err := env.Instances(ctx)
	if err != nil || len(instances) == 0 {
		return nil, errors.Join(errors.New("it has ended"), err)
	}
	base := "http://" + instances[0].Addr
	if err := awaitAnswer(ctx, base); err != nil {
		return nil, err
	}
	status = map[string]int{}
	all := append(slices.Clone(paths), nowhere)
	if ask.Path != "" {
		all = append(all, ask.Path)
	}
	for _, at := range all {
		if code, err := get(ctx, base+at); err == nil {
			status[at] = code
		}
	}
	return status, nil
}

// awaitAnswer asks until there is any answer. A published port may accept for somebody who does
// not listen yet.
func awaitAnswer(ctx context.Context, base string) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := get(ctx, base+"/")
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; asked over HTTP: %w", context.Cause(ctx), err)
		}
	}
}

// client keeps no connection and follows nowhere.
var client = &http.Client{
	Timeout:       answerLimit,
	Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func get(ctx context.Context, url string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}
