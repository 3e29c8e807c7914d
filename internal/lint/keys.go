package lint

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rollout-lab/rollout-lab/internal/spelling"
)

var keyRules = []Rule{{
	ID: "k8s-unknown-key", Runtime: "kubernetes", Severity: Error,
	What:    "A key does not exist where it stands: it is mistyped, or belongs elsewhere (error where requests depend on it, else a warning).",
	Why:     "What it was to set is not set. The API server drops such a key unless it is asked to be strict; kubectl asks, and refuses the manifest, while operators, client libraries and server-side patches mostly do not.",
	Fix:     "The key as the API has it, where the API has it: `kubectl explain deployment.spec.template.spec`.",
	objects: unknownKeys,
}}

// keysText holds the keys of the objects that are read, as the types of the API have them; a
// test compares and rewrites it. Objects of other versions are read all the same, and their
// keys are believed.
//
//go:embed keys.json
var keysText []byte

// Keys are the keys of objects.
type Keys struct {
	Objects map[string]string            `json:"objects"` // "apps/v1 Deployment" -> its type
	Types   map[string]map[string]string `json:"types"`   // type -> key -> type, see keyChecker.check
}

var keys = sync.OnceValue(func() (k Keys) {
	if err := json.Unmarshal(keysText, &k); err != nil {
		panic("lint: keys.json: " + err.Error()) // it is a part of the program
	}
	return k
})

// weighty are the keys by which requests are lost or kept. One of them that does not hold is
// an error; of others it is a warning, the more so as a newer Kubernetes may know them.
var weighty = []string{
	"replicas", "strategy", "updateStrategy", "rollingUpdate", "maxSurge", "maxUnavailable", "minAvailable", "minReadySeconds",
	"terminationGracePeriodSeconds", "lifecycle", "preStop", "readinessProbe", "livenessProbe", "startupProbe", "readinessGates",
	"httpGet", "tcpSocket", "grpc", "exec", "initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold",
	"selector", "targetPort", "publishNotReadyAddresses", "internalTrafficPolicy", "externalTrafficPolicy", "minReplicas",
}

// unknownKey is a key of an object that its type does not have.
type unknownKey struct {
	subject string
	at      place
	key     string
	around  string // the path of what it stands in; "" is the object itself
	meant   string // the key that it was probably meant to be, if there is one
	belongs string // the path at which the type has it, if there is one
}

// checkKeys finds the keys of an object that do not exist where they stand.
func (k *kubeObjects) checkKeys(s *source, o *node) {
	kind := o.get("kind").value
	root, ok := keys().Objects[o.get("apiVersion").value+" "+kind]
	if !ok {
		return
	}
	c := keyChecker{source: s, root: root, subject: kind}
	if name := o.get("metadata", "name"); name != nil {
		c.subject += " " + show(name.value)
	}
	c.check(o, root, nil)
	k.unknownKeys = append(k.unknownKeys, c.found...)
}

type keyChecker struct {
	source  *source
	root    string
	subject string
	found   []unknownKey
}

// check looks at a node of a type: "" is any, []T a list, {}T a mapping of names, else T has
// keys of its own.
func (c *keyChecker) check(n *node, t string, path []string) {
	element, list := strings.CutPrefix(t, "[]")
	value, names := strings.CutPrefix(t, "{}")
	switch {
	case t == "" || n.unknown:
	case list && n.kind == sequence:
		last := len(path) - 1 // a list is below a key
		path = append(slices.Clone(path[:last]), path[last]+"[]")
		for _, item := range n.items {
			c.check(item, element, path)
		}
	case names && n.kind == mapping:
		for _, f := range n.fields {
			c.check(f.value, value, append(path, f.key))
		}
	case !list && !names && n.kind == mapping:
		fields := keys().Types[t]
		for _, f := range n.fields {
			switch to, ok := fields[f.key]; {
			case f.key == "status", strings.HasPrefix(f.key, "$"): // the cluster's, a patch's
			case ok:
				c.check(f.value, to, append(path, f.key))
			default:
				c.unknown(f, fields, path)
			}
		}
	}
}

func (c *keyChecker) unknown(f field, fields map[string]string, path []string) {
	u := unknownKey{subject: c.subject, at: c.source.place(f.value), key: f.key, around: strings.Join(path, ".")}
	if u.belongs = keysBelow(c.root)[f.key]; u.belongs == "" {
		u.meant = spelling.Nearest(f.key, slices.Sorted(maps.Keys(fields)))
	}
	c.found = append(c.found, u)
}

// severity is an error's where the key was meant to be one that requests depend on.
func (u unknownKey) severity() Severity {
	if slices.Contains(weighty, u.meant) || u.belongs != "" && slices.Contains(weighty, u.key) {
		return Error
	}
	return Warning
}

func unknownKeys(k *kubeObjects, r *reporter) {
	for _, u := range k.unknownKeys {
		r.subject = u.subject
		where := u.around
		if where == "" {
			where = "the object"
		}
		fix := "remove it, or see kubectl explain for what there is"
		switch {
		case u.meant != "":
			fix = fmt.Sprintf("%s, if that was meant", u.meant)
		case u.belongs != "":
			fix = "it belongs to " + u.belongs
		}
		r.add(u.severity(), u.at, fmt.Sprintf("%s does not hold: there is no such key in %s", show(u.key), where), fix)
	}
}

// deepest is how far below an object the place of a key is looked for.
const deepest = 8

var placesCache sync.Map // of keysBelow

// keysBelow are the keys below a type, each with the path of what has it, the shortest one.
func keysBelow(root string) map[string]string {
	if known, ok := placesCache.Load(root); ok {
		return known.(map[string]string)
	}
	type level struct{ t, path string }
	out := map[string]string{}
	next := []level{{root, ""}}
	for depth := 0; depth < deepest && len(next) > 0; depth++ {
		var below []level
		for _, l := range next {
			fields := keys().Types[l.t]
			for _, name := range slices.Sorted(maps.Keys(fields)) {
				if l.path != "" && out[name] == "" {
					out[name] = l.path
				}
				path := strings.TrimPrefix(l.path+"."+name, ".")
				t, list := strings.CutPrefix(fields[name], "[]")
				if list {
					path += "[]"
				}
				if t != "" && !strings.HasPrefix(t, "{}") && name != "status" && name != "managedFields" && name != "ephemeralContainers" {
					below = append(below, level{t, path})
				}
			}
		}
		next = below
	}
	placesCache.Store(root, out)
	return out
}
