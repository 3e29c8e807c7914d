package record

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	m := NewMask("secret", "secret-of-two", "", "secret").With(`q"<`, "a-long-one-indeed")
	for in, want := range map[string]string{
		"":                            "",
		"nothing":                     "nothing",
		"a secret.":                   "a ***.",
		"secret-of-two and secret":    "*** and ***",
		`q"<`:                         "***",
		"cut: a-long-one-i":           "cut: ***",
		"cut too short to tell: a-lo": "cut too short to tell: a-lo",
		"secretsecret":                "******",
	} {
		if got := m.Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	var out strings.Builder
	w := m.Writer(&out)
	const text = "a secret and \"q\\\"\\u003c\"\n"
	if n, err := w.Write([]byte(text)); n != len(text) || err != nil || out.String() != "a *** and \"***\"\n" {
		t.Errorf("wrote %d, %v: %q", n, err, out.String())
	}
	var none *Mask
	if none.Text("secret") != "secret" || none.With("secret").Text("secret") != Masked || NewMask().Writer(&out) != &out {
		t.Error("no mask masks, or none can be added to")
	}
}
