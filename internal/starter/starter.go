// Package starter writes a scenario to start from, for a service that somebody has: it looks at
// the service as far as that can be done without asking anybody, and writes down what it found,
// with comments. What it starts in order to look, it starts through a driver, and removes.
package starter

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// Ask is what is known of the service beforehand. Exactly one of Exec, Image, Manifests and URL
// is set; of what is zero the starter finds out what it can.
type Ask struct {
	Exec      string // path of a program, from the working directory
	Image     string
	Manifests string // folder, or file, with Kubernetes objects
	URL       string

	Args       []string // of the program or the image; of a URL the command that changes it
	Env        []string // K=v
	Port       int      // at which it listens whatever it is told, 0: it is told
	Path       string   // of a real request, "" means / or what answers
	Deployment string   // which of several

	// File is where the scenario is going to be: paths in it count from its folder. "" is a
	// file in the working directory.
	File    string
	Command string // that wrote it, for its first line
}

// Offer is a driver that can look at programs or images.
type Offer interface {
	drivers.Driver
	drivers.Supporter
}

// Write looks at the service and returns the scenario, which has been read and found right for
// Options, and the driver to run it on, the first one that is offered where it is "". Errors
// have a hint.
func Write(ctx context.Context, ask Ask, offers []Offer, o scenarios.Options) (text []byte, driver string, err error) {
	p := &page{}
	switch {
	case ask.Exec != "" || ask.Image != "":
		driver, err = p.program(ctx, ask, offers)
	case ask.Manifests != "":
		driver, err = p.deployment(ask, offers)
	case ask.URL != "":
		err = p.address(ctx, ask)
	default:
		err = hint(errors.New("nothing to start from"), "one of --exec ./svc, --image NAME, --manifests DIR and --url URL")
	}
	if err != nil {
		return nil, "", err
	}
	if _, err := scenarios.Parse(ask.file(), []byte(p.String()), o); err != nil {
		return nil, "", err
	}
	return []byte(p.String()), driver, nil
}

// able is the first driver that can run what has a feature, "" where it is the first one that is
// offered, or where there is none.
func able(offers []Offer, feature drivers.Feature) string {
	for i, d := range offers {
		if answer := d.Support()[feature]; answer.How != drivers.Refused || answer.When != nil {
			if i == 0 {
				return ""
			}
			return d.Name()
		}
	}
	return ""
}

func hint(err error, text string) error { return &drivers.HintError{Err: err, Hint: text} }

// file is the name of the scenario's file, for messages and for paths.
func (a Ask) file() string {
	if a.File != "" {
		return a.File
	}
	return "scenario.yaml"
}

// path is a path of the working directory as the scenario's file has to write it.
func (a Ask) path(name string) (string, error) {
	if filepath.IsAbs(name) || !strings.ContainsAny(filepath.ToSlash(name), "/") {
		return filepath.ToSlash(name), nil
	}
	return a.beside(name)
}

// beside is a file of the working directory as it is named from the scenario's folder.
func (a Ask) beside(name string) (string, error) {
	whole, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	folder, err := filepath.Abs(filepath.Dir(a.file()))
	if err != nil {
		return "", err
	}
	relative, err := filepath.Rel(folder, whole)
	if err != nil {
		return filepath.ToSlash(whole), nil
	}
	relative = filepath.ToSlash(relative)
	if !strings.HasPrefix(relative, "../") {
		relative = "./" + relative
	}
	return relative, nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// nameOf makes the name of a scenario out of that of a service.
func nameOf(service string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(service), "-"), "-")
	if len(name) > 30 {
		name = strings.Trim(name[:30], "-")
	}
	if name == "" {
		name = "service"
	}
	return name
}

// quoted is a text as a YAML scalar in which nothing is taken for a variable.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${", "\n", `\n`, "\t", `\t`).Replace(text) + `"`
}

func quotedAll(all []string) string {
	out := make([]string, len(all))
	for i, text := range all {
		out[i] = quoted(text)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// page is a scenario as it is written down, line by line.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// head is what comes before the target.
func (p *page) head(ask Ask, name, about, driver string) {
	file, how := filepath.Base(ask.file()), ""
	if driver != "" {
		how = " --driver " + driver
	}
	p.line("# Written by `%s`.", ask.Command)
	p.line("#")
	p.line("#   rollout-lab validate %s%s", file, how)
	p.line("#   rollout-lab run %s%s", file, how)
	p.line("#")
	p.line("# `rollout-lab schema` prints every key that there is, for editors too.")
	p.line("name: %s", name)
	p.line("about: >-")
	p.line("  %s", about)
	p.line("")
}

// tail is what comes behind the target: the load, the action, and below it the designs.
func (p *page) tail(replicas int, note string) {
	p.line("replicas: %d%s", replicas, note)
	p.line("")
	p.line("# Sent on time, whether or not answers come back: 100 requests a second tell an outage of 10 ms.")
	p.line("load: {rate: 100, timeout: 2s}")
	p.line("")
	p.line("# From the start of the load. In the baseline nothing happens and nothing may fail; the window")
	p.line("# begins with the action and has to be long enough for all of it.")
}
