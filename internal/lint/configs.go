package lint

import (
	"regexp"
	"slices"
	"strings"
)

// rawConfig is the document of a ConfigMap, which is read only when a workload of the
// same files refers to it: most are long, and none of the linter's business.
type rawConfig struct {
	source   *source
	document document
}

// config is a ConfigMap.
type config struct {
	name, namespace string
	data            []configValue
}

type configValue struct {
	key, text string
	at        place
}

// configsNamed are the ConfigMaps that are referred to by the names, and perhaps more. What cannot be read is
// left out: nobody asked for it to be judged.
func (k *kubeObjects) configsNamed(names []string) []*config {
	out := slices.Clone(k.configs)
	for _, raw := range k.rawConfigs {
		if !slices.ContainsFunc(raw.document.lines, func(line string) bool {
			return strings.Contains(line, "name:") && slices.ContainsFunc(names, func(n string) bool { return strings.Contains(line, n) })
		}) {
			continue
		}
		scratch := &source{name: raw.source.name, lines: raw.source.lines, comments: &comments{}}
		if root := scratch.parse(raw.document); root != nil {
			if c := readConfig(scratch, root); len(scratch.problems) == 0 {
				out = append(out, c)
			}
		}
	}
	return out
}

func readConfig(s *source, o *node) *config {
	meta := o.get("metadata")
	c := &config{name: s.text(meta, "name"), namespace: namespaceOf(s, meta)}
	if data := s.sub(o, "data"); data != nil {
		for _, f := range data.fields {
			c.data = append(c.data, configValue{f.key, f.value.value, s.place(f.value)})
		}
	}
	return c
}

// linkConfigs gives the containers what they read from the ConfigMaps of the same files:
// environment variables, and from the files that they mount what says how they stop.
func (k *kubeObjects) linkConfigs() {
	var names []string
	for _, w := range k.workloads {
		names = append(names, w.configs...)
		for _, c := range w.containers {
			for _, from := range c.envFrom {
				names = append(names, from.config)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	all := k.configsNamed(names)
	for _, w := range k.workloads {
		for _, c := range w.containers {
			before := len(c.env) + len(c.config)
			for _, from := range all {
				if from.namespace == w.namespace {
					c.readConfig(from, slices.Contains(w.configs, from.name))
				}
			}
			if len(c.env)+len(c.config) > before {
				c.drain = drainOf(&c.program)
			}
		}
	}
}

// envSource is a ConfigMap that variables come from, all or one of them.
type envSource struct {
	config, key, variable string // key "" is all
}

func (c *container) readConfig(from *config, mounted bool) {
	for _, e := range c.envFrom {
		for _, v := range from.data {
			if e.config != from.name || e.key != "" && e.key != v.key {
				continue
			}
			name := e.variable
			if name == "" {
				name = v.key
			}
			c.env = append(c.env, setting{flagName(name), v.text, v.at})
		}
	}
	if !mounted {
		return
	}
	for _, v := range from.data {
		for _, m := range configLine.FindAllStringSubmatch(v.text, -1) {
			c.config = append(c.config, setting{flagName(m[1]), m[2], v.at})
		}
	}
}

// configLine is a line of a configuration file that sets a span of time, whatever the
// format: lameduck 10s, graceTimeOut = "10s", "drain-timeout": 30.
var configLine = regexp.MustCompile(`(?m)^\s*["']?([A-Za-z][A-Za-z0-9_.-]*)["']?\s*[:= ]\s*["']?([0-9][0-9a-z.]*)["']?,?\s*$`)

// configVolumes are the names of the ConfigMaps that a pod mounts.
func configVolumes(s *source, pod *node) []string {
	var out []string
	add := func(n *node) {
		if c := s.sub(n, "configMap"); c != nil {
			out = append(out, s.text(c, "name"))
		}
	}
	for _, v := range s.list(pod, "volumes", true) {
		add(v)
		for _, from := range s.list(s.sub(v, "projected"), "sources", true) {
			add(from)
		}
	}
	return out
}
