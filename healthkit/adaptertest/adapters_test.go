//go:build unix

package adaptertest

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/expvarhealth"
	"github.com/rollout-lab/rollout-lab/healthkit/grpc/grpchealth"
	"github.com/rollout-lab/rollout-lab/healthkit/otelhealth"
	"github.com/rollout-lab/rollout-lab/healthkit/promhealth"
	"github.com/rollout-lab/rollout-lab/healthkit/sdnotify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names are the components that come and go. Each is also a gRPC service.
var names = []string{"a", "b", "c"}

// op is one thing that happens to a registry.
type op struct {
	Kind string
	Name string
	N    int
	Text string
}

var kinds = []string{
	"register", "register", "retract", "group", "ungroup",
	"ready", "ready", "ready", "ready-for", "degraded", "failed", "failed", "starting", "draining", "stopped",
	"generation", "generation", "require",
	"sleep", "sleep", "token", "tick", "idle", "close-token",
	"lame-duck", "drain", "stop",
}

var options = []healthkit.Options{
	{},
	{},
	{Optional: true},
	{TTL: 40 * time.Millisecond},
	{OnFailure: healthkit.FailOpen},
	{OnFailure: healthkit.FailShared},
	{DependsOn: []string{"a", "b"}},
	{Generational: true},
	{Generational: true, TTL: 70 * time.Millisecond},
	{Hysteresis: healthkit.Hysteresis{FailCount: 2, RecoverFor: 20 * time.Millisecond}},
	{LivenessOverride: true},
	{Group: "g"},
}

func drawOps(rt *rapid.T) []op {
	one := rapid.Custom(func(rt *rapid.T) op {
		return op{
			Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"),
			Name: rapid.SampledFrom(names).Draw(rt, "name"),
			N:    rapid.IntRange(0, 47).Draw(rt, "n"),
			Text: rapid.SampledFrom([]string{"", "slow", "x\nREADY=1", "y\x00\nSTATUS=ready\n", "\xff\u2028"}).Draw(rt, "text"),
		}
	})
	return rapid.SliceOfN(one, rapid.SampledFrom([]int{1, 60}).Draw(rt, "at least"), 80).Draw(rt, "ops")
}

// world is a registry and the handles of what is in it.
type world struct {
	r          *healthkit.Registry
	components map[string]*healthkit.Component
	tokens     map[string]*healthkit.Loop
	group      *healthkit.Group
}

// do applies an op. What the registry refuses is part of the sequence.
func (w *world) do(o op) {
	c, token := w.components[o.Name], w.tokens[o.Name]
	switch o.Kind {
	case "register":
		if n, err := w.r.Register(o.Name, options[o.N%len(options)]); err == nil {
			w.components[o.Name] = n
		}
	case "group":
		if g, err := w.r.RegisterGroup("g", healthkit.GroupOptions{AtLeast: 1 + o.N%2, Optional: o.N%3 == 0}); err == nil {
			w.group = g
		}
	case "ungroup":
		if w.group != nil {
			w.group.Retract()
		}
	case "require":
		w.r.RequireGeneration(uint64(o.N % 3))
	case "sleep":
		time.Sleep(time.Duration(o.N) * time.Millisecond)
	case "token":
		if p, err := w.r.RegisterLoop(o.Name, 30*time.Millisecond); err == nil {
			w.tokens[o.Name] = p
		}
	case "lame-duck", "drain", "stop":
		if o.N%9 != 5 {
			return // most of a life is spent in service
		}
		// An illegal move changes nothing, which is what is compared.
		_ = w.r.Advance(map[string]healthkit.Phase{
			"lame-duck": healthkit.PhaseLameDuck, "drain": healthkit.PhaseDraining, "stop": healthkit.PhaseStopped,
		}[o.Kind], o.Text)
	}
	if token != nil {
		switch o.Kind {
		case "tick":
			token.Tick()
		case "idle":
			token.Idle()
		case "close-token":
			token.Close()
		}
	}
	if c != nil {
		w.report(c, o)
	}
}

func (w *world) report(c *healthkit.Component, o op) {
	switch o.Kind {
	case "retract":
		c.Retract()
	case "ready":
		c.Ready()
	case "ready-for":
		c.ReadyFor(time.Duration(o.N) * time.Millisecond)
	case "degraded":
		c.Degraded(o.Text)
	case "failed":
		c.Failed(errors.New(o.Text))
	case "starting":
		c.Starting(o.Text)
	case "draining", "stopped":
		if o.N%9 != 5 {
			return // hardly anything follows it
		}
		map[string]func(string){"draining": c.Draining, "stopped": c.Stopped}[o.Kind](o.Text)
	case "generation":
		c.Generation(uint64(o.N % 3))
	}
}

// adapters are all of them, running.
type adapters struct {
	w       *world
	manager *manager
	rpc     *grpchealth.Server
	streams map[string]*stream
	metrics prometheus.Gatherer
	otel    prometheus.Gatherer // the same, by way of OpenTelemetry
	vars    expvar.Var
	seen    map[string]int
}

// compare returns how any adapter differs from the snapshot; "" is agreement.
func (a *adapters) compare() string {
	// Past the shortest time between two status texts, and nothing more.
	time.Sleep(time.Microsecond)
	synctest.Wait()
	r := a.w.r
	probed := a.probe("/readyz") == http.StatusOK // first: nothing else has brought the registry up to date
	s := r.Snapshot()
	for _, d := range []string{a.compareHTTP(s, probed), a.compareSystemd(s), a.compareRPC(s), a.compareMetrics(s), a.compareFigures(s)} {
		if d != "" {
			return fmt.Sprintf("%s; snapshot: %s, phase %s, %s", d, s.Reason(), s.Phase, s.LiveReason())
		}
	}
	for what, is := range map[string]bool{
		"ready": s.Ready(), "not ready again": !s.Ready() && s.Phase == healthkit.PhaseServing, "degraded": s.Degraded(), "not live": !s.Live(),
		"stopping": s.Phase > healthkit.PhaseServing, "stopped": s.Phase == healthkit.PhaseStopped,
		"generation pending": s.Started && !s.Generations.Met,
		"stale":              slices.ContainsFunc(s.Components, func(c healthkit.ComponentStatus) bool { return c.State == healthkit.Stale }),
	} {
		if is {
			a.seen[what]++
		}
	}
	return ""
}

func (a *adapters) probe(path string) int {
	rec := httptest.NewRecorder()
	a.w.r.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code
}

func (a *adapters) compareHTTP(s *healthkit.Snapshot, probed bool) string {
	if probed != s.Ready() {
		return fmt.Sprintf("/readyz says %v, snapshot %v", probed, s.Ready())
	}
	for path, want := range map[string]bool{"/readyz?verbose": s.Ready(), "/livez": s.Live(), "/startupz": s.Started, "/drainz": s.Phase == healthkit.PhaseStopped} {
		if got := a.probe(path); (got == http.StatusOK) != want {
			return fmt.Sprintf("%s answers %d, want ok: %v", path, got, want)
		}
	}
	rec := httptest.NewRecorder()
	a.w.r.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/statusz", nil))
	var status struct {
		Ready   bool
		Version uint64
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &status); err != nil || status.Ready != s.Ready() || status.Version != s.Version {
		return fmt.Sprintf("/statusz says ready %v at version %d (%v), want %v at %d", status.Ready, status.Version, err, s.Ready(), s.Version)
	}
	return ""
}

func (a *adapters) compareSystemd(s *healthkit.Snapshot) string {
	u := a.manager.believes()
	want := ""
	switch {
	case s.Phase > healthkit.PhaseServing:
		want = "stopping"
	case s.Started && !s.Generations.Met:
		want = "reloading"
	case s.Started:
		want = "running"
	}
	verdict := u.status
	if i := strings.IndexAny(verdict, ":;"); i >= 0 {
		verdict = verdict[:i]
	}
	routes := verdict == "ready" || verdict == "degraded"
	switch {
	case u.complaint != "":
		return "systemd: " + u.complaint
	case u.state != want:
		return fmt.Sprintf("systemd believes %q, want %q", u.state, want)
	case u.started != s.Started:
		return fmt.Sprintf("systemd was told READY: %v, started %v", u.started, s.Started)
	case routes != s.Ready():
		return fmt.Sprintf("status %q, ready %v", u.status, s.Ready())
	case (verdict == "degraded") != s.Degraded():
		return fmt.Sprintf("status %q, degraded %v", u.status, s.Degraded())
	case strings.Contains(u.status, "not live: ") == s.Live() && len(u.status) < sdnotify.MaxStatus:
		return fmt.Sprintf("status %q, live %v", u.status, s.Live())
	}
	return ""
}

func (a *adapters) compareRPC(s *healthkit.Snapshot) string {
	list, err := a.rpc.List(context.Background(), &healthpb.HealthListRequest{})
	if err != nil {
		return err.Error()
	}
	for _, name := range append([]string{""}, names...) {
		want := healthpb.HealthCheckResponse_NOT_SERVING
		if name == "" && s.Ready() || name != "" && carries(s, name) {
			want = healthpb.HealthCheckResponse_SERVING
		}
		resp, err := a.rpc.Check(context.Background(), &healthpb.HealthCheckRequest{Service: name})
		if err != nil {
			return err.Error()
		}
		if watched := a.streams[name].last(); resp.Status != want || list.Statuses[name].GetStatus() != want || watched != want {
			return fmt.Sprintf("gRPC service %q: Check %v, List %v, Watch %v, want %v", name, resp.Status, list.Statuses[name].GetStatus(), watched, want)
		}
	}
	return ""
}

// compareFigures says how the figures by way of OpenTelemetry and of expvar differ from those for
// Prometheus, which are compared with the snapshot.
func (a *adapters) compareFigures(s *healthkit.Snapshot) string {
	want, err := figures(a.metrics)
	if err != nil {
		return err.Error()
	}
	got, err := figures(a.otel)
	if err != nil {
		return err.Error()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return "OpenTelemetry (-want +got):\n" + diff
	}
	var tree any
	if err := json.Unmarshal([]byte(a.vars.String()), &tree); err != nil {
		return fmt.Sprintf("expvar: %v in %s", err, a.vars)
	}
	got = map[string]float64{}
	flatten(got, promhealth.Namespace, nil, tree)
	if diff := cmp.Diff(want, got); diff != "" {
		return "expvar (-want +got):\n" + diff
	}
	return ""
}

// figures are the series of a gatherer by their names and the values of their labels.
func figures(g prometheus.Gatherer) (map[string]float64, error) {
	families, err := g.Gather()
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			key := f.GetName()
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			out[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue() // it has one of them
		}
	}
	return out, err
}

// labelled are the keys of expvar's object below which keys are the values of a label.
var labelled = []string{"phase", "component", "state", "component_missing", "loop"}

// flatten names the numbers of expvar's object as figures does.
func flatten(out map[string]float64, name string, labels []string, node any) {
	object, ok := node.(map[string]any)
	if !ok {
		out[strings.Join(append([]string{name}, labels...), " ")], _ = node.(float64)
		return
	}
	for key, below := range object {
		all, ok := below.(map[string]any)
		if !ok || !slices.Contains(labelled, key) {
			flatten(out, name+"_"+key, labels, below)
			continue
		}
		for label, node := range all {
			flatten(out, name+"_"+key, append(slices.Clone(labels), label), node)
		}
	}
}

// carries is the verdict on a service that needs one component, in words of its
// own.
func carries(s *healthkit.Snapshot, name string) bool {
	c, ok := s.Component(name)
	if !ok || s.Phase > healthkit.PhaseServing {
		return false
	}
	if c.Generational && !s.Generations.Met && !s.Generations.Tolerated {
		return false
	}
	serves := c.State == healthkit.Ready || c.State == healthkit.Degraded
	forgiven := c.State == healthkit.Failed && (c.EverReady && c.OnFailure != healthkit.FailClosed || c.ExcusedBy != "")
	return serves || forgiven
}

func (a *adapters) compareMetrics(s *healthkit.Snapshot) string {
	families, err := a.metrics.Gather()
	if err != nil {
		return err.Error()
	}
	single := map[string]float64{}
	states := map[string]string{}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), promhealth.Namespace+"_")
		for _, m := range f.Metric {
			switch v := m.GetGauge().GetValue(); {
			case len(m.Label) == 0:
				single[name] = v
			case name == "phase" && v == 1:
				states["phase"] = m.Label[0].GetValue()
			case name == "component_state" && v == 1:
				states["component "+m.Label[0].GetValue()] = m.Label[1].GetValue()
			case name == "component_blocking":
				states["blocking "+m.Label[0].GetValue()] = fmt.Sprint(v == 1)
			}
		}
	}
	want := map[string]string{"phase": s.Phase.String()}
	for _, c := range s.Components {
		want["component "+c.Name] = c.State.String()
		want["blocking "+c.Name] = fmt.Sprint(c.Blocking())
	}
	if !maps.Equal(states, want) {
		return fmt.Sprintf("metrics say %v, want %v", states, want)
	}
	for name, is := range map[string]bool{"ready": s.Ready(), "live": s.Live(), "degraded": s.Degraded(), "started": s.Started, "generations_met": s.Generations.Met} {
		if v, ok := single[name]; !ok || (v == 1) != is {
			return fmt.Sprintf("metric %s = %v (there: %v), want %v", name, v, ok, is)
		}
	}
	if single["snapshot_version"] != float64(s.Version) {
		return fmt.Sprintf("metrics of version %v, want %d", single["snapshot_version"], s.Version)
	}
	return ""
}

func TestAdaptersAgree(t *testing.T) {
	m := listen(t)
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		cfg := healthkit.Config{AllowEmpty: rapid.Bool().Draw(rt, "allow empty")}
		if rapid.Bool().Draw(rt, "expect") {
			cfg.Expect = []string{"a"}
		}
		cfg.Generations.Agree = rapid.Bool().Draw(rt, "agree")
		cfg.Generations.Grace = time.Duration(rapid.SampledFrom([]int{0, 50}).Draw(rt, "grace")) * time.Millisecond
		ops := drawOps(rt)
		m.reset()
		var failure string
		// The bubble runs on a goroutine of its own, on which rapid must not be
		// told of failures.
		synctest.Test(t, func(t *testing.T) { failure = play(cfg, ops, m, seen) })
		if failure != "" {
			rt.Fatal(failure)
		}
	})
	t.Log("states compared:", seen)
}

// One life written by hand passes through every state there is to agree on,
// whatever the random ones happen to do.
func TestAdaptersAgreeOnALife(t *testing.T) {
	m := listen(t)
	ops := []op{
		{Kind: "register", Name: "a"},
		{Kind: "ready", Name: "a"},
		{Kind: "degraded", Name: "a", Text: "x\nREADY=1"},
		{Kind: "ready", Name: "a"},
		{Kind: "require", N: 1},
		{Kind: "register", Name: "b", N: 7}, // generational
		{Kind: "ready", Name: "b"},
		{Kind: "generation", Name: "b", N: 1},
		{Kind: "require", N: 2}, // pending within the grace
		{Kind: "sleep", N: 47},
		{Kind: "sleep", N: 47}, // and beyond it
		{Kind: "generation", Name: "b", N: 2},
		{Kind: "register", Name: "c", N: 3}, // with a time to live
		{Kind: "ready", Name: "c"},
		{Kind: "sleep", N: 41},
		{Kind: "ready", Name: "c"},
		{Kind: "retract", Name: "c"},
		{Kind: "token", Name: "a"},
		{Kind: "sleep", N: 31},
		{Kind: "tick", Name: "a"},
		{Kind: "close-token", Name: "a"},
		{Kind: "failed", Name: "a", Text: "\xff\u2028"},
		{Kind: "ready", Name: "a"},
		{Kind: "lame-duck", N: 5, Text: "SIGTERM\nREADY=1"},
		{Kind: "drain", N: 5},
		{Kind: "stop", N: 5},
	}
	seen := map[string]int{}
	var failure string
	synctest.Test(t, func(t *testing.T) {
		failure = play(healthkit.Config{Expect: []string{"a"}, Generations: healthkit.GenerationPolicy{Grace: 60 * time.Millisecond}}, ops, m, seen)
	})
	if failure != "" {
		t.Fatal(failure)
	}
	for _, what := range []string{"ready", "not ready again", "degraded", "not live", "stopping", "stopped", "generation pending", "stale"} {
		if seen[what] == 0 {
			t.Errorf("the life was never %s: the test proves nothing about it", what)
		}
	}
}

// play runs ops with all adapters and returns the first disagreement.
func play(cfg healthkit.Config, ops []op, m *manager, seen map[string]int) (failure string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &world{r: healthkit.New(cfg), components: map[string]*healthkit.Component{}, tokens: map[string]*healthkit.Loop{}}
	rpc, err := grpchealth.New(w.r, grpchealth.Options{Services: map[string][]string{"a": {"a"}, "b": {"b"}, "c": {"c"}}})
	if err != nil {
		return err.Error()
	}
	metrics := prometheus.NewPedanticRegistry()
	if err := metrics.Register(promhealth.New(w.r)); err != nil {
		return err.Error()
	}
	notifier, err := sdnotify.New(sdnotify.Options{StatusInterval: time.Nanosecond})
	if err != nil {
		return err.Error()
	}
	ended := make(chan error, 1)
	go func() { ended <- notifier.Run(ctx, w.r) }()
	otel := prometheus.NewPedanticRegistry()
	reader, err := otelprom.New(otelprom.WithRegisterer(otel), otelprom.WithoutTargetInfo(), otelprom.WithoutScopeInfo())
	if err != nil {
		return err.Error()
	}
	if _, err := otelhealth.Register(sdk.NewMeterProvider(sdk.WithReader(reader)).Meter(otelhealth.ScopeName), w.r); err != nil {
		return err.Error()
	}
	a := &adapters{w: w, manager: m, rpc: rpc, metrics: metrics, otel: otel, vars: expvarhealth.New(w.r), seen: seen, streams: map[string]*stream{}}
	watches := make(chan error, 1+len(names))
	for _, name := range append([]string{""}, names...) {
		watch := &stream{ctx: ctx}
		a.streams[name] = watch
		go func() { watches <- rpc.Watch(&healthpb.HealthCheckRequest{Service: name}, watch) }()
	}
	failure = a.compare()
	for i, o := range ops {
		if failure != "" {
			break
		}
		w.do(o)
		if d := a.compare(); d != "" {
			failure = fmt.Sprintf("op %d %+v: %s", i, o, d)
		}
	}
	if failure == "" {
		// The end of the registry is a version like any other.
		if err := w.r.Close(context.Background()); err != nil {
			failure = err.Error()
		} else if d := a.compare(); d != "" {
			failure = "close: " + d
		}
	}
	cancel()
	if err := <-ended; err != nil && failure == "" {
		failure = "sdnotify: " + err.Error()
	}
	for range a.streams {
		if err := <-watches; status.Code(err) != codes.Unavailable && failure == "" {
			failure = "watch of a drained registry: " + fmt.Sprint(err)
		}
	}
	_ = w.r.Close(context.Background()) // once more, for a run that failed before; there are no checks to wait for
	return failure
}
