// Package policy holds what the control plane configures the reference proxy with, routes
// and who may use them, as numbered generations, and compiles a generation into a table
// that decides requests. It is pure: it knows neither streams nor requests' transport.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Generation numbers a configuration; the first is 1 and each one published is the next.
type Generation uint64

// Config is one generation of the configuration.
type Config struct {
	Generation Generation `json:"generation"`
	Routes     []Route    `json:"routes"`
}

// Route lets the sessions of some groups use the paths below a prefix.
type Route struct {
	Prefix string   `json:"prefix"` // begins and ends with a slash
	Allow  []string `json:"allow"`  // groups of sessions; none means nobody
}

// ErrInvalid: a configuration cannot be used. The text says what is wrong with it.
var ErrInvalid = errors.New("invalid configuration")

// Table is a compiled configuration. It is immutable.
type Table struct {
	generation Generation
	routes     map[string]allowed
	longest    int // number of segments of the longest prefix
}

// allowed is who may use a route.
type allowed struct {
	prefix string
	groups []string
}

// Compile checks a configuration and compiles it. The error wraps ErrInvalid.
func Compile(c Config) (*Table, error) {
	if c.Generation == 0 {
		return nil, fmt.Errorf("%w: generation is 0, the first is 1", ErrInvalid)
	}
	if len(c.Routes) == 0 {
		return nil, fmt.Errorf("%w: generation %d has no routes", ErrInvalid, c.Generation)
	}
	t := &Table{generation: c.Generation, routes: make(map[string]allowed, len(c.Routes))}
	for i, r := range c.Routes {
		if !strings.HasPrefix(r.Prefix, "/") || !strings.HasSuffix(r.Prefix, "/") {
			return nil, fmt.Errorf("%w: generation %d: prefix %q of route %d does not begin and end with a slash",
				ErrInvalid, c.Generation, r.Prefix, i)
		}
		if _, ok := t.routes[r.Prefix]; ok {
			return nil, fmt.Errorf("%w: generation %d: prefix %q is there twice", ErrInvalid, c.Generation, r.Prefix)
		}
		if slices.Contains(r.Allow, "") {
			return nil, fmt.Errorf("%w: generation %d: route %q allows a group without a name",
				ErrInvalid, c.Generation, r.Prefix)
		}
		t.routes[r.Prefix] = allowed{prefix: r.Prefix, groups: slices.Clone(r.Allow)}
		t.longest = max(t.longest, strings.Count(r.Prefix, "/"))
	}
	return t, nil
}

// Generation is the generation that the table was compiled from.
func (t *Table) Generation() Generation { return t.generation }

// Len is the number of routes.
func (t *Table) Len() int { return len(t.routes) }

// Verdict is what a table says about a request.
type Verdict int

// The verdicts.
const (
	Deny    Verdict = iota // the route exists and the group may not use it
	Allow                  // the group may use the route
	NoRoute                // no route has a prefix of the path
)

// Decide says whether a session of the given group may request the path: the route with
// the longest prefix decides, alone.
func (t *Table) Decide(path, group string) Verdict {
	r, ok := t.route(path)
	switch {
	case !ok:
		return NoRoute
	case slices.Contains(r.groups, group):
		return Allow
	}
	return Deny
}

// DecideUnknown says what can be said about a request of a session whose group is not
// known: Allow means that some group may use the route, Deny that none may.
func (t *Table) DecideUnknown(path string) Verdict {
	r, ok := t.route(path)
	switch {
	case !ok:
		return NoRoute
	case len(r.groups) > 0:
		return Allow
	}
	return Deny
}

// route finds the route with the longest prefix of the path.
func (t *Table) route(path string) (allowed, bool) {
	// Only prefixes that end at a slash exist, so one look-up for each segment will do,
	// whatever the number of routes; segments past the longest prefix need none.
	end := 0
	for range t.longest {
		next := strings.IndexByte(path[end:], '/')
		if next < 0 {
			break
		}
		end += next + 1
	}
	for end > 0 {
		if r, ok := t.routes[path[:end]]; ok {
			return r, true
		}
		end = strings.LastIndexByte(path[:end-1], '/') + 1
	}
	return allowed{}, false
}
