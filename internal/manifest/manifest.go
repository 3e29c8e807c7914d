// Package manifest splits files of YAML into their documents. All that reads Kubernetes
// manifests in this tree does it here, so that no two of them see different objects in one
// file. It parses nothing.
package manifest

import "strings"

// Document is the part of a file between two document marks.
type Document struct {
	First int      // lines of the file before it
	Lines []string // its own, without the mark
}

// Documents are those of a text that hold something: not comments alone. A parser that is
// given several at once takes what follows an empty one for a part of it.
func Documents(text string) []Document {
	return Split(strings.Split(strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff"), "\n"))
}

// Split is Documents of a text in lines. A mark at the start of a line ends a document
// whatever stands before, so that no parser is needed to find it.
func Split(lines []string) []Document {
	var out []Document
	current := Document{}
	keep := func() {
		if !current.blank() {
			out = append(out, current)
		}
	}
	for i, line := range lines {
		rest, mark := strings.CutPrefix(line, "---")
		end := line == "..." || strings.HasPrefix(line, "... ")
		if (mark && (rest == "" || rest[0] == ' ' || rest[0] == '\t')) || end {
			keep()
			current = Document{First: i}
			line = "   " + rest
			if end {
				line = ""
			}
		}
		if strings.HasPrefix(line, "%") && current.blank() {
			line = "" // a directive
		}
		current.Lines = append(current.Lines, line)
	}
	keep()
	return out
}

// blank reports whether there is nothing but comments.
func (d Document) blank() bool {
	for _, line := range d.Lines {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// Text is the document alone.
func (d Document) Text() string { return strings.Join(d.Lines, "\n") + "\n" }

// TextInPlace is the document with as many empty lines before it as the file has lines, so
// that a parser counts lines as the file does.
func (d Document) TextInPlace() string { return strings.Repeat("\n", d.First) + d.Text() }
