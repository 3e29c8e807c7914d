package lint

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// defaultContainerStop is how long Podman waits after the stop signal before it kills.
const defaultContainerStop = 10 * time.Second

// quadlet reports whether the unit is a .container file: Podman makes a service of it.
func (u *unitFile) quadlet() bool { return u.has("Container") }

// serviceName is the name of the service that a unit file makes: web.service for
// web.container.
func serviceName(file string) string {
	if name, ok := strings.CutSuffix(file, ".container"); ok {
		return name + ".service"
	}
	return file
}

// readContainer reads what the container of a Quadlet runs.
func (u *unitFile) readContainer() {
	for _, o := range u.all("Container", "Exec") {
		for _, w := range splitWords(o.value) {
			u.program.words = append(u.program.words, word{w, o.at})
		}
	}
	u.program.env = append(u.program.env, u.assignments("Container", "Environment")...)
}

// assignments are NAME=value words of a list.
func (u *unitFile) assignments(section, name string) []setting {
	var out []setting
	for _, o := range u.all(section, name) {
		for _, w := range splitWords(o.value) {
			if name, value, ok := strings.Cut(w, "="); ok {
				out = append(out, setting{flagName(name), value, o.at})
			}
		}
	}
	return out
}

// containerServes is what says that the container takes requests: a port that is
// published, or the labels of a proxy.
func (u *unitFile) containerServes() string {
	if o, ok := u.get("Container", "PublishPort"); ok {
		return "it publishes port " + show(o.value)
	}
	if by := proxyOf(u.assignments("Container", "Label"), u.assignments("Container", "Environment")); by != "" {
		return by + " finds it by its labels or variables"
	}
	return ""
}

// tellsReady reports whether the service waits for more than the start of the container.
func (u *unitFile) tellsReady() bool {
	o, _ := u.get("Container", "Notify")
	switch strings.ToLower(o.value) {
	case "healthy", "true", "yes", "on", "1":
		return true
	}
	return false
}

// containerStop is how long Podman waits after the stop signal.
func (u *unitFile) containerStop() (time.Duration, place) {
	o, ok := u.get("Container", "StopTimeout")
	n, err := strconv.Atoi(o.value)
	if !ok || err != nil || n < 0 {
		return defaultContainerStop, u.at
	}
	return time.Duration(n) * time.Second, o.at
}

// healthCommand is the HealthCmd of a container; nil when there is none in the file.
func (u *unitFile) healthCommand() *healthCommand {
	o, ok := u.get("Container", "HealthCmd")
	if !ok || o.value == "none" {
		return nil
	}
	test := &node{kind: scalar, value: o.value, file: o.at.file, line: o.at.line, column: o.at.column}
	var words []string
	if json.Unmarshal([]byte(o.value), &words) == nil {
		test.kind = sequence
		for _, w := range words {
			test.items = append(test.items, &node{kind: scalar, value: w})
		}
	}
	return (&source{name: u.file}).readCommand(test, nil)
}

func unitContainerHealth(u *unitFile, r *reporter) {
	h := u.healthCommand()
	because, _ := u.served()
	if h == nil || because == "" {
		return
	}
	image, _ := u.get("Container", "Image")
	f := h.cannotRun()
	for _, find := range []func() *fault{h.cannotFail, h.cannotTell, func() *fault { return h.tooEarly(image.value, u.program.env) }, h.wrongAddress} {
		if f == nil {
			f = find()
		}
	}
	if f != nil {
		fix := f.fix
		if strings.HasPrefix(fix, "test:") {
			fix = "HealthCmd=one line, as a shell has it"
		}
		r.add(f.severity, h.at, f.effect, fix)
	}
	action, acts := u.get("Container", "HealthOnFailure")
	if !acts || action.value == "none" {
		return
	}
	interval, at := defaultHealthInterval, h.at
	if o, ok := u.get("Container", "HealthInterval"); ok {
		d, known := span(o.value)
		if !known || d == 0 {
			return // disabled
		}
		interval, at = d, o.at
	}
	retries := defaultHealthRetries
	if o, ok := u.get("Container", "HealthRetries"); ok {
		if n, err := strconv.Atoi(o.value); err == nil && n > 0 {
			retries = n
		}
	}
	if detection := interval * time.Duration(min(retries, 1000)); detection > longestDetection {
		r.add(Warning, at, fmt.Sprintf("an instance that cannot serve gets requests for %v more, until HealthOnFailure acts", detection), "HealthInterval=5s and HealthRetries=3")
	}
}

// shownName is the name of the unit's file.
func (u *unitFile) shownName() string {
	if u.quadlet() {
		return strings.TrimSuffix(u.name, path.Ext(u.name)) + ".container"
	}
	return u.name
}
