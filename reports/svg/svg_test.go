package svg

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestString(t *testing.T) {
	im := Image{Class: "c", Label: "what it shows", Width: 100, Height: 50.25, Attrs: []Attr{{"data-x", "1"}}, Shapes: []Shape{
		Raw("<style>b{}</style>"),
		Rect{Class: "r", X: 1, Y: 2.04, Width: -3, Height: 4, Radius: 6},
		Path{Class: "p", Steps: append([]Step{Move(1, 2), Across(3.55), Down(4)}, Box(0, 0, 2, 3)...)},
		Group{Class: "g", Title: "t", Shapes: []Shape{Circle{Class: "dot", X: 1, Y: 2, R: 4.2}}},
		Text{Class: "t", Anchor: "end", X: 5, Y: 6, Text: "+1 s", Attrs: []Attr{{"data-y", "2"}}},
	}}
	const body = `<style>b{}</style>
<rect class="r" x="1" y="2" width="0" height="4" rx="6"/>
<path class="p" d="M1 2H3.5V4M0 0h2v3h-2z"/>
<g class="g"><title>t</title><circle class="dot" cx="1" cy="2" r="4.2"></circle>
</g>
<text class="t" x="5" y="6" text-anchor="end" data-y="2">+1 s</text>
</svg>
`
	want := `<svg class="c" viewBox="0 0 100 50.2" role="img" aria-label="what it shows" data-x="1">` + "\n" + body
	if got := im.String(); got != want {
		t.Errorf("in a page: got\n%s\nwant\n%s", got, want)
	}
	im.File = true
	want = `<svg xmlns="http://www.w3.org/2000/svg" class="c" width="100" height="50.2" viewBox="0 0 100 50.2" role="img" aria-label="what it shows" data-x="1">` + "\n" + body
	if got := im.String(); got != want {
		t.Errorf("as a file: got\n%s\nwant\n%s", got, want)
	}
}

func TestForeignTextStaysText(t *testing.T) {
	const enemy = "\"'><script>alert(1)</script>]]>&amp;\x00\x1b\xff\n"
	got := Image{Label: enemy, Attrs: []Attr{{"data-x", enemy}}, Shapes: []Shape{
		Text{Text: enemy}, Circle{Title: enemy}, Group{Title: enemy},
	}}.String()
	if strings.Contains(got, "<script") || strings.ContainsAny(got, "\x00\x1b") || !utf8.ValidString(got) {
		t.Errorf("markup or a control character got through: %q", got)
	}
	dec := xml.NewDecoder(strings.NewReader(got))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not XML: %v in %s", err, got)
		}
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 10: "10", 1.05: "1.1", 1.04: "1", -2.5: "-2.5", 1e6: "1000000"} {
		if got := Number(f); got != want {
			t.Errorf("Number(%v): got %s, want %s", f, got, want)
		}
	}
}
