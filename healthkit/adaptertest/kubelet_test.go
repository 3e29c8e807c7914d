package adaptertest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/healthkit"
)

// There is no kubelet here. What follows asks as one does, by the rules that the
// Kubernetes documentation gives for probes, and keeps what it would believe. Its
// clock is its own and moves one second with each tick, so that delays, periods
// and thresholds take no time; the requests are real ones.

// probe is one probe of a container, with httpGet as the way to ask. The timeout
// is real time.
type probe struct {
	path                               string
	initialDelay, period, timeout      time.Duration
	successThreshold, failureThreshold int
}

// podSpec holds the probes of a container; only the startup probe may be missing.
type podSpec struct{ startup, liveness, readiness *probe }

// prober is one probe at work in one container.
type prober struct {
	*probe
	ok   bool // what is believed
	last bool
	row  int           // results in a row that were as the last
	due  time.Duration // when to ask next
}

// take changes the belief when enough results in a row say so.
func (p *prober) take(ok bool) {
	if ok != p.last {
		p.row = 0
	}
	p.last = ok
	p.row++
	if ok && p.row >= p.successThreshold || !ok && p.row >= p.failureThreshold {
		p.ok = ok
	}
}

// kubelet watches over one container.
type kubelet struct {
	spec podSpec
	// run replaces the container and returns where the new one is probed.
	run    func() (base string)
	client *http.Client

	base        string
	now         time.Duration // since the container was started
	startup     *prober       // nil without a startup probe
	liveness    *prober
	readiness   *prober
	terminating bool
	restarts    int
	asked       map[string]int // requests by path, in all containers
}

func newKubelet(spec podSpec, run func() string) *kubelet {
	k := &kubelet{
		spec: spec, run: run, asked: map[string]int{},
		client: &http.Client{
			// Each attempt has a connection of its own. A redirect is not followed:
			// no probe is answered with one, and its status is a success already.
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	k.begin()
	return k
}

// begin starts a container, of which nothing is known: it is live and not ready
// until probes say otherwise.
func (k *kubelet) begin() {
	k.base, k.now, k.startup = k.run(), 0, nil
	k.liveness = &prober{probe: k.spec.liveness, ok: true, due: k.spec.liveness.initialDelay}
	k.readiness = &prober{probe: k.spec.readiness, due: k.spec.readiness.initialDelay}
	if s := k.spec.startup; s != nil {
		k.startup = &prober{probe: s, ok: false, due: s.initialDelay}
	}
}

// started is the Started of the container's status.
func (k *kubelet) started() bool { return k.startup == nil || k.startup.ok }

// ready is the Ready of the container's status: whether it is in the endpoints.
func (k *kubelet) ready() bool { return k.started() && k.readiness.ok }

// tick does what is due and lets a second pass.
func (k *kubelet) tick() {
	if !k.started() && !k.terminating {
		if !k.ask(k.startup) && k.startup.row >= k.startup.failureThreshold {
			k.kill()
			return
		}
		if k.started() {
			// Their delays begin with the success of the startup probe.
			k.liveness.due = k.now + k.liveness.initialDelay
			k.readiness.due = k.now + k.readiness.initialDelay
		}
	}
	if k.started() {
		// A container that is being terminated is not killed for its liveness, but
		// its readiness is asked to the end.
		if !k.terminating && !k.ask(k.liveness) {
			k.kill()
			return
		}
		k.ask(k.readiness)
	}
	k.now += time.Second
}

func (k *kubelet) kill() {
	k.restarts++
	k.begin()
}

// ask makes one attempt when it is time and returns what is believed then.
func (k *kubelet) ask(p *prober) bool {
	if k.now >= p.due {
		p.due = k.now + p.period
		k.asked[p.path]++
		p.take(k.attempt(p))
	}
	return p.ok
}

// attempt tells whether one request was answered in time with 200 to 399.
func (k *kubelet) attempt(p *prober) bool {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.base+p.path, nil)
	if err != nil {
		panic(err) // the path in the test is no path
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false
	}
	return resp.StatusCode >= 200 && resp.StatusCode < 400
}

// settle ticks until every probe had the time to reach its threshold, whatever
// the phase of its period.
func (k *kubelet) settle() {
	var wait time.Duration
	for _, p := range []*probe{k.spec.liveness, k.spec.readiness} {
		n := max(p.successThreshold, p.failureThreshold)
		wait = max(wait, p.initialDelay+time.Duration(n+1)*p.period)
	}
	if s := k.spec.startup; s != nil {
		wait += s.initialDelay + s.period
	}
	for ; wait > 0; wait -= time.Second {
		k.tick()
	}
}

// answerTime is long enough for a busy machine: a time-out is a test of its own.
const answerTime = 20 * time.Second

// podSpecs are settings that people have: those of the README, the defaults
// without a startup probe, and one that dampens everything. A startup probe has
// a budget above the time that the life below spends unready.
var podSpecs = map[string]podSpec{
	"recommended": {
		startup:   &probe{path: "/startupz", period: time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 600},
		liveness:  &probe{path: "/livez", period: 5 * time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 3},
		readiness: &probe{path: "/readyz", period: time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 2},
	},
	"defaults without startup": {
		liveness:  &probe{path: "/livez", period: 10 * time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 3},
		readiness: &probe{path: "/readyz", period: 10 * time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 3},
	},
	"nervous": {
		startup:   &probe{path: "/startupz", period: time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 600},
		liveness:  &probe{path: "/livez", period: time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 1},
		readiness: &probe{path: "/readyz", period: time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 1},
	},
	"dampened": {
		startup:   &probe{path: "/startupz", initialDelay: 2 * time.Second, period: 3 * time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 600},
		liveness:  &probe{path: "/livez", initialDelay: 10 * time.Second, period: 7 * time.Second, timeout: answerTime, successThreshold: 1, failureThreshold: 4},
		readiness: &probe{path: "/readyz", initialDelay: 5 * time.Second, period: 2 * time.Second, timeout: answerTime, successThreshold: 3, failureThreshold: 3},
	},
}

// State by state, what a kubelet believes is what the snapshot says.
func TestKubeletBelievesTheSnapshot(t *testing.T) {
	for name, spec := range podSpecs {
		t.Run(name+"/terminated by the kubelet", func(t *testing.T) { kubeletLife(t, spec, time.Hour, true) })
		t.Run(name+"/ends by itself", func(t *testing.T) { kubeletLife(t, spec, 0, false) })
	}
}

func kubeletLife(t *testing.T, spec podSpec, grace time.Duration, terminated bool) {
	var p *service
	k := newKubelet(spec, func() string {
		if p != nil {
			p.end()
		}
		p = startService(t, grace)
		return "http://" + p.addr
	})
	wasStarted := false
	for _, step := range life(grace) {
		k.terminating = k.terminating || terminated && step.stopping
		step.do(p)
		before := p.r.Snapshot()
		step.check(t, before)
		// Only what is not live is killed, and a process that is gone is not; and
		// nobody asks whether it is live before it has started or when it is to end.
		restart := (!before.Live() || step.gone) && k.started() && !k.terminating
		restarts, asked := k.restarts, k.asked["/readyz"]
		k.settle()
		after := p.r.Snapshot()
		if restart {
			restarts++
		} else if after.Version != before.Version {
			t.Fatalf("%s: the registry went from version %d to %d while it was probed: nothing can be compared", step.name, before.Version, after.Version)
		}
		if k.restarts != restarts {
			t.Fatalf("%s: %d restarts, want %d (%s; %s)", step.name, k.restarts, restarts, before.Reason(), before.LiveReason())
		}
		if k.started() && k.asked["/readyz"] == asked {
			t.Fatalf("%s: readiness was not asked", step.name)
		}
		if k.ready() != after.Ready() {
			t.Fatalf("%s: the pod is ready: %v; snapshot: %s", step.name, k.ready(), after.Reason())
		}
		wantStarted := after.Started || spec.startup == nil
		if k.started() != wantStarted {
			t.Fatalf("%s: the container is started: %v, want %v", step.name, k.started(), wantStarted)
		}
		wasStarted = wasStarted || after.Started
	}
	wantRestarts := 1 // of the stuck loop
	if !terminated {
		wantRestarts++ // it ended, and nobody had asked it to
	}
	if !wasStarted || k.restarts != wantRestarts {
		t.Fatalf("at the end started %v and %d restarts, want %d: the life was not lived", wasStarted, k.restarts, wantRestarts)
	}
}

// A loop that is stuck gets the container killed after exactly as many failures
// as the threshold, and until then it is in the endpoints.
func TestKubeletRestartsAStuckLoop(t *testing.T) {
	p := startService(t, 0)
	fresh := startService(t, 0)
	k := newKubelet(podSpecs["recommended"], addresses(p, fresh))
	p.storage().Ready()
	k.settle()
	p.stick()
	asked := k.asked["/livez"]
	for ticks := 0; k.restarts == 0; ticks++ {
		if !k.ready() || !p.r.Snapshot().Ready() {
			t.Fatalf("after %d ticks ready: kubelet %v, snapshot %v; want both", ticks, k.ready(), p.r.Snapshot().Ready())
		}
		if ticks > 100 {
			t.Fatal("no restart within 100 s")
		}
		k.tick()
	}
	if got := k.asked["/livez"] - asked; got != k.spec.liveness.failureThreshold {
		t.Errorf("killed after %d failures, want %d", got, k.spec.liveness.failureThreshold)
	}
	if k.started() || k.ready() {
		t.Errorf("the new container is started %v, ready %v before it was asked", k.started(), k.ready())
	}
}

// What is wrong and is no matter of progress takes the pod out of the endpoints
// and restarts nothing, however long it lasts.
func TestKubeletNeverRestartsTheUnready(t *testing.T) {
	for name, trouble := range map[string]func(*service){
		"required failed":   func(p *service) { p.storage().Failed(errDown) },
		"stale":             expire,
		"no generation":     func(p *service) { p.policy().Ready() },
		"starting again":    func(p *service) { p.storage().Starting("resync") },
		"component stopped": func(p *service) { p.storage().Stopped("over") },
		"component gone":    func(p *service) { p.storage().Retract() },
		"late registration": func(p *service) { p.component("late", healthkit.Options{}) },
		"lame duck":         func(p *service) { p.must(p.r.Advance(healthkit.PhaseLameDuck, "by itself")) },
		"drain of no end": func(p *service) {
			p.must(p.r.Advance(healthkit.PhaseLameDuck, "by itself"))
			p.must(p.r.Advance(healthkit.PhaseDraining, "by itself"))
		},
		"stopped, but there": func(p *service) {
			p.must(p.r.Advance(healthkit.PhaseLameDuck, ""))
			p.must(p.r.Advance(healthkit.PhaseDraining, ""))
			p.must(p.r.Advance(healthkit.PhaseStopped, ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startService(t, 0)
			k := newKubelet(podSpecs["nervous"], addresses(p))
			p.storage().Ready()
			k.settle()
			if !k.ready() {
				t.Fatal("never ready")
			}
			trouble(p)
			for range 100 {
				k.tick()
			}
			if s := p.r.Snapshot(); k.ready() || s.Ready() || k.restarts > 0 || !s.Live() {
				t.Errorf("ready: kubelet %v, snapshot %v; %d restarts, live %v; want unready, live and no restart", k.ready(), s.Ready(), k.restarts, s.Live())
			}
		})
	}
}

// A component that was given a say in liveness, against all advice, is the only
// one that can have the container killed.
func TestKubeletRestartsForALivenessOverride(t *testing.T) {
	p := startService(t, 0)
	k := newKubelet(podSpecs["recommended"], addresses(p, startService(t, 0)))
	c := p.component("engine", healthkit.Options{LivenessOverride: true})
	c.Ready()
	k.settle()
	c.Failed(errDown)
	if k.settle(); k.restarts != 1 {
		t.Errorf("%d restarts, want 1", k.restarts)
	}
}

// A process that never becomes ready is killed by the budget of the startup
// probe, not by its liveness.
func TestKubeletKillsWhatDoesNotStart(t *testing.T) {
	p := startService(t, 0)
	spec := podSpecs["nervous"]
	startup := *spec.startup
	startup.failureThreshold = 30
	spec.startup = &startup
	k := newKubelet(spec, addresses(p, startService(t, 0)))
	p.storage().Starting("sync")
	p.stick()
	for range 29 {
		k.tick()
	}
	if k.restarts != 0 || k.asked["/livez"]+k.asked["/readyz"] != 0 {
		t.Fatalf("after 29 failures %d restarts and requests %v, want none and only /startupz", k.restarts, k.asked)
	}
	if k.tick(); k.restarts != 1 {
		t.Errorf("%d restarts after 30 failures, want 1", k.restarts)
	}
}

// addresses hands out one running service after the other.
func addresses(services ...*service) func() string {
	return func() string {
		p := services[0]
		services = services[1:]
		return "http://" + p.addr
	}
}

// The prober itself: each rule, against a server that answers by a script. The
// trace has one letter for each second: - not started, s started, R ready, X
// killed.
func TestKubeletRules(t *testing.T) {
	every := func(path string, period int, success, failure int) *probe {
		return &probe{path: path, period: time.Duration(period) * time.Second, timeout: answerTime, successThreshold: success, failureThreshold: failure}
	}
	late := every("/r", 1, 1, 1)
	late.initialDelay = 3 * time.Second
	live, ready := every("/l", 1, 1, 1), every("/r", 1, 1, 1)
	for _, c := range []struct {
		name                   string
		spec                   podSpec
		startup, livez, readyz string // + is 200, - is 503; the last one stays
		terminating            bool
		want, neverAsked       string
	}{
		{name: "thresholds need results in a row", spec: podSpec{nil, live, every("/r", 1, 2, 3)}, livez: "+", readyz: "++--+---++", want: "sRRRRRRssR"},
		{name: "initial delay", spec: podSpec{nil, live, late}, livez: "+", readyz: "+", want: "sssRR"},
		{name: "period", spec: podSpec{nil, live, every("/r", 3, 1, 1)}, livez: "+", readyz: "+-+", want: "RRRsssRRR"},
		{name: "the startup probe comes first", spec: podSpec{every("/s", 1, 1, 9), live, ready}, startup: "--+", livez: "-", readyz: "+", want: "--X"},
		{name: "nothing else before the startup", spec: podSpec{every("/s", 1, 1, 9), live, ready}, startup: "-", livez: "-", readyz: "+", want: "----", neverAsked: "/l /r"},
		{name: "the startup probe is over when it passed", spec: podSpec{every("/s", 1, 1, 1), live, ready}, startup: "+-", livez: "+", readyz: "+", want: "RRRR"},
		{name: "delays begin after the startup", spec: podSpec{every("/s", 1, 1, 9), live, late}, startup: "--+", livez: "+", readyz: "+", want: "--sssRR"},
		{name: "the startup fails", spec: podSpec{every("/s", 1, 1, 3), live, ready}, startup: "-", livez: "+", readyz: "+", want: "--X--X"},
		{name: "liveness kills and all begins anew", spec: podSpec{nil, every("/l", 1, 1, 2), every("/r", 1, 2, 1)}, livez: "+--+", readyz: "+", want: "sRXsR"},
		{name: "readiness never kills", spec: podSpec{nil, live, ready}, livez: "+", readyz: "+-", want: "Rsssss"},
		{name: "only readiness while terminating", spec: podSpec{nil, live, ready}, livez: "-", readyz: "++-", terminating: true, want: "RRss", neverAsked: "/l"},
		{name: "no startup probe while terminating", spec: podSpec{every("/s", 1, 1, 2), live, ready}, startup: "-", livez: "-", readyz: "+", terminating: true, want: "----", neverAsked: "/s /l /r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := map[string]string{"/s": c.startup, "/l": c.livez, "/r": c.readyz}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				answers := script[req.URL.Path]
				if len(answers) > 1 {
					script[req.URL.Path] = answers[1:]
				}
				if answers[0] == '-' {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}))
			defer server.Close()
			k := newKubelet(c.spec, func() string { return server.URL })
			k.terminating = c.terminating
			var got strings.Builder
			for range len(c.want) {
				restarts := k.restarts
				switch k.tick(); {
				case k.restarts > restarts:
					got.WriteByte('X')
				case k.ready():
					got.WriteByte('R')
				case k.started():
					got.WriteByte('s')
				default:
					got.WriteByte('-')
				}
			}
			if got.String() != c.want {
				t.Errorf("trace %s, want %s", got.String(), c.want)
			}
			for path := range strings.FieldsSeq(c.neverAsked) {
				if n := k.asked[path]; n > 0 {
					t.Errorf("%s was asked %d times, want never", path, n)
				}
			}
		})
	}
}

// What counts as the answer yes.
func TestKubeletAttempt(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			<-release
			return
		}
		code, err := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/"))
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "http://elsewhere.invalid/")
		w.WriteHeader(code)
	}))
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, c := range []struct {
		base, path string
		timeout    time.Duration
		want       bool
	}{
		{server.URL, "/200", answerTime, true},
		{server.URL, "/204", answerTime, true},
		{server.URL, "/302", answerTime, true},
		{server.URL, "/399", answerTime, true},
		{server.URL, "/400", answerTime, false},
		{server.URL, "/503", answerTime, false},
		{server.URL, "/slow", 50 * time.Millisecond, false},
		{gone.URL, "/200", answerTime, false},
	} {
		p := &probe{path: c.path, period: time.Second, timeout: c.timeout, successThreshold: 1, failureThreshold: 1}
		k := newKubelet(podSpec{nil, p, p}, func() string { return c.base })
		if got := k.attempt(k.readiness); got != c.want {
			t.Errorf("%s at %s: %v, want %v", c.path, c.base, got, c.want)
		}
	}
	close(release)
	server.Close()
}
