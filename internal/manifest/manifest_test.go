package manifest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocuments(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string // first line and text
	}{
		{"one", "a: b", []string{"0 a: b\n"}},
		{"nothing", "\n# a comment\n---\n...\n", nil},
		{"two", "a: b\n---\nc: d\n", []string{"0 a: b\n", "1    \nc: d\n\n"}},
		{"behind an empty one", "---\n---\n# a comment\n---\na: b", []string{"3    \na: b\n"}},
		{"comments on the mark", "--- # one\na: b\n--- # two\nc: d", []string{"0     # one\na: b\n", "2     # two\nc: d\n"}},
		{"content on the mark", "--- a\n---\nb", []string{"0     a\n", "1    \nb\n"}},
		{"an end", "a: b\n...\nc: d", []string{"0 a: b\n", "1 \nc: d\n"}},
		{"no mark", "a: |\n  ---\n---- c: d\n", []string{"0 a: |\n  ---\n---- c: d\n\n"}},
		{"a directive", "%YAML 1.2\n---\na: b", []string{"1    \na: b\n"}},
		{"of Windows", "\ufeffa: b\r\n---\r\nc: d\r\n", []string{"0 a: b\n", "1    \nc: d\n\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, d := range Documents(tt.text) {
				got = append(got, fmt.Sprintf("%d %s", d.First, d.Text()))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := Documents("a: b\n---\nc: d")[1].TextInPlace(); got != "\n   \nc: d\n" {
		t.Errorf("in place it is %q", got)
	}
}
