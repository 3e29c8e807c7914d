package scenarios

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
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
	w.line(1, "quiet", "")
	w.line(2, "from", s.Phases.Quiet.From.String())
	w.line(2, "to", s.Phases.Quiet.To.String())
	w.line(1, "window", "")
	w.line(2, "from", s.Phases.Window.From.String())
	w.line(2, "to", s.Phases.Window.To.String())
	w.line(0, "action", "")
	w.line(1, "kind", string(s.Action.Kind))
	if s.Action.Kind == Scale {
		w.line(1, "to", strconv.Itoa(s.Action.To))
	}
	w.line(1, "timeout", s.Action.Timeout.String())
	w.line(1, "may_outlast_window", strconv.FormatBool(s.Action.MayOutlastWindow))
	w.line(0, "rolling", "")
	w.line(1, "max_surge", strconv.Itoa(s.Rolling.MaxSurge))
	w.line(1, "max_unavailable", strconv.Itoa(s.Rolling.MaxUnavailable))
	w.line(0, "balancer", "")
	w.line(1, "policy", s.Balancer.Policy)
	w.line(0, "trials", strconv.Itoa(s.Trials))
	w.line(0, "designs", "")
	for i := range s.Designs {
		w.design(&s.Designs[i])
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

func (w *writer) design(d *Design) {
	w.line(1, "- name", scalarText(d.Name))
	w.line(2, "about", scalarText(d.About))
	w.line(2, "health", d.Health)
	w.line(2, "fail_open", strconv.FormatBool(d.FailOpen))
	w.line(2, "signal", "")
	w.line(3, "kind", d.Signal.Kind)
	if d.Signal.Kind != "none" {
		w.line(3, "port", d.Signal.Port)
		if d.Signal.Kind == "http" {
			w.line(3, "path", scalarText(d.Signal.Path))
		}
		w.line(3, "interval", d.Signal.Interval.String())
		w.line(3, "timeout", d.Signal.Timeout.String())
		w.line(3, "rise", strconv.Itoa(d.Signal.Rise))
		w.line(3, "fall", strconv.Itoa(d.Signal.Fall))
	}
	w.line(2, "told_of_stop", strconv.FormatBool(d.ToldOfStop))
	w.line(2, "lame_duck", d.LameDuck.String())
	w.line(2, "close_for", d.CloseFor.String())
	w.line(2, "stop_grace", d.StopGrace.String())
}

// text writes a limit in the unit of its metric.
func (l Limit) text(metric string) string {
	if unitOf(metric) == Duration {
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
