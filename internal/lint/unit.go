package lint

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Defaults of systemd, where the unit says nothing.
const (
	defaultStopTimeout   = 90 * time.Second
	defaultRestartPause  = 100 * time.Millisecond
	defaultStartInterval = 10 * time.Second
	defaultStartBurst    = 5
	forever              = time.Duration(1<<63 - 1)
)

// unitSections are the sections by which a unit file is recognised.
var unitSections = []string{
	"Unit", "Service", "Socket", "Install", "Timer", "Path", "Mount", "Automount", "Swap", "Slice", "Scope", "Target",
	"Container", "Pod", "Kube", "Volume", "Network", "Image", "Build", // of Podman
}

var sectionLine = regexp.MustCompile(`^\[([^\[\]]+)\]\s*$`)

// looksLikeUnit reports whether the first line that says something opens a section.
func looksLikeUnit(lines []string) bool {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		m := sectionLine.FindStringSubmatch(line)
		return m != nil && slices.Contains(unitSections, m[1])
	}
	return false
}

// option is one assignment, lines that were continued joined by a space.
type option struct {
	section, name, value string
	at                   place
}

// unitFile is a unit and the drop-ins merged into it.
type unitFile struct {
	name    string // web.service
	file    string
	at      place // of [Service], or of the first section
	lines   int
	options []option

	program    program
	drain      drain
	socket     string // the socket that activates it, if the files show one
	dependents []string
	orderedBy  []string // units that order themselves before this one
}

// parseUnit splits a unit file into its assignments. systemd ignores lines that it does
// not understand; here they are problems, for a mistyped line is a setting that is lost.
func (s *source) parseUnit() []option {
	var out []option
	section := ""
	for i := 0; i < len(s.lines); i++ {
		first := i
		line := strings.TrimSpace(s.lines[i])
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			section = m[1]
			continue
		}
		var parts []string
		for {
			rest, more := strings.CutSuffix(line, `\`)
			parts = append(parts, strings.TrimSpace(rest))
			if !more {
				break
			}
			// Comments between continued lines are left out, an empty line ends them.
			for i++; i < len(s.lines); i++ {
				line = strings.TrimSpace(s.lines[i])
				if line == "" || line[0] != '#' && line[0] != ';' {
					break
				}
			}
			if i >= len(s.lines) {
				break
			}
		}
		joined := strings.Join(parts, " ")
		name, value, ok := strings.Cut(joined, "=")
		name = strings.TrimSpace(name)
		column := utf8.RuneCountInString(s.lines[first][:len(s.lines[first])-len(strings.TrimLeft(s.lines[first], " \t"))]) + 1
		switch {
		case strings.ContainsRune(joined, 0):
			s.problem(first+1, column, "remove it", "a control character")
			return nil
		case !ok || name == "" || strings.ContainsAny(name, " \t"):
			s.problem(first+1, column, "want Name=value, [Section] or a comment", "not a line of a unit file: %s", show(joined))
		default:
			out = append(out, option{section, name, strings.TrimSpace(value), place{s.name, first + 1, column}})
		}
		if len(s.problems) > maxProblems {
			return nil
		}
	}
	return out
}

var dropInPath = regexp.MustCompile(`([^/\\]+\.(?:service|socket|container))\.d[/\\][^/\\]+\.conf$`)

// readUnit adds a unit file, or a drop-in, to the input.
func (s *source) readUnit(in *input) {
	u := &unitFile{name: path.Base(strings.ReplaceAll(s.name, `\`, "/")), file: s.name, lines: len(s.lines), options: s.parseUnit()}
	if len(s.problems) > 0 {
		return
	}
	u.at = place{s.name, 1, 1}
	service, socket := false, false
	for i, line := range s.lines {
		m := sectionLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		if !service && (m[1] == "Service" || m[1] == "Container") {
			service, u.at.line = true, i+1
		}
		socket = socket || m[1] == "Socket"
	}
	if m := dropInPath.FindStringSubmatch(s.name); m != nil {
		u.name = serviceName(m[1])
		in.dropIns = append(in.dropIns, u)
		return
	}
	u.name = serviceName(u.name)
	if !service && !socket || strings.HasSuffix(u.name, ".pod") || strings.HasSuffix(u.name, ".kube") {
		s.skip(0, "unit without [Service]", "judged are units with a [Service] section, the [Socket] units beside them, and the containers of Podman", true)
		return
	}
	if !strings.Contains(u.name, ".") || u.name == "-" { // standard input
		u.name = "unit.service"
		if !service {
			u.name = "unit.socket"
		}
	}
	if !service {
		s.aside = append(s.aside, Skipped{File: s.name, What: "socket", Hint: "it is judged together with its service", Recognised: true})
	}
	in.units = append(in.units, u)
}

// mergeDropIns appends each drop-in to its unit, as systemd does.
func (in *input) mergeDropIns() {
	slices.SortStableFunc(in.dropIns, func(a, b *unitFile) int { return strings.Compare(path.Base(a.file), path.Base(b.file)) })
	for _, d := range in.dropIns {
		i := in.unitNamed(d.name)
		if i < 0 {
			in.skipped = append(in.skipped, Skipped{File: d.file, What: "drop-in without its unit", Hint: "name " + show(d.name) + " as well"})
			continue
		}
		in.units[i].options = append(in.units[i].options, d.options...)
	}
}

// unitNamed is the index of a unit. An instance for which there are drop-ins becomes a
// unit of its own beside its template.
func (in *input) unitNamed(name string) int {
	if i := slices.IndexFunc(in.units, func(u *unitFile) bool { return u.name == name }); i >= 0 {
		return i
	}
	i := slices.IndexFunc(in.units, func(u *unitFile) bool { return strings.Contains(u.name, "@.") && u.named(name) })
	if i < 0 {
		return -1
	}
	instance := *in.units[i]
	instance.name, instance.options = name, slices.Clone(instance.options)
	in.units = append(in.units, &instance)
	return len(in.units) - 1
}

// services are the long-running services, each knowing its socket and its dependents.
func (in *input) services() []*unitFile {
	var out []*unitFile
	for _, u := range in.units {
		if !u.has("Service") && !strings.HasSuffix(u.name, ".service") {
			continue
		}
		u.readProgram()
		declared, from := in.options.Drain, "--drain"
		if d, ok := in.comments[u.file].drainBetween(1, u.lines); ok {
			declared, from = &d, "the drain comment"
		}
		u.drain.settle(declared, from)
		if sockets := u.words("Service", "Sockets"); len(sockets) > 0 {
			u.socket = sockets[0]
		}
		for _, other := range in.units {
			if other == u {
				continue
			}
			if other.has("Socket") {
				target, _ := other.get("Socket", "Service")
				if target.value == u.name || target.value == "" && strings.TrimSuffix(other.name, ".socket") == strings.TrimSuffix(u.name, ".service") {
					u.socket = other.name
				}
				continue
			}
			if slices.ContainsFunc(other.words("Unit", "Before"), u.named) {
				u.orderedBy = append(u.orderedBy, other.name)
			}
			if slices.ContainsFunc(other.needs(), u.named) {
				u.dependents = append(u.dependents, other.name)
			}
		}
		out = append(out, u)
	}
	return out
}

// named reports whether a name means this unit, or an instance of it.
func (u *unitFile) named(name string) bool {
	name = serviceName(name)
	if before, after, ok := strings.Cut(u.name, "@."); ok {
		return strings.HasPrefix(name, before+"@") && strings.HasSuffix(name, "."+after)
	}
	return name == u.name
}

func (u *unitFile) has(section string) bool {
	return slices.ContainsFunc(u.options, func(o option) bool { return o.section == section })
}

// get is the last assignment of a name; an empty one takes earlier ones back.
func (u *unitFile) get(section, name string) (option, bool) {
	for _, o := range slices.Backward(u.options) {
		if o.section == section && o.name == name {
			return o, o.value != ""
		}
	}
	return option{at: u.at}, false
}

// all are the assignments of a name that is a list.
func (u *unitFile) all(section, name string) []option {
	var out []option
	for _, o := range u.options {
		if o.section != section || o.name != name {
			continue
		}
		if o.value == "" {
			out = nil
			continue
		}
		out = append(out, o)
	}
	return out
}

func (u *unitFile) words(section, name string) []string {
	var out []string
	for _, o := range u.all(section, name) {
		out = append(out, strings.Fields(o.value)...)
	}
	return out
}

// needs are the units that this one pulls in.
func (u *unitFile) needs() []string {
	var out []string
	for _, name := range []string{"Requires", "Wants", "BindsTo", "Requisite", "Upholds"} {
		out = append(out, u.words("Unit", name)...)
	}
	return out
}

func (u *unitFile) subject() string { return "unit " + show(u.shownName()) }

// readProgram reads what the unit runs.
func (u *unitFile) readProgram() {
	u.program = program{}
	for _, o := range u.all("Service", "ExecStart") {
		// Before the path may stand @ - : + ! in any order.
		for i, w := range splitWords(strings.TrimLeft(o.value, "@-:+!|")) {
			if i > maxTokens {
				break
			}
			u.program.words = append(u.program.words, word{w, o.at})
		}
	}
	u.program.env = u.assignments("Service", "Environment")
	if u.quadlet() {
		u.readContainer()
	}
	u.drain = drainOf(&u.program)
}

// kind is the Type of the service, the default written out.
func (u *unitFile) kind() (string, place) {
	if o, ok := u.get("Service", "Type"); ok {
		return o.value, o.at
	}
	if _, ok := u.get("Service", "BusName"); ok {
		return "dbus", u.at
	}
	if u.quadlet() {
		if u.tellsReady() {
			return "notify", u.at
		}
		return "container", u.at
	}
	if len(u.all("Service", "ExecStart")) == 0 {
		return "oneshot", u.at
	}
	return "simple", u.at
}

var listenSetting = regexp.MustCompile(`(^|-)(listen|port|bind|addr|address|http)(-addr|-address)?$`)

// span reads a time span of systemd: 5, 5s, 1min 30s, infinity.
func span(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if text == "infinity" {
		return forever, true
	}
	m := spanPart.FindAllStringSubmatch(text, -1)
	if m == nil || strings.TrimSpace(spanPart.ReplaceAllString(text, "")) != "" {
		return 0, false
	}
	total := 0.0
	for _, part := range m {
		n, err := strconv.ParseFloat(part[1], 64)
		unit, known := spanUnits[part[2]]
		if err != nil || !known {
			return 0, false
		}
		total += n * float64(unit)
	}
	if total >= float64(forever) {
		return forever, true
	}
	return time.Duration(total), true
}

var (
	spanPart  = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Zµμ]*)`)
	spanUnits = map[string]time.Duration{
		"us": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond, "usec": time.Microsecond,
		"ms": time.Millisecond, "msec": time.Millisecond,
		"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
		"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
		"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
		"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
	}
)

// stopTimeout is how long systemd waits after SIGTERM before it kills.
func (u *unitFile) stopTimeout() (time.Duration, place) {
	if u.quadlet() {
		if d, at := u.containerStop(); d < defaultStopTimeout {
			return d, at
		}
	}
	var last *option
	for i, o := range u.options {
		if o.section == "Service" && (o.name == "TimeoutStopSec" || o.name == "TimeoutSec") {
			last = &u.options[i]
		}
	}
	if last == nil || last.value == "" {
		return defaultStopTimeout, u.at
	}
	d, ok := span(last.value)
	if !ok {
		return defaultStopTimeout, last.at // systemd ignores what it cannot read
	}
	if d == 0 {
		d = forever // as systemd reads it
	}
	return d, last.at
}
