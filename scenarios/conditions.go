package scenarios

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Conditions are what everything in the scenario is measured under, by its key, load.rate: what
// trials that are held against each other must have alike. What is under test is none of it: the
// program and where it is, how it is deployed and told of its stop by a design. Nor is how often
// it is measured, and what is asked of the result.
func (s *Scenario) Conditions() map[string]string {
	of := *s
	of.Name, of.Suite, of.About, of.Vars, of.Trials = "", "", "", nil, record.TrialRange{}
	of.Designs, of.Gates, of.PositiveControls = nil, nil, nil
	of.Target.URL, of.Target.Workload, of.Target.On = "", Workload{}, nil
	w := &writer{found: s.Target.found()}
	w.fields(0, reflect.ValueOf(&of).Elem(), reflect.Value{})

	all := map[string]string{}
	if root := newDecoder("conditions", Options{}, nil).tree([]byte(s.masked(w.String()))); root != nil {
		root.leaves("", all)
	}
	delete(all, "about")
	delete(all, "deploy_timeout") // how long one may take that did not
	if sent := s.sent(); sent != "" {
		all["target.sent"] = sent
	}
	return all
}

// leaves puts down every scalar below a node by its path.
func (n *node) leaves(path string, all map[string]string) {
	switch n.kind {
	case mapping:
		for _, e := range n.fields {
			e.value.leaves(join(path, e.key), all)
		}
	case sequence:
		for i, item := range n.items {
			item.leaves(fmt.Sprintf("%s[%d]", path, i), all)
		}
	default:
		all[path] = n.value
	}
}

// sent is a digest of what is sent from files, "" where nothing is.
func (s *Scenario) sent() string {
	sum, files := sha256.New(), false
	s.writeSent(func(format string, args ...any) {
		files = true
		fmt.Fprintf(sum, format, args...)
	})
	if !files {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// writeSent writes what is sent from files that the scenario names.
func (s *Scenario) writeSent(printf func(format string, args ...any)) {
	if r := s.Target.Request; r != nil && r.BodyFile != "" {
		printf("\x00%d\x00%s", len(r.Sent), r.Sent)
	}
	if s.Target.Requests != nil {
		for _, r := range s.Target.Requests.List {
			printf("\x00%s\x00%v\x00%d\x00%s", r.Label(), r.Header, len(r.Sent), r.Sent)
		}
	}
}

// SHA256 is the hex digest of Source and of what is sent from files that it names: two
// scenarios with the same one ask for the same experiment.
func (s *Scenario) SHA256() string {
	sum := sha256.New()
	io.WriteString(sum, s.Source)
	s.writeSent(func(format string, args ...any) { fmt.Fprintf(sum, format, args...) })
	return hex.EncodeToString(sum.Sum(nil))
}
