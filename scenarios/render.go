package scenarios

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/metric"
)

// render writes a scenario out in full, in one fixed way. It is written by hand, and not
// by a library, because its digest is compared across versions of the lab.
func render(s *Scenario) string {
	w := &writer{}
	w.line(0, "name", scalarText(s.Name))
	w.line(0, "about", scalarText(s.About))
	if len(s.Vars) > 0 {
		w.line(0, "vars", "")
		for _, k := range slices.Sorted(maps.Keys(s.Vars)) {
			w.line(1, k, quotedText(s.Vars[k]))
		}
	}
	w.line(0, "target", "")
	if p := s.Target.Refproxy; p != nil {
		w.line(1, "refproxy", "")
		w.line(2, "sessions", strconv.Itoa(p.Sessions))
		w.line(2, "sync_rate", decimalText(p.SyncRate))
		w.line(2, "routes", strconv.Itoa(p.Routes))
		w.line(2, "upstream_latency", p.UpstreamLatency.String())
	} else {
		w.own(&s.Target)
	}
	if s.Limits != (Limits{}) {
		w.line(0, "limits", "")
		w.line(1, "cpus", decimalText(s.Limits.CPUs))
		w.line(1, "memory", strconv.Itoa(s.Limits.Memory))
	}
	w.line(0, "replicas", strconv.Itoa(s.Replicas))
	w.line(0, "load", "")
	w.line(1, "rate", decimalText(s.Load.Rate))
	w.line(1, "timeout", s.Load.Timeout.String())
	w.line(1, "streams", "")
	for _, name := range sortedStreams(s.Load.Streams) {
		w.line(2, name, strconv.Itoa(s.Load.Streams[name]))
	}
	w.line(1, "deny", decimalText(s.Load.Deny))
	w.line(0, "phases", "")
	w.line(1, "baseline", "")
	w.line(2, "from", s.Phases.Baseline.From.String())
	w.line(2, "to", s.Phases.Baseline.To.String())
	w.line(1, "window", "")
	w.line(2, "from", s.Phases.Window.From.String())
	w.line(2, "to", s.Phases.Window.To.String())
	w.line(0, "action", "")
	w.line(1, "kind", string(s.Action.Kind))
	if s.Action.Kind == Scale {
		w.line(1, "to", strconv.Itoa(s.Action.To))
	}
	w.line(1, "timeout", s.Action.Timeout.String())
	w.line(1, "allow_unfinished", strconv.FormatBool(s.Action.AllowUnfinished))
	if !s.Target.Deployed() {
		w.line(0, "rolling", "")
		w.line(1, "max_surge", strconv.Itoa(s.Rolling.MaxSurge))
		w.line(1, "max_unavailable", strconv.Itoa(s.Rolling.MaxUnavailable))
		w.line(0, "balancer", "")
		w.line(1, "policy", s.Balancer.Policy)
	}
	w.line(0, "trials", strconv.Itoa(s.Trials))
	w.line(0, "designs", "")
	for i := range s.Designs {
		w.design(&s.Designs[i], s.Target.Deployed())
	}
	if len(s.Gates) > 0 {
		w.line(0, "gates", "")
	}
	for _, g := range s.Gates {
		w.line(1, "- design", scalarText(g.Design))
		w.line(2, "metric", g.Metric)
		w.line(2, "op", strconv.Quote(g.Op))
		w.line(2, "limit", g.Limit.text(g.Metric))
	}
	if len(s.PositiveControls) > 0 {
		w.line(0, "positive_controls", "")
	}
	for _, name := range s.PositiveControls {
		w.WriteString("  - " + scalarText(name) + "\n")
	}
	w.texts(0, "controls_on", s.ControlsOn)
	return w.String()
}

type writer struct{ strings.Builder }

func (w *writer) line(depth int, key, value string) {
	w.WriteString(strings.Repeat("  ", depth) + key + ":")
	if value != "" {
		w.WriteString(" " + value)
	}
	w.WriteString("\n")
}

// own writes a service of the user's own.
func (w *writer) own(t *Target) {
	switch {
	case t.Deployed():
		w.line(1, "deployment", scalarText(t.Deployment))
		w.line(1, "service", scalarText(t.Service))
		if t.Port != "" {
			w.line(1, "port", scalarText(t.Port))
		}
		w.manifests(1, t.Manifests)
	case t.Image != "":
		w.line(1, "image", scalarText(t.Image))
	default:
		w.line(1, "exec", scalarText(t.Exec))
	}
	w.texts(1, "args", t.Args)
	w.textsByName(1, "env", t.Env)
	if !t.Deployed() {
		w.line(1, "ports", "")
		w.line(2, "data", strconv.Itoa(t.Ports.Data))
		if t.Ports.Two {
			w.line(2, "health", strconv.Itoa(t.Ports.Health))
		}
	}
	w.line(1, "request", "")
	w.line(2, "path", scalarText(t.Request.Path))
	w.textsByName(2, "header", t.Request.Header)
	w.line(2, "status", strconv.Itoa(t.Request.Status))
	if t.Request.Body != "" {
		w.line(2, "body", scalarText(t.Request.Body))
	}
}

// manifests writes the texts themselves, so that the scenario needs no other file.
func (w *writer) manifests(depth int, all []Manifest) {
	if len(all) == 0 {
		return
	}
	w.line(depth, "manifests", "")
	for _, m := range all {
		w.line(depth+1, "- file", scalarText(m.File))
		w.line(depth+2, "text", "|")
		for line := range strings.Lines(strings.ReplaceAll(m.Text, "${", "$${")) {
			if line != "\n" {
				line = strings.Repeat("  ", depth+3) + line
			}
			w.WriteString(line)
		}
	}
}

func (w *writer) texts(depth int, key string, items []string) {
	if len(items) == 0 {
		return
	}
	w.line(depth, key, "")
	for _, item := range items {
		w.WriteString(strings.Repeat("  ", depth+1) + "- " + scalarText(item) + "\n")
	}
}

func (w *writer) textsByName(depth int, key string, items map[string]string) {
	if len(items) == 0 {
		return
	}
	w.line(depth, key, "")
	for _, name := range slices.Sorted(maps.Keys(items)) {
		w.line(depth+1, scalarText(name), scalarText(items[name]))
	}
}

func (w *writer) design(d *Design, deployed bool) {
	w.line(1, "- name", scalarText(d.Name))
	w.line(2, "about", scalarText(d.About))
	if deployed {
		w.manifests(2, d.Manifests)
		return
	}
	w.settings(2, &d.Settings, false)
	if len(d.On) == 0 {
		return
	}
	w.line(2, "on", "")
	for _, driver := range slices.Sorted(maps.Keys(d.On)) {
		w.line(3, driver, "")
		settings := d.On[driver]
		w.settings(4, &settings, true) // what is not said there is as it is above
	}
}

// settings writes what a design decides; unless all of it is asked for, without what only
// some designs know.
func (w *writer) settings(depth int, d *Settings, all bool) {
	if d.Health != "" {
		w.line(depth, "health", d.Health)
	}
	w.line(depth, "fail_open", strconv.FormatBool(d.FailOpen))
	if all && len(d.Args) == 0 {
		w.line(depth, "args", "[]")
	}
	w.texts(depth, "args", d.Args)
	if all && len(d.Env) == 0 {
		w.line(depth, "env", "{}")
	}
	w.textsByName(depth, "env", d.Env)
	w.signal(depth, "signal", &d.Signal)
	w.signal(depth, "startup", &d.Startup)
	w.signal(depth, "liveness", &d.Liveness)
	if all || d.Notify {
		w.line(depth, "notify", strconv.FormatBool(d.Notify))
		w.line(depth, "watchdog", d.Watchdog.String())
	}
	if all || d.Socket {
		w.line(depth, "socket", strconv.FormatBool(d.Socket))
	}
	w.line(depth, "deregister_first", strconv.FormatBool(d.DeregisterFirst))
	if all || d.PreStop > 0 {
		w.line(depth, "pre_stop", d.PreStop.String())
	}
	w.line(depth, "lame_duck", d.LameDuck.String())
	w.line(depth, "close_wait", d.CloseWait.String())
	w.line(depth, "stop_grace", d.StopGrace.String())
}

func (w *writer) signal(depth int, key string, g *Signal) {
	if g.Kind == "" {
		return
	}
	w.line(depth, key, "")
	w.line(depth+1, "kind", g.Kind)
	switch g.Kind {
	case "none", "image":
		return
	case "http":
		w.line(depth+1, "port", g.Port)
		w.line(depth+1, "path", scalarText(g.Path))
	case "tcp":
		w.line(depth+1, "port", g.Port)
	case "command":
		w.texts(depth+1, "command", g.Command)
	}
	w.line(depth+1, "interval", g.Interval.String())
	w.line(depth+1, "timeout", g.Timeout.String())
	w.line(depth+1, "rise", strconv.Itoa(g.Rise))
	w.line(depth+1, "fall", strconv.Itoa(g.Fall))
}

// text writes a limit in the unit of its metric.
func (l Limit) text(name string) string {
	if unitOf(name) == metric.Duration {
		return time.Duration(float64(l) * float64(time.Millisecond)).String()
	}
	return decimalText(float64(l))
}

func decimalText(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// scalarText writes a text as a double-quoted scalar on one line, so that nothing in it
// can be taken for YAML or for a variable.
func scalarText(s string) string { return quotedText(strings.ReplaceAll(s, "${", "$${")) }

func quotedText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
