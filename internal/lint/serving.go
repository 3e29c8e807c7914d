package lint

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// served tells whether the pods get requests, and whether that is certain: a Service of
// files that belong together selects them. Else one of files from elsewhere makes it likely,
// or a declared port.
func (w *workload) served() (served, certain bool) {
	if len(w.serving()) == 0 {
		return false, false // whatever selects them, nobody answers there
	}
	if w.updated == managed {
		return true, true
	}
	far := w.servedFromAfar()
	if far == nil && slices.ContainsFunc(w.services, func(v *kubeService) bool { return !w.forOperators(v) }) {
		return true, true
	}
	for _, c := range w.containers {
		for _, p := range c.ports {
			if !w.aside(c, p) {
				return true, false
			}
		}
	}
	return far != nil, false
}

// servedFromAfar is the Service that selects the pods where all that do so stand in files that
// need not belong with the workload's, nil where one does. Labels such as app: nginx are those
// of many applications in one tree.
func (w *workload) servedFromAfar() (far *kubeService) {
	for _, v := range w.services {
		if w.forOperators(v) {
			continue
		}
		if together(v.at.file, w.at.file) {
			return nil
		}
		far = v
	}
	return far
}

// together reports whether two files are likely parts of one application: the one's folder is
// above the other's, or no more than three steps away from it, as those of a base and an
// overlay are.
func together(a, b string) bool {
	folder := func(name string) []string {
		dir := path.Dir(strings.ReplaceAll(name, "\\", "/"))
		return strings.FieldsFunc(dir, func(r rune) bool { return r == '/' })
	}
	in, out := folder(a), folder(b)
	for len(in) > 0 && len(out) > 0 && in[0] == out[0] {
		in, out = in[1:], out[1:]
	}
	return len(in) == 0 || len(out) == 0 || len(in)+len(out) <= 3
}

// lose reports what costs requests if there are some: where no Service shows that, the
// finding is a warning and says so. It may rest on another guess besides.
func (w *workload) lose(r *reporter, g guess, at place, effect, fix string) {
	if _, certain := w.served(); !certain {
		if far := w.servedFromAfar(); far != nil {
			g = g.and(guess("that Service " + show(far.name) + " of " + show(far.at.file) + " leads to it"))
		} else {
			g = g.and("that requests come to its ports, to which no Service here leads")
		}
	}
	r.add(g.severity(Error), at, g.told(effect), fix)
}

// forOperators reports whether a Service leads to ports for operators alone: metrics of a
// worker, say.
func (w *workload) forOperators(v *kubeService) bool {
	for _, p := range v.ports {
		if asideName(p.name) || asideName(p.target) || p.name == "" && strings.Contains(v.name, "metrics") {
			continue
		}
		aside, owned := true, false
		for _, c := range w.containers {
			for _, own := range c.ports {
				if p.leadsTo(own) {
					owned, aside = true, aside && c.aside(own)
				}
			}
		}
		if !owned || !aside {
			return false
		}
	}
	return len(v.ports) > 0
}

// leadsTo reports whether a Service's port is a container's.
func (p servicePort) leadsTo(own containerPort) bool {
	return p.target == own.name && own.name != "" || p.target == strconv.Itoa(own.number)
}

// aside reports whether a port is for operators, not for requests, by what the container
// says of it or by the Service that leads to it.
func (w *workload) aside(c *container, own containerPort) bool {
	if c.idle() || c.aside(own) || w.scrapedThrough(own) {
		return true
	}
	led := false
	for _, v := range w.services {
		for _, p := range v.ports {
			if p.leadsTo(own) {
				led = true
				if !w.forOperators(v) {
					return false
				}
			}
		}
	}
	return led
}

// aside reports whether a port is for operators: by its name, by what the container
// is, or because every setting that holds its number is of that kind.
func (c *container) aside(own containerPort) bool {
	if asideName(own.name) || c.scrapedOnly() {
		return true
	}
	number, found := strconv.Itoa(own.number), false
	for _, s := range c.settings() {
		if holdsNumber(s.value, number) {
			if !asideName(s.name) {
				return false
			}
			found = true
		}
	}
	return found
}

func asideName(name string) bool {
	for _, part := range []string{"metric", "prom", "health", "probe", "liveness", "readiness", "telemetry", "admin", "debug", "pprof"} {
		if strings.Contains(strings.ToLower(name), part) {
			return true
		}
	}
	return false
}

// scrapedOnly reports whether the container gives metrics and nothing else, by its image:
// a scrape that is missed is no request that is lost.
func (c *container) scrapedOnly() bool {
	name := imageName(c.image)
	return name == "kube-rbac-proxy" || name == "kube-state-metrics" || strings.HasSuffix(name, "exporter")
}

// scrapedThrough reports whether a container that only gives metrics takes them from the
// port.
func (w *workload) scrapedThrough(own containerPort) bool {
	for _, c := range w.containers {
		if !c.scrapedOnly() {
			continue
		}
		for _, s := range c.settings() {
			if pointsOut(s.name) && holdsNumber(s.value, strconv.Itoa(own.number)) {
				return true
			}
		}
	}
	return false
}

// imageName is the last part of an image's name, without tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name, _, _ := strings.Cut(path.Base(image), ":")
	return name
}

// idle reports whether the container only stays there, for people to enter: its program
// sleeps, waits or reads nothing.
func (c *container) idle() bool {
	if len(c.words) == 0 && imageName(c.image) == "pause" {
		return true
	}
	var words []string
	for _, w := range c.words {
		words = append(words, w.text)
	}
	return idles(words)
}

// idleCommands are commands of a script that serve nothing.
var idleCommands = map[string]bool{
	"sleep": true, "pause": true, "true": true, ":": true, "while": true, "do": true, "done": true, "wait": true,
	"trap": true, "echo": true, "exit": true, "cat": true, "set": true,
}

func idles(words []string) bool {
	if len(words) == 0 {
		return false
	}
	name := path.Base(words[0])
	if shells[name] {
		for i, w := range words[:len(words)-1] {
			if strings.HasPrefix(w, "-") && strings.HasSuffix(w, "c") {
				return idleScript(words[i+1])
			}
		}
		return false
	}
	if name == "tail" {
		return words[len(words)-1] == "/dev/null"
	}
	return name == "sleep" || name == "pause" || name == "cat" && len(words) == 1
}

func idleScript(script string) bool {
	stays := false
	for _, command := range strings.FieldsFunc(script, func(r rune) bool { return strings.ContainsRune(";&|\n", r) }) {
		words := strings.Fields(command)
		for len(words) > 1 && (words[0] == "do" || words[0] == "exec" || words[0] == "while") {
			words = words[1:]
		}
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		waits := idles(words) && !shells[path.Base(words[0])]
		if !waits && !idleCommands[path.Base(words[0])] {
			return false
		}
		stays = stays || waits
	}
	return stays
}

// serving are the containers that requests arrive at, as far as the files tell: those
// with the ports of the Services, else those with a port for requests, else all but the
// side-cars.
func (w *workload) serving() []*container {
	var out []*container
	pick := func(wanted func(*container, containerPort) bool) bool {
		for _, c := range w.containers {
			for _, p := range c.ports {
				if !c.idle() && wanted(c, p) {
					out = append(out, c)
					break
				}
			}
		}
		return len(out) > 0
	}
	if pick(func(c *container, own containerPort) bool {
		for _, v := range w.services {
			for _, p := range v.ports {
				if p.leadsTo(own) && !w.forOperators(v) {
					return true
				}
			}
		}
		return false
	}) {
		return out
	}
	if pick(func(c *container, p containerPort) bool { return !c.sidecar && !w.aside(c, p) }) {
		return out
	}
	for _, c := range w.containers {
		if !c.sidecar && !c.idle() && !c.scrapedOnly() {
			out = append(out, c)
		}
	}
	return out
}
