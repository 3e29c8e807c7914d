package lint

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// parseJSON reads a document of JSON, which YAML is a superset of, in a fraction of the time.
// It is not ok when it is no JSON.
func (s *source) parseJSON(d document) (root *node, ok bool) {
	text := strings.Join(d.lines, "\n")
	r := &jsonReader{source: s, text: text, line: d.first + 1, column: 1}
	r.decoder = json.NewDecoder(strings.NewReader(text))
	r.decoder.UseNumber()
	root, ok = r.value(0)
	if ok && len(s.problems) == 0 && strings.TrimSpace(text[r.decoder.InputOffset():]) != "" {
		return nil, false
	}
	if len(s.problems) > 0 {
		return nil, true
	}
	return root, ok
}

type jsonReader struct {
	source       *source
	text         string
	decoder      *json.Decoder
	offset       int // that line and column are of
	line, column int
}

// token is the next token, and a node at its place; false when there is none.
func (r *jsonReader) token() (json.Token, *node, bool) {
	start := int(r.decoder.InputOffset())
	for start < len(r.text) && strings.IndexByte(" \t\n\r,:", r.text[start]) >= 0 {
		start++
	}
	before := r.text[r.offset:start]
	if newline := strings.LastIndexByte(before, '\n'); newline >= 0 {
		r.line += strings.Count(before, "\n")
		r.column, before = 1, before[newline+1:]
	}
	r.column += utf8.RuneCountInString(before)
	r.offset = start
	n := &node{line: r.line, column: r.column}
	t, err := r.decoder.Token()
	return t, n, err == nil
}

func (r *jsonReader) value(depth int) (*node, bool) {
	t, n, ok := r.token()
	if !ok {
		return nil, false
	}
	if depth > maxNesting {
		r.source.problem(n.line, n.column, "", "nested deeper than %d levels", maxNesting)
		return nil, false
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			n.kind = mapping
			return n, r.fields(n, depth)
		}
		n.kind = sequence
		for r.decoder.More() {
			item, ok := r.value(depth + 1)
			if !ok {
				return nil, false
			}
			n.items = append(n.items, item)
		}
		_, _, ok := r.token()
		return n, ok
	case string:
		n.kind, n.value, n.quoted = scalar, t, true
	case json.Number:
		n.kind, n.value = scalar, t.String()
	case bool:
		n.kind, n.value = scalar, "false"
		if t {
			n.value = "true"
		}
	}
	return n, true
}

// fields reads those of an object, but for what the cluster adds to one, see pruned.
func (r *jsonReader) fields(n *node, depth int) bool {
	isObject := false
	for r.decoder.More() {
		t, key, ok := r.token()
		name, isText := t.(string)
		if !ok || !isText {
			return false
		}
		isObject = isObject || name == "apiVersion"
		if name == "managedFields" || isObject && name == "status" {
			if !r.skip() {
				return false
			}
			continue
		}
		for _, f := range n.fields {
			if f.key == name {
				r.source.problem(key.line, key.column, "remove one of them", "key %s is here twice", show(name))
				return false
			}
		}
		value, ok := r.value(depth + 1)
		if !ok {
			return false
		}
		value.line, value.column = key.line, key.column
		n.fields = append(n.fields, field{name, value})
	}
	_, _, ok := r.token()
	return ok
}

// skip passes over a value.
func (r *jsonReader) skip() bool {
	for depth := 0; ; {
		t, err := r.decoder.Token()
		if err != nil {
			return false
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return true
		}
	}
}
