// Package svg holds vector images as values: shapes with their coordinates as numbers.
// Image.String is the only place where they become text: it rounds the numbers and escapes
// the words. The package knows nothing of what is drawn.
package svg

import (
	"encoding/xml"
	"math"
	"strconv"
	"strings"
)

// Image is a whole image. Its shapes are painted in their order.
type Image struct {
	Class         string
	Label         string // what it shows, for those who cannot see it
	Width, Height float64
	Attrs         []Attr
	File          bool // it is a file of its own, and not a part of a page
	Shapes        []Shape
}

// Attr is an attribute whose name is the program's own; its value may be anybody's.
type Attr struct{ Name, Value string }

// Shape is something that can be painted: Path, Rect, Circle, Text, Group or Raw.
type Shape interface{ write(w *writer) }

// Rect is a rectangle, with round corners where Radius is not 0. A width below 0 is 0.
type Rect struct {
	Class                       string
	X, Y, Width, Height, Radius float64
}

// Circle is a circle; a pointer that rests on it is told its title.
type Circle struct {
	Class   string
	X, Y, R float64
	Title   string
}

// Text is one line of text; X is where its Anchor is: "start", "middle" or "end".
type Text struct {
	Class, Anchor string
	X, Y          float64
	Text          string
	Attrs         []Attr
}

// Group keeps shapes together; a pointer that rests on one of them is told its title.
type Group struct {
	Class, Title string
	Shapes       []Shape
}

// Raw is markup of the program's own, such as a style sheet. It is not escaped.
type Raw string

// Path is lines and areas in one style.
type Path struct {
	Class string
	Steps []Step
}

// Step is one movement of a path's pen.
type Step struct {
	op   byte
	x, y float64
}

// Move lifts the pen and sets it down at a point.
func Move(x, y float64) Step { return Step{'M', x, y} }

// Across draws a horizontal line to x.
func Across(x float64) Step { return Step{op: 'H', x: x} }

// Down draws a vertical line to y.
func Down(y float64) Step { return Step{op: 'V', y: y} }

// Close draws a line to where the line began.
func Close() Step { return Step{op: 'z'} }

// Box is a rectangle as a part of a path.
func Box(x, y, width, height float64) []Step {
	return []Step{Move(x, y), {op: 'h', x: width}, {op: 'v', y: height}, {op: 'h', x: -width}, Close()}
}

// String is the image's markup, fit for a file and for a page.
func (im Image) String() string {
	var w writer
	w.WriteString("<svg")
	if im.File {
		w.attr("xmlns", "http://www.w3.org/2000/svg")
	}
	w.attr("class", im.Class)
	if im.File {
		w.attr("width", Number(im.Width))
		w.attr("height", Number(im.Height))
	}
	w.attr("viewBox", "0 0 "+Number(im.Width)+" "+Number(im.Height))
	w.attr("role", "img")
	w.attr("aria-label", im.Label)
	w.attrs(im.Attrs)
	w.WriteString(">\n")
	w.shapes(im.Shapes)
	w.WriteString("</svg>\n")
	return w.String()
}

func (r Rect) write(w *writer) {
	w.WriteString("<rect")
	w.attr("class", r.Class)
	w.point("x", "y", r.X, r.Y)
	w.point("width", "height", math.Max(r.Width, 0), r.Height)
	if r.Radius != 0 {
		w.attr("rx", Number(r.Radius))
	}
	w.WriteString("/>")
}

func (c Circle) write(w *writer) {
	w.WriteString("<circle")
	w.attr("class", c.Class)
	w.point("cx", "cy", c.X, c.Y)
	w.attr("r", Number(c.R))
	w.WriteString(">")
	w.title(c.Title)
	w.WriteString("</circle>")
}

func (t Text) write(w *writer) {
	w.WriteString("<text")
	w.attr("class", t.Class)
	w.point("x", "y", t.X, t.Y)
	w.attr("text-anchor", t.Anchor)
	w.attrs(t.Attrs)
	w.WriteString(">")
	w.escaped(t.Text)
	w.WriteString("</text>")
}

func (g Group) write(w *writer) {
	w.WriteString("<g")
	w.attr("class", g.Class)
	w.WriteString(">")
	w.title(g.Title)
	w.shapes(g.Shapes)
	w.WriteString("</g>")
}

func (r Raw) write(w *writer) { w.WriteString(string(r)) }

func (p Path) write(w *writer) {
	if len(p.Steps) == 0 {
		return
	}
	w.WriteString("<path")
	w.attr("class", p.Class)
	w.WriteString(` d="`)
	for _, s := range p.Steps {
		w.WriteByte(s.op)
		switch s.op {
		case 'M':
			w.WriteString(Number(s.x) + " " + Number(s.y))
		case 'H', 'h':
			w.WriteString(Number(s.x))
		case 'V', 'v':
			w.WriteString(Number(s.y))
		}
	}
	w.WriteString(`"/>`)
}

// writer collects markup.
type writer struct{ strings.Builder }

func (w *writer) shapes(shapes []Shape) {
	for _, s := range shapes {
		s.write(w)
		w.WriteByte('\n')
	}
}

func (w *writer) attrs(attrs []Attr) {
	for _, a := range attrs {
		w.attr(a.Name, a.Value)
	}
}

func (w *writer) attr(name, value string) {
	w.WriteString(" " + name + `="`)
	w.escaped(value)
	w.WriteByte('"')
}

func (w *writer) point(nameX, nameY string, x, y float64) {
	w.attr(nameX, Number(x))
	w.attr(nameY, Number(y))
}

func (w *writer) title(s string) {
	if s != "" {
		w.WriteString("<title>")
		w.escaped(s)
		w.WriteString("</title>")
	}
}

// escaped writes text from outside: it ends no attribute and no element, and what XML
// forbids becomes U+FFFD.
func (w *writer) escaped(s string) {
	// A strings.Builder takes everything, so there is no error.
	_ = xml.EscapeText(w, []byte(s))
}

// Number is a coordinate as it is written: to a tenth of a pixel.
func Number(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}
