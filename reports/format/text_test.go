package format

import (
	"slices"
	"testing"
)

func TestFoldKeepsUnitsWithTheirNumbers(t *testing.T) {
	const text = "it lost 8,832 of 90,000 requests in 8.84 s, or 1 min 2 s, 99.9 % of 5 samples"
	for width, want := range map[int][]string{
		200: {text},
		20:  {"it lost 8,832 of", "90,000 requests in", "8.84 s, or 1 min", "2 s, 99.9 % of 5", "samples"},
		4:   {"it", "lost", "8,832", "of", "90,000", "requests", "in", "8.84 s,", "or", "1 min", "2 s,", "99.9 %", "of 5", "samples"},
	} {
		if got := Fold(text, width); !slices.Equal(got, want) {
			t.Errorf("width %d: got %q, want %q", width, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":         "plain",
		"a\tb\nc":       "a b c",
		"\x1b[31m\x00":  "\ufffd[31m\ufffd",
		"\u202eabc\xff": "\ufffdabc\ufffd",
		"\x7f\u0085":    "\ufffd\ufffd",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q): got %q, want %q", in, got, want)
		}
	}
	if got, want := CleanLines("a\tb\n\x1bc"), "a b\n\ufffdc"; got != want {
		t.Errorf("CleanLines: got %q, want %q", got, want)
	}
}
