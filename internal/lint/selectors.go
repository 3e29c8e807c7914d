package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// selector is a LabelSelector.
type selector struct {
	labels  map[string]string
	clauses []clause // matchExpressions
	at      place
}

type clause struct {
	key, operator string
	values        []string
}

// readSelector reads a LabelSelector; nil when there is none.
func readSelector(s *source, n *node, key string) *selector {
	from := s.sub(n, key)
	if from == nil {
		return nil
	}
	out := &selector{labels: s.labels(s.sub(from, "matchLabels")), at: s.place(from)}
	for _, e := range s.list(from, "matchExpressions", true) {
		c := clause{key: s.text(e, "key"), operator: s.text(e, "operator")}
		for _, v := range s.list(e, "values", false) {
			c.values = append(c.values, v.value)
		}
		out.clauses = append(out.clauses, c)
	}
	return out
}

// matches reports whether it selects pods with the labels. An empty one is taken to
// select none: which it does depends on whose it is.
func (l *selector) matches(labels map[string]string) bool {
	if l == nil || len(l.labels) == 0 && len(l.clauses) == 0 {
		return false
	}
	if len(l.labels) > 0 && !selects(l.labels, labels) {
		return false
	}
	for _, c := range l.clauses {
		value, has := labels[c.key]
		ok := true
		switch c.operator {
		case "In":
			ok = has && slices.Contains(c.values, value)
		case "NotIn":
			ok = !has || !slices.Contains(c.values, value)
		case "Exists":
			ok = has
		case "DoesNotExist":
			ok = !has
		}
		if !ok {
			return false
		}
	}
	return true
}

// sameName reports whether an object bears the name of the workload, endings that tell its
// kind left out.
func (w *workload) sameName(name string) bool {
	for _, end := range []string{"-pdb", "-svc", "-service", "-budget"} {
		name = strings.TrimSuffix(name, end)
	}
	return name == w.name && name != ""
}

// missedBy reports whether labels that are wanted miss those of the pods by a word that
// looks mistyped.
func (w *workload) missedBy(wanted map[string]string) bool {
	missed := 0
	for key, value := range wanted {
		got, has := w.labels[key]
		switch {
		case has && got == value:
		case has && mistyped(value, got), !has && underAnotherKey(value, wanted, w.labels):
			missed++
		default:
			return false
		}
	}
	return missed == 1
}

func underAnotherKey(value string, wanted, labels map[string]string) bool {
	for key, got := range labels {
		if _, also := wanted[key]; !also && got == value {
			return true
		}
	}
	return false
}

// mistyped reports whether two words differ by a letter or two. Numbers do not count:
// v1 is not v2 mistyped.
func mistyped(a, b string) bool {
	if len(a) < 3 || len(b) < 3 || strings.Trim(a, "0123456789.") != a && strings.ContainsAny(b, "0123456789") {
		return false
	}
	return distance(a, b) <= min(2, len(a)/3)
}

// distance is how many letters have to be put in, taken out or changed (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		last := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := last
			if a[i-1] != b[j-1] {
				cost++
			}
			last, row[j] = row[j], min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// labelText writes labels as a manifest does.
func labelText(labels map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, fmt.Sprintf("%s: %s", key, labels[key]))
	}
	return "{" + strings.Join(out, ", ") + "}"
}
