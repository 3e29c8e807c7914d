package scenarios

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds on what a scenario may ask for. They keep slips of the keyboard from starting
// an experiment that no machine can run.
const (
	maxRate     = 100_000     // requests a second
	maxHits     = 100_000_000 // of one trial
	maxReplicas = 100
	maxTrials   = 100
	maxSessions = 10_000_000
	maxRoutes   = 10_000
	maxCount    = 1000    // probes in a row
	maxAbout    = 2000    // bytes
	maxMemory   = 1 << 20 // MiB
	maxCPUs     = 1024
	maxPort     = 65535
	minInterval = 10 * time.Millisecond
)

var (
	slug     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	slugHint = "1 to 40 lower-case letters, digits and dashes, no dash first"
	urlPath  = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,200}$`)
)

// check reports what is wrong with a scenario whose fields could all be read. Paths
// name the field at fault.
func (s *Scenario) check(report func(path, message, hint string)) {
	within := func(path string, v, low, high int, hint string) {
		if v < low || v > high {
			report(path, fmt.Sprintf("%s must be %d..%d, not %d", path, low, high, v), hint)
		}
	}
	if !slug.MatchString(s.Name) {
		report("name", "bad name of a scenario: "+quote(s.Name), slugHint)
	}
	checkAbout("about", s.About, report)
	if p := s.Target.Refproxy; p != nil {
		within("target.refproxy.sessions", p.Sessions, 1, maxSessions, "")
		within("target.refproxy.routes", p.Routes, 1, maxRoutes, "")
		if !(p.SyncRate > 0) {
			report("target.refproxy.sync_rate", fmt.Sprintf("target.refproxy.sync_rate must be more than 0, not %v", p.SyncRate), "records a second")
		} else if t := float64(p.Sessions) / p.SyncRate; t > maxDuration.Seconds() {
			report("target.refproxy.sync_rate", fmt.Sprintf("an instance would sync for %.3g s", t), "raise sync_rate or lower sessions")
		}
	}
	s.checkOwn(report, within)
	within("limits.memory", s.Limits.Memory, 0, maxMemory, "MiB")
	if !(s.Limits.CPUs >= 0 && s.Limits.CPUs <= maxCPUs) {
		report("limits.cpus", fmt.Sprintf("limits.cpus must be 0..%d, not %v", maxCPUs, s.Limits.CPUs), "0.5 is half a CPU")
	}
	within("replicas", s.Replicas, 1, maxReplicas, "")
	within("trials", s.Trials, 1, maxTrials, "")
	s.checkLoad(report)
	s.checkPhases(report)
	s.checkAction(report, within)
	if !slices.Contains(policies, s.Balancer.Policy) {
		report("balancer.policy", "no balancer policy "+quote(s.Balancer.Policy), didYouMean(s.Balancer.Policy, policies))
	}
	if s.checkDesigns(report) { // else who a gate is for cannot be told
		s.checkGates(report)
	}
}

// checkOwn checks a target that is a service of the user's own.
func (s *Scenario) checkOwn(report func(path, message, hint string), within func(path string, v, low, high int, hint string)) {
	t := &s.Target
	if !t.Own() {
		return
	}
	s.checkDeployed(report)
	within("target.ports.data", t.Ports.Data, 0, maxPort, "")
	within("target.ports.health", t.Ports.Health, 0, maxPort, "")
	if t.Ports.Data != 0 && t.Ports.Data == t.Ports.Health {
		report("target.ports.health", "target.ports: data and health are both "+fmt.Sprint(t.Ports.Data), "leave out health, and give signals port: data")
	}
	within("target.request.status", t.Request.Status, 100, 599, "")
	if !urlPath.MatchString(t.Request.Path) {
		report("target.request.path", "target.request.path must begin with / and hold no spaces: "+quote(t.Request.Path), "such as /")
	}
	if s.Load.Deny > 0 {
		report("load.deny", "load.deny is for refproxy: of a custom target nobody knows what it must deny", "remove it")
	}
}

// checkTarget reports what of a design does not go together with the scenario's target.
func (s *Scenario) checkTarget(d *Settings, path string, report func(path, message, hint string)) {
	if !s.Target.Own() {
		if d.Health == "" {
			report(path, join(path, "health")+" is missing", "one of "+strings.Join(healthModes, ", "))
		}
		if len(d.Args) > 0 || len(d.Env) > 0 {
			report(path, path+": args and env are for a custom target", "remove them")
		}
		return
	}
	if d.LameDuck > 0 || d.CloseWait > 0 {
		report(path, path+": lame_duck and close_wait are refproxy's: a custom target drains in its own way", "describe a design with args or env that make it drain, or leave them out")
	}
	for _, g := range []struct {
		name   string
		signal *Signal
	}{{"signal", &d.Signal}, {"startup", &d.Startup}, {"liveness", &d.Liveness}} {
		if g.signal.Port == "health" && !s.Target.Ports.Two {
			report(join(path, g.name), join(path, g.name)+" asks port health, and the target has none", "say port: data, or give target.ports a health")
		}
		if g.signal.Kind == "image" && s.Target.Image == "" {
			report(join(path, g.name), join(path, g.name)+" is the health check of an image, and the target has none", "")
		}
	}
}

func checkAbout(path, text string, report func(path, message, hint string)) {
	switch {
	case len(text) > maxAbout:
		report(path, fmt.Sprintf("%s is longer than %d bytes", path, maxAbout), "two or three lines are enough")
	case !printable(text):
		report(path, path+" holds a character that cannot be printed", "remove it")
	}
}

func (s *Scenario) checkLoad(report func(path, message, hint string)) {
	switch rate := s.Load.Rate; {
	case math.IsNaN(rate) || math.IsInf(rate, 0):
		report("load.rate", "load.rate must be a finite number", "")
	case rate <= 0:
		report("load.rate", fmt.Sprintf("load.rate must be more than 0, not %v", rate), "requests a second")
	case rate > maxRate:
		report("load.rate", fmt.Sprintf("load.rate must be at most %d, not %v", maxRate, rate), "requests a second")
	case rate*s.Length().Seconds() > maxHits:
		report("load.rate", fmt.Sprintf("%v requests a second for %v are %.3g requests, more than %d", rate, s.Length(), rate*s.Length().Seconds(), maxHits),
			"lower the rate or shorten the window")
	}
	if s.Load.Timeout <= 0 {
		report("load.timeout", "load.timeout must be longer than 0s", "such as 1s")
	}
	if !(s.Load.Deny >= 0 && s.Load.Deny <= 0.5) {
		report("load.deny", fmt.Sprintf("load.deny must be 0..0.5, not %v", s.Load.Deny), "such as 2%")
	}
	sum := 0
	for _, stream := range sortedStreams(s.Load.Streams) {
		weight := s.Load.Streams[stream]
		if weight < 0 || weight > maxRoutes {
			report("load.streams."+stream, fmt.Sprintf("load.streams.%s must be 0..%d, not %d", stream, maxRoutes, weight), "")
		}
		sum += max(weight, 0)
	}
	if sum == 0 {
		report("load.streams", "load.streams has no stream with a weight above 0", "such as keepalive-get: 40")
	}
}

func (s *Scenario) checkPhases(report func(path, message, hint string)) {
	q, w := s.Phases.Baseline, s.Phases.Window
	fine := true
	empty := func(path string, p Phase) {
		if p.To <= p.From {
			report(path, fmt.Sprintf("%s ends at %v, not after its start at %v", path, p.To, p.From), "to: later than from:")
			fine = false
		}
	}
	empty("phases.baseline", q)
	empty("phases.window", w)
	if !fine {
		return
	}
	if q.To > w.From {
		if q.From >= w.To {
			report("phases.baseline", "phases.baseline comes after phases.window; it must come before", "it shows that nothing fails before the action")
			return
		}
		report("phases.window", fmt.Sprintf("phases overlap: baseline lasts until %v, window starts at %v", q.To, w.From), "start the window at "+q.To.String()+" or later")
		return
	}
	if s.Load.Rate > 0 && s.Load.Rate <= maxRate {
		for _, p := range []struct {
			path string
			Phase
		}{{"phases.baseline", q}, {"phases.window", w}} {
			if hits(s.Load.Rate, p.To) <= hits(s.Load.Rate, p.From) {
				report(p.path, fmt.Sprintf("%s has no request in it at %v a second", p.path, s.Load.Rate), "make it longer, or raise load.rate")
			}
		}
	}
}

func (s *Scenario) checkAction(report func(path, message, hint string), within func(path string, v, low, high int, hint string)) {
	if s.Action.Kind == Scale {
		within("action.to", s.Action.To, 0, maxReplicas, "")
		if s.Action.To == s.Replicas {
			report("action.to", fmt.Sprintf("action.to is %d, which is what replicas already is", s.Action.To), "scale to another number, or say kind: none")
		}
	}
	if s.Action.Timeout <= 0 {
		report("action.timeout", "action.timeout must be longer than 0s", "such as 60s")
	}
	if s.Target.Deployed() {
		return // how instances are replaced is in the Deployment
	}
	within("rolling.max_surge", s.Rolling.MaxSurge, 0, maxReplicas, "")
	within("rolling.max_unavailable", s.Rolling.MaxUnavailable, 0, maxReplicas, "")
	if s.Rolling.MaxSurge == 0 && s.Rolling.MaxUnavailable == 0 {
		report("rolling", "rolling: with max_surge 0 and max_unavailable 0 no instance can ever be replaced", "set one of them to 1")
	}
}

// checkDesigns reports whether every design has a name of its own.
func (s *Scenario) checkDesigns(report func(path, message, hint string)) (named bool) {
	named = true
	if len(s.Designs) == 0 {
		report("designs", "designs is empty", "one of: "+strings.Join(builtinNames(), ", "))
	}
	seen := map[string]bool{}
	for i := range s.Designs {
		d, path := &s.Designs[i], fmt.Sprintf("designs[%d]", i)
		if !slug.MatchString(d.Name) {
			report(join(path, "name"), "bad name of a design: "+quote(d.Name), slugHint)
			named = false
		}
		if seen[d.Name] {
			report(join(path, "name"), "two designs are called "+quote(d.Name), "rename one of them")
			named = false
		}
		seen[d.Name] = true
		if s.Target.Deployed() { // what it decides is in its manifests
			checkAbout(join(path, "about"), d.About, report)
			continue
		}
		d.check(path, report)
		s.checkTarget(&d.Settings, path, report)
		for _, driver := range slices.Sorted(maps.Keys(d.On)) {
			settings := d.On[driver]
			s.checkTarget(&settings, join(join(path, "on"), driver), report)
		}
	}
	return named && len(s.Designs) > 0
}

func (d *Design) check(path string, report func(path, message, hint string)) {
	checkAbout(join(path, "about"), d.About, report)
	fine := true
	d.Settings.check(d.Name, path, func(path, message, hint string) {
		fine = false
		report(path, message, hint)
	})
	if !fine {
		return // on a driver it would be the same mistake again
	}
	for _, driver := range slices.Sorted(maps.Keys(d.On)) {
		settings := d.On[driver]
		settings.check(d.Name+" on "+driver, join(join(path, "on"), driver), report)
	}
}

func (d *Settings) check(name, path string, report func(path, message, hint string)) {
	// The grace begins when the instance is asked to stop, which is after pre_stop.
	if drain := d.LameDuck + d.CloseWait; d.StopGrace <= drain {
		report(join(path, "stop_grace"), fmt.Sprintf("design %s is killed while draining: stop_grace %v, lame_duck + close_wait %v", quote(name), d.StopGrace, drain),
			"stop_grace must be longer, such as "+(drain+2*time.Second).String())
	}
	if d.Watchdog > 0 && !d.Notify {
		report(join(path, "watchdog"), join(path, "watchdog")+" needs notify: true: a service that does not notify is silent", "")
	}
	d.Signal.check(join(path, "signal"), report)
	for _, g := range []struct {
		name   string
		signal *Signal
	}{{"startup", &d.Startup}, {"liveness", &d.Liveness}} {
		if g.signal.Kind == "image" {
			report(join(path, g.name), join(path, g.name)+": the health check of an image is a signal", "")
		}
		if g.signal.Kind != "" {
			g.signal.check(join(path, g.name), report)
		}
	}
}

func (g *Signal) check(path string, report func(path, message, hint string)) {
	if g.Kind == "none" || g.Kind == "image" {
		return
	}
	if g.Kind == "http" && !urlPath.MatchString(g.Path) {
		report(join(path, "path"), fmt.Sprintf("%s.path must begin with / and hold no spaces: %s", path, quote(g.Path)), "such as /readyz")
	}
	if g.Kind == "command" && len(g.Command) == 0 {
		report(join(path, "command"), path+".command is missing", "a program and its arguments, such as [/bin/check, --brief]")
	}
	if g.Interval < minInterval {
		report(join(path, "interval"), fmt.Sprintf("%s.interval must be at least %v, not %v", path, minInterval, g.Interval), "")
	}
	if g.Timeout <= 0 {
		report(join(path, "timeout"), path+".timeout must be longer than 0s", "such as 1s")
	}
	for _, c := range []struct {
		name string
		n    int
	}{{"rise", g.Rise}, {"fall", g.Fall}} {
		if c.n < 1 || c.n > maxCount {
			report(join(path, c.name), fmt.Sprintf("%s.%s must be 1..%d, not %d", path, c.name, maxCount, c.n), "answers in a row")
		}
	}
}

func (s *Scenario) checkGates(report func(path, message, hint string)) {
	names := make([]string, len(s.Designs))
	for i := range s.Designs {
		names[i] = s.Designs[i].Name
	}
	for i, g := range s.Gates {
		path := fmt.Sprintf("gates[%d]", i)
		if !slices.Contains(names, g.Design) {
			report(join(path, "design"), "the gate is for design "+quote(g.Design)+", which the scenario does not run", didYouMean(g.Design, names))
		}
		same := func(o Gate) bool { return o.Design == g.Design && o.Metric == g.Metric && o.Op == g.Op }
		if slices.ContainsFunc(s.Gates[:i], same) {
			report(path, fmt.Sprintf("a second limit on %s %s of design %s", g.Metric, g.Op, quote(g.Design)), "remove one of them")
		}
	}
	if len(s.ControlsOn) > 0 && len(s.PositiveControls)+len(s.NotChosen.PositiveControls) == 0 {
		report("controls_on", "controls_on says where positive controls must fail, and there are none", "remove it, or name positive_controls")
	}
	for i, c := range s.PositiveControls {
		path := fmt.Sprintf("positive_controls[%d]", i)
		if !slices.Contains(names, c) {
			report(path, "positive control "+quote(c)+" is no design of the scenario", didYouMean(c, names))
		}
		if slices.Contains(s.PositiveControls[:i], c) {
			report(path, "positive control "+quote(c)+" is here twice", "remove one of them")
		}
		if s.Action.Kind == None {
			report(path, "a positive control where nothing happens: with kind: none no design can be known to fail", "remove it, or name an action")
		}
	}
}
