package drivertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// fold is what the events amount to: who exists and who of them is ready.
func fold(events []drivers.Event) (ready, exist []string) {
	for _, e := range events {
		remove := func(list []string) []string {
			return slices.DeleteFunc(list, func(id string) bool { return id == e.Instance })
		}
		switch e.Kind {
		case drivers.Started:
			if !slices.Contains(exist, e.Instance) {
				exist = append(exist, e.Instance)
			}
		case drivers.Ready:
			ready = append(remove(ready), e.Instance)
		case drivers.Unready:
			ready = remove(ready)
		case drivers.Gone:
			ready, exist = remove(ready), remove(exist)
		}
	}
	return ready, exist
}

// life is what events have told of one instance.
type life struct {
	revision                string
	ready, terminates, gone bool
}

// next takes an event in, and says what is wrong with it, "" when nothing is.
func (l *life) next(e drivers.Event) (wrong string) {
	switch {
	case e.Instance == "" || e.Revision == "":
		return "it names no instance or no revision"
	case e.Revision != l.revision:
		return "the instance was of revision " + l.revision
	case l.gone:
		return "the instance was gone"
	}
	set := func(state *bool, to bool, is string) string {
		if *state == to {
			return is
		}
		*state = to
		return ""
	}
	switch e.Kind {
	case drivers.Started:
		if e.Addr == "" {
			return "no address"
		}
		return ""
	case drivers.Ready:
		return set(&l.ready, true, "it was ready")
	case drivers.Unready:
		return set(&l.ready, false, "it was not ready")
	case drivers.Terminating:
		return set(&l.terminates, true, "it was terminating")
	case drivers.Gone:
		return set(&l.gone, true, "it was gone")
	}
	return "unknown kind"
}

// possible checks that events tell a story that can have happened, and one that has come
// to its end if ended is set.
func possible(events []drivers.Event, ended bool) error {
	lives := map[string]*life{}
	for n, e := range events {
		if wrong := outOfPlace(events, n); wrong != "" {
			return fmt.Errorf("event %d (%s of %s): %s", n, e.Kind, e.Instance, wrong)
		}
		l := lives[e.Instance]
		if l == nil && e.Kind == drivers.Started {
			l = &life{revision: e.Revision}
			lives[e.Instance] = l
		}
		wrong := "the instance was never started"
		if l != nil {
			wrong = l.next(e)
		}
		if wrong != "" {
			return fmt.Errorf("event %d (%s of %s): %s", n, e.Kind, e.Instance, wrong)
		}
	}
	for id, l := range lives {
		if ended && !l.gone {
			return fmt.Errorf("instance %s is not gone at the end", id)
		}
	}
	return nil
}

// outOfPlace says what is wrong with an event whichever instance it is of, "" when nothing
// is.
func outOfPlace(events []drivers.Event, n int) string {
	switch e := events[n]; {
	case e.At.IsZero():
		return "no time"
	case n > 0 && e.At.Before(events[n-1].At):
		return "before its predecessor"
	case e.Kind == drivers.Lost:
		return "the driver lost events, though nothing was done to its source"
	}
	return ""
}

// story prints events for people.
func story(events []drivers.Event) string {
	var out strings.Builder
	for _, e := range events {
		fmt.Fprintf(&out, "  %8.3fs %-11s %s %s %s\n", e.At.Sub(events[0].At).Seconds(), e.Kind, e.Instance, e.Revision, e.Detail)
	}
	return "events:\n" + out.String()
}
