package scenarios

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Bounds on what a scenario may ask for that are not those of one field. They keep slips of
// the keyboard from starting an experiment that no machine can run.
const (
	maxHits  = 100_000_000 // of one trial
	maxAbout = 2000        // bytes
	maxPort  = 65535
)

var (
	slug     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	slugHint = "1 to 40 lower-case letters, digits and dashes, no dash first"
	urlPath  = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,200}$`)
)

// report is told what is wrong with a value, and where: load.rate, designs[1].signal.
type report func(path, message, hint string)

// check reports what is wrong with a scenario whose fields could all be read: first of each
// field alone, as it is declared, then of those that do not go together.
func (s *Scenario) check(report report) {
	wrong := map[string]bool{}
	by := s.Target.found()
	checkFields(reflect.ValueOf(s).Elem(), "", by, func(path, message, hint string) {
		wrong[path] = true
		report(path, message, hint)
	})
	if p := s.Target.Refproxy; p != nil && !wrong["target.refproxy.sync_rate"] {
		if t := float64(p.Sessions) / p.SyncRate; t > maxDuration.Seconds() {
			report("target.refproxy.sync_rate", fmt.Sprintf("an instance would sync for %.3g s", t), "raise sync_rate or lower sessions")
		}
	}
	s.checkOwn(report)
	s.checkBalancer(report)
	s.checkNoCommand(report)
	s.checkLoad(report, !wrong["load.rate"])
	s.checkPhases(report, !wrong["load.rate"])
	s.checkAction(report)
	s.checkFaults(report)
	if s.checkDesigns(report) { // else who a gate is for cannot be told
		s.checkGates(report)
		s.checkControls(report)
		if !wrong["load.rate"] && s.Phases.Window.To > s.Phases.Window.From {
			s.checkDecidable(report)
		}
	}
}

// checkFields reports of each field of a struct whether it is out of bounds, or has not the
// form that it has to have, but for those that mean nothing for what is found as a target.
func checkFields(v reflect.Value, path string, by found, told report) {
	fine := true
	report := func(path, message, hint string) {
		fine = false
		told(path, message, hint)
	}
	kind := kindOf(v)
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if fv.Kind() == reflect.Map && fv.Type().Elem().Kind() == reflect.Struct && !fine {
			continue // it comes on top of the other fields: it would be the same mistake again
		}
		if f.means(kind) && f.refused[by] == "" {
			f.check(fv, join(path, f.name), by, report)
		}
	}
}

// check reports what is wrong with a value of the field. What is not there is not wrong.
func (f *field) check(v reflect.Value, path string, by found, report report) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			f.check(v.Elem(), path, by, report)
		}
	case reflect.Struct:
		if r, ok := v.Interface().(record.TrialRange); ok {
			f.checkRange(r, path, report)
			return
		}
		if v.IsZero() {
			return
		}
		checkFields(v, path, by, report)
		if f.min+f.max != "" {
			for _, inner := range fieldsOf(v.Type()) {
				f.checkBounds(v.FieldByIndex(inner.index), join(path, inner.name), report)
			}
		}
	case reflect.Slice:
		if f.inherited && v.Len() == 0 {
			report(path, path+" is empty", f.hint)
		}
		for i := range v.Len() {
			f.check(v.Index(i), fmt.Sprintf("%s[%d]", path, i), by, report)
		}
	case reflect.Map:
		for _, key := range stringKeys(v) {
			f.check(v.MapIndex(reflect.ValueOf(key)), join(path, key), by, report)
		}
	case reflect.String:
		f.checkForm(v.String(), path, report)
	default:
		f.checkBounds(v, path, report)
	}
}

func (f *field) checkForm(text, path string, report report) {
	switch {
	case f.form == "slug" && !slug.MatchString(text) && !(f.omitempty && text == ""):
		of := f.owner
		if f.name != "name" {
			of = f.name
		}
		report(path, "bad name of a "+of+": "+quote(text), slugHint)
	case f.form == "method" && (!methodForm.MatchString(text) || text == http.MethodConnect):
		report(path, path+" is no method of a request: "+quote(text), f.hint)
	case f.form == "instances":
		if _, ok := selection(text); !ok {
			report(path, path+" selects no instances: "+quote(text), f.hint)
		}
	case f.form == "regexp":
		if _, err := regexp.Compile(text); err != nil {
			report(path, path+" is no regular expression: "+err.Error(), "the syntax is RE2's, as in Go")
		}
	case f.form == "path" && !urlPath.MatchString(text):
		report(path, path+" must begin with / and hold no spaces: "+quote(text), f.hint)
	case f.form == "address" && text != "":
		if wrong := wrongAddress(text); wrong != "" {
			report(path, path+" "+wrong+": "+quote(text), f.hint)
		}
	case f.form == "prose" && len(text) > maxAbout:
		report(path, fmt.Sprintf("%s is longer than %d bytes", path, maxAbout), "two or three lines are enough")
	case f.form == "prose" && !printable(text):
		report(path, path+" holds a character that cannot be printed", "remove it")
	}
}

func (f *field) checkBounds(v reflect.Value, path string, report report) {
	n, ok := numeric(v)
	if !ok {
		return
	}
	bound := func(text string) float64 { return f.bound(text, v.Type()) }
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		report(path, path+" must be a finite number", "")
	case f.above != "" && n <= bound(f.above) && v.Type() == durationType:
		report(path, fmt.Sprintf("%s must be longer than %s", path, f.above), f.hint)
	case f.above != "" && n <= bound(f.above):
		report(path, fmt.Sprintf("%s must be more than %s, not %v", path, f.above, v), f.hint)
	case f.min != "" && f.max != "" && (n < bound(f.min) || n > bound(f.max)):
		report(path, fmt.Sprintf("%s must be %s..%s, not %v", path, f.min, f.max, v), f.hint)
	case f.min != "" && n < bound(f.min):
		report(path, fmt.Sprintf("%s must be at least %s, not %v", path, f.min, v), f.hint)
	case f.max != "" && n > bound(f.max):
		report(path, fmt.Sprintf("%s must be at most %s, not %v", path, f.max, v), f.hint)
	}
}

// checkOwn checks a custom target.
func (s *Scenario) checkOwn(report report) {
	t := &s.Target
	if !t.Own() {
		return
	}
	s.checkDeployed(report)
	s.checkCommand(report)
	s.checkProtocol(report)
	s.checkRequests(report)
	for _, w := range s.workloads() {
		t := &w.Target
		if t.Ports.Data != 0 && t.Ports.Health != nil && t.Ports.Data == *t.Ports.Health {
			report(w.path("ports.health"), w.path("ports")+": data and health are both "+fmt.Sprint(t.Ports.Data), "leave out health, and give signals port: data")
		}
		w.checkPlaces(w.path, t.Args, t.Env, report)
		w.checkRevisions(report)
	}
	if s.Load.Deny > 0 {
		report("load.deny", "load.deny is for refproxy: of a custom target nobody knows what it must deny", "remove it")
	}
}

// checkProtocol checks that what is spoken goes together.
func (s *Scenario) checkProtocol(report report) {
	t := &s.Target
	switch {
	case strings.HasPrefix(t.URL, "http://") && t.TLS != nil:
		report("target.tls", "target.tls is for a target that speaks TLS, and target.url begins with http://", "say https://, or remove target.tls")
	case t.Protocol == string(drivers.H2) && t.TLS == nil:
		report("target.protocol", "target.protocol: h2 is chosen within TLS, and the target speaks none", "give target a tls, or say h2c")
	case t.Protocol == string(drivers.H2C) && t.TLS != nil:
		report("target.protocol", "target.protocol: h2c is HTTP/2 without TLS, and the target speaks it", "say h2, or remove target.tls")
	}
}

// checkBalancer checks that the balancer can do with TLS what it is told.
func (s *Scenario) checkBalancer(report report) {
	w := s.Target.Wire()
	if s.Balancer.TLS == Passthrough && w.TLS == nil && !w.Multiplexed() && s.Target.found() == "" {
		report("balancer.tls", "balancer.tls: there is no TLS to pass through, the target speaks plain HTTP/1.1", "remove it, or give target a tls")
	}
}

// checkPlaces reports placeholders in the arguments and the environment of a custom target
// that nothing will be filled in for. path is where a key is said.
func (w workload) checkPlaces(path func(key string) string, args []string, env map[string]string, report report) {
	for i, arg := range args {
		w.checkPlace(fmt.Sprintf("%s[%d]", path("args"), i), arg, report)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		w.checkPlace(join(path("env"), name), env[name], report)
	}
}

func (w workload) checkPlace(path, text string, report report) {
	places := drivers.Places{Listen: map[string]string{"data": "host:0"}}
	have := "there are $${instance}, $${revision}, $${listen.data} (host:port) and $${port.data} (the number)"
	if w.Target.Ports.Health != nil {
		places.Listen["health"] = "host:0"
		have = "there are $${instance}, $${revision}, $${listen.data} and $${listen.health} (host:port), $${port.data} and $${port.health} (the number)"
	}
	for {
		_, after, found := strings.Cut(text, "${")
		if !found {
			return
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed {
			report(path, path+": ${ without its }", have)
			return
		}
		if _, err := places.Expand("${" + name + "}"); err != nil {
			report(path, path+": no placeholder "+quote(name), have)
			return
		}
		text = behind
	}
}

// namedSignal is a signal, and the key that it has.
type namedSignal struct {
	name string
	Signal
}

// signals are all that the settings ask, the one that the runtime routes by first.
func (d *Settings) signals() []namedSignal {
	return []namedSignal{{"signal", d.Signal}, {"startup", d.Startup}, {"liveness", d.Liveness}}
}

// checkTarget reports what of a design does not go together with the scenario's target. driver
// is the one that the settings are for, "" for all of which the design has no others.
func (s *Scenario) checkTarget(design *Design, d *Settings, driver, path string, c *causes) {
	if !s.Target.Own() {
		if d.Health == "" {
			c.tell("no health", path, join(path, "health")+" is missing", "one of "+strings.Join(fieldOf[Settings]("health").words, ", "))
		}
		if len(d.Args) > 0 || len(d.Env) > 0 {
			c.tell("args", path, path+": args and env are for a custom target", "remove them")
		}
		return
	}
	if d.LameDuck > 0 || d.CloseWait > 0 {
		c.tell("drain", path, path+": lame_duck and close_wait are refproxy's: a custom target drains in its own way", "describe a design with args or env that make it drain, or leave them out")
	}
	if d.Health != "" {
		c.tell("health", join(path, "health"), join(path, "health")+" is refproxy's: a custom target tells its readiness in its own way", "describe a design with args or env that make it do so, or leave it out")
	}
	if d.FailClosed {
		c.tell("fail_closed", join(path, "fail_closed"), join(path, "fail_closed")+" is refproxy's: a custom target decides in its own way", "describe a design with args or env that make it do so, or leave it out")
	}
	if d.FailOpen {
		c.tell("fail_open", join(path, "fail_open"), join(path, "fail_open")+" is refproxy's: a custom target decides in its own way", "describe a design with args or env that make it do so, or leave it out")
	}
	for _, g := range d.signals() {
		if why, hint := s.Target.wrongScheme(g.Signal); why != "" {
			c.tell("scheme", join(path, g.name+".scheme"), join(path, g.name+".scheme")+" "+why, hint)
		}
	}
	for _, w := range s.workloads() {
		_, own := s.Target.On[driver]
		if w.driver == driver || driver == "" && !design.differs(w.driver) || w.driver == "" && !own && driver != "" {
			w.checkSettings(d, path, c)
		}
	}
}

// checkSettings reports what of a design does not go together with one driver's target.
func (w workload) checkSettings(d *Settings, path string, c *causes) {
	place := func(path, message, hint string) { c.tell(message, path, message, hint) }
	w.checkPlaces(func(key string) string { return join(path, key) }, d.Args, d.Env, place)
	for _, g := range d.signals() {
		for i, arg := range g.Command {
			w.checkPlace(fmt.Sprintf("%s[%d]", join(join(path, g.name), "command"), i), arg, place)
		}
		if g.Port == "health" && w.Target.Ports.Health == nil {
			c.tell("no port health", join(path, g.name), join(path, g.name)+" asks port health, and the target has none", "say port: data, or give target.ports a health")
		}
		if g.Kind == drivers.ProbeImage && !w.Target.everyImage() {
			c.tell("no image", join(path, g.name), join(path, g.name)+" is the health check of an image, and the target has none", "")
		}
	}
}

func (s *Scenario) checkLoad(report report, fineRate bool) {
	if n := s.Load.Rate * s.Length().Seconds(); fineRate && n > maxHits {
		hint := "lower the rate or shorten the window"
		if s.Target.Address() {
			hint = "lower the rate, action.timeout or action.max"
		}
		report("load.rate", fmt.Sprintf("%v requests a second for %v are %.3g requests, more than %d", s.Load.Rate, s.Length(), n, maxHits), hint)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Load.Streams)) {
		if !slices.Contains(s.streams(), name) {
			whose := "is a stream of refproxy's: a custom target's methods are those of its requests"
			if !s.Target.Own() {
				whose = "is a stream of custom targets"
			}
			report(join("load.streams", name), "load.streams."+name+" "+whose, "there are "+strings.Join(s.streams(), ", "))
			return
		}
	}
	for _, weight := range s.Load.Streams {
		if weight > 0 {
			return
		}
	}
	report("load.streams", "load.streams has no stream with a weight above 0", "such as "+s.streams()[0]+": 40")
}

func (s *Scenario) checkPhases(report report, fineRate bool) {
	q, w := s.Phases.Baseline, s.Phases.Window
	fine := true
	empty := func(path string, p Phase) {
		if p.To <= p.From {
			report(path, fmt.Sprintf("%s ends at %v, not after its start at %v", path, p.To, p.From), "to: later than from:")
			fine = false
		}
	}
	empty("phases.baseline", q)
	if !s.Target.Address() { // else it follows from what is reported anyway
		empty("phases.window", w)
	}
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
	if !fineRate {
		return
	}
	for _, p := range []struct {
		path string
		Phase
	}{{"phases.baseline", q}, {"phases.window", w}} {
		if hits(s.Load.Rate, p.To) <= hits(s.Load.Rate, p.From) {
			report(p.path, fmt.Sprintf("%s has no request in it at %v a second", p.path, s.Load.Rate), "make it longer, or raise load.rate")
		}
	}
}

func (s *Scenario) checkAction(report report) {
	if s.Action.Kind == Scale && s.Action.To == s.Replicas {
		report("action.to", fmt.Sprintf("action.to is %d, which is what replicas already is", s.Action.To), "scale to another number, or say kind: none")
	}
	if s.Target.found() != "" {
		return // how instances are replaced is somebody else's business
	}
	if s.Rolling == (drivers.Rolling{}) {
		report("rolling", "rolling: with max_surge 0 and max_unavailable 0 no instance can ever be replaced", "set one of them to 1")
	}
}

// checkDesigns reports whether every design has a name of its own.
func (s *Scenario) checkDesigns(report report) (named bool) {
	named = true
	if len(s.Designs) == 0 {
		report("designs", "designs is empty", "one of: "+strings.Join(s.knownDesigns(), ", "))
	}
	causes := newCauses(report)
	defer causes.end()
	seen := map[string]bool{}
	for i := range s.Designs {
		d, path := &s.Designs[i], fmt.Sprintf("designs[%d]", i)
		named = named && slug.MatchString(d.Name) // else it has been reported
		if seen[d.Name] {
			report(join(path, "name"), "two designs are called "+quote(d.Name), "rename one of them")
			named = false
		}
		seen[d.Name] = true
		if s.Target.found() != "" { // what it decides is in its manifests or in its command
			continue
		}
		s.checkTarget(d, &d.Settings, "", path, causes)
		for _, driver := range slices.Sorted(maps.Keys(d.On)) {
			settings := d.On[driver]
			s.checkTarget(d, &settings, driver, join(join(path, "on"), driver), causes)
		}
		d.eachSettings(path, report)
	}
	return named && len(s.Designs) > 0
}

// check reports what is wrong with a design, whatever it is used for.
func (d *Design) check(path string, report report) {
	checkFields(reflect.ValueOf(d).Elem(), path, "", report)
	d.eachSettings(path, report)
}

// differs says whether a driver has settings of its own.
func (d *Design) differs(driver string) bool { _, ok := d.On[driver]; return ok }

// eachSettings checks what a design decides, and then what it decides on each driver, unless
// that would be the same mistake again.
func (d *Design) eachSettings(path string, report report) {
	fine := true
	d.Settings.check(d.Name, path, func(path, message, hint string) {
		fine = false
		report(path, message, hint)
	})
	for _, driver := range slices.Sorted(maps.Keys(d.On)) {
		if settings := d.On[driver]; fine {
			settings.check(d.Name+" on "+driver, join(join(path, "on"), driver), report)
		}
	}
}

// check reports what of the settings does not go together.
func (d *Settings) check(name, path string, report report) {
	// The grace begins when the instance is asked to stop, which is after pre_stop.
	if drain := d.LameDuck + d.CloseWait; d.StopGrace <= drain {
		report(join(path, "stop_grace"), fmt.Sprintf("design %s is killed while draining: stop_grace %v, lame_duck + close_wait %v", quote(name), d.StopGrace, drain),
			"stop_grace must be longer, such as "+(drain+2*time.Second).String())
	}
	if d.Watchdog > 0 && !d.Notify {
		report(join(path, "watchdog"), join(path, "watchdog")+" needs notify: true: a service that does not notify is silent", "")
	}
	for _, g := range d.signals()[1:] {
		if g.Kind == drivers.ProbeImage {
			report(join(path, g.name), join(path, g.name)+": the health check of an image is a signal", "")
		}
	}
}

func (s *Scenario) checkControls(report report) {
	names := namesOf(s.Designs)
	for i, c := range s.PositiveControls {
		path := fmt.Sprintf("positive_controls[%d]", i)
		if !slices.Contains(names, c.Design) {
			report(path, "positive control "+quote(c.Design)+" is no design of the scenario", didYouMean(c.Design, names))
		}
		if slices.ContainsFunc(s.PositiveControls[:i], func(o Control) bool { return o.Design == c.Design }) {
			report(path, "positive control "+quote(c.Design)+" is here twice", "remove one of them")
		}
		if s.Action.Kind == None && len(s.Faults) == 0 {
			report(path, "a positive control where nothing happens: with kind: none and no faults no design can be known to fail", "remove it, or name an action or a fault")
		}
	}
}
