package metric

import (
	"regexp"
	"strings"
	"testing"
)

// A row with a hole in it would be a number that nobody can read, or a gate on a number
// that results.json has under another name.
func TestEveryRowIsComplete(t *testing.T) {
	names, keys := map[string]bool{}, map[string]bool{}
	for _, m := range All() {
		if names[m.Name] || keys[m.Key] {
			t.Errorf("%s, in results.json %s: there twice", m.Name, m.Key)
		}
		names[m.Name], keys[m.Key] = true, true
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(m.Name) {
			t.Errorf("%q is no name", m.Name)
		}
		if m.Words == "" || m.Unit == "" || m.Better == "" || m.Pooling == "" || m.About == "" || m.None == "" {
			t.Errorf("%s: something is missing: %+v", m.Name, m)
		}
		if strings.HasSuffix(m.About, ".") || (m.Remark != "" && !strings.HasSuffix(m.Remark, ".")) {
			t.Errorf("%s: the definition is a clause, the remark is sentences: %q, %q", m.Name, m.About, m.Remark)
		}
		if ms := strings.Contains(m.Key, "_ms"); ms != (m.Unit == Duration) {
			t.Errorf("%s: its key in results.json is %q, its unit %s", m.Name, m.Key, m.Unit)
		}
		if got, ok := ByName(m.Name); !ok || got != m {
			t.Errorf("%s is found as %+v", m.Name, got)
		}
	}
	if _, ok := ByName("uptime"); ok {
		t.Error("a metric was found that is not in the table")
	}
}
