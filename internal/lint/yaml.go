package lint

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a document. The parser recurses, and takes time that grows with the square
// of a mapping's entries; aliases multiply what they stand for.
const (
	maxTokens  = 60_000                    // of a document
	maxCost    = 3 * maxTokens * maxTokens // of a file: the squares of its documents' tokens
	maxNesting = 60
	maxNodes   = 100_000 // of a document, aliases written out
	maxLine    = 1 << 20
)

type kind int

const (
	null kind = iota
	scalar
	mapping
	sequence
)

func (k kind) String() string {
	return [...]string{"nothing", "a value", "a mapping", "a list"}[k]
}

// node is a YAML node reduced to what the rules need. Its position is that of its key,
// where it has one.
type node struct {
	kind         kind
	quoted       bool // a scalar that is text, whatever it looks like
	unknown      bool // a compose value with a variable that has no default
	line, column int
	file         string // of a compose node, for it may be merged into another file's
	tag          string // !reset or !override
	written      string // the value before variables were filled in
	value        string
	fields       []field
	items        []*node
}

type field struct {
	key   string
	value *node
}

// get follows keys down; nil where one is absent or empty.
func (n *node) get(path ...string) *node {
	for _, key := range path {
		if n == nil {
			return nil
		}
		var next *node
		for _, f := range n.fields {
			if f.key == key && f.value.kind != null {
				next = f.value
			}
		}
		n = next
	}
	return n
}

// varies reports whether a value depends on a variable without a default.
func (n *node) varies(key string) bool {
	v := n.get(key)
	return v != nil && v.unknown
}

// templated finds what a template engine was to fill in.
var templated = regexp.MustCompile(`(?:^\s*|:\s+|-\s+)(?:\{\{|\{%)`)

// parse reads a document; nil when that failed, and the problems say why. The usual
// reason is that it is no manifest yet but a template of one.
func (s *source) parse(d document) *node {
	if d.json() {
		if root, ok := s.parseJSON(d); ok {
			return root
		}
	}
	root := s.parseYAML(d)
	if len(s.problems) == 0 {
		return root
	}
	for i, line := range d.lines {
		if mark := templated.FindStringIndex(line); mark != nil {
			s.problems = nil
			if s.found {
				s.skip(d.first+i+1, "template", renderHint, false)
				break
			}
			s.problem(d.first+i+1, utf8.RuneCountInString(line[:mark[1]-2])+1, renderHint, "a template, not a manifest")
			break
		}
	}
	return nil
}

func (s *source) parseYAML(d document) (root *node) {
	at := func(tk *token.Token) (int, int) {
		if tk == nil || tk.Position == nil {
			return d.first + 1, 1
		}
		return d.first + tk.Position.Line, max(tk.Position.Column, 1)
	}
	// The parser is somebody else's and the text a stranger's: should it panic, the
	// file is refused.
	defer func() {
		if r := recover(); r != nil {
			s.problem(d.first+1, 1, "simplify the file", "the YAML parser gave up: %v", r)
			root = nil
		}
	}()
	for i, line := range d.lines {
		if len(line) > maxLine {
			s.problem(d.first+i+1, 1, "", "the line has more than %d bytes", maxLine)
			return nil
		}
	}
	tokens := lexer.Tokenize(strings.Join(d.lines, "\n") + "\n")
	if !s.bounded(tokens, at) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, column := d.first+1, 1
		message := err.Error()
		var where yaml.Error
		if errors.As(err, &where) {
			message = where.GetMessage()
			line, column = at(where.GetToken())
		}
		message, _, _ = strings.Cut(message, "\n")
		s.problem(line, column, "check the indentation; quote text that holds a colon, braces or a hash sign", "not valid YAML: %s", show(message))
		return nil
	}
	c := &converter{source: s, at: at, anchors: map[string]ast.Node{}, open: map[string]bool{}}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			line, column := at(doc.Body.GetToken())
			s.problem(line, column, "", "a second document without a --- line")
			return nil
		}
		root = c.convert(doc.Body, 0)
	}
	if len(s.problems) > 0 {
		return nil
	}
	return root
}

// bounded reports whether the parser, which recurses, may be given the tokens.
func (s *source) bounded(tokens token.Tokens, at func(*token.Token) (int, int)) bool {
	if len(tokens) > maxTokens {
		s.problem(0, 0, "name the files of the workloads alone", "too long to be parsed: more than %d words and signs in a document", maxTokens)
		return false
	}
	if s.cost != nil && s.cost.Add(int64(len(tokens))*int64(len(tokens))) > maxCost {
		s.problem(0, 0, "name the files of the workloads alone", "too long to be parsed")
		return false
	}
	depth, line, onLine, deepest := 0, 0, 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, onLine = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			onLine++
		}
		deepest = max(deepest, depth, onLine)
		if deepest > maxNesting {
			l, c := at(tk)
			s.problem(l, c, "", "nested deeper than %d levels", maxNesting)
			return false
		}
	}
	return true
}

// converter turns the parser's tree into nodes, aliases and merges written out.
type converter struct {
	source  *source
	at      func(*token.Token) (int, int)
	anchors map[string]ast.Node
	open    map[string]bool // aliases that are being written out
	nodes   int
}

func (c *converter) problem(n ast.Node, hint, format string, args ...any) {
	line, column := c.at(n.GetToken())
	c.source.problem(line, column, hint, format, args...)
}

func (c *converter) convert(from ast.Node, depth int) *node {
	if len(c.source.problems) > 0 {
		return nil // the first one tells enough, and the rest may be unbounded
	}
	n := &node{}
	n.line, n.column = c.at(from.GetToken())
	c.nodes++
	switch {
	case depth > maxNesting:
		c.problem(from, "", "nested deeper than %d levels", maxNesting)
		return nil
	case c.nodes > maxNodes:
		c.problem(from, "", "more than %d values once its aliases are written out", maxNodes)
		return nil
	}
	switch from := from.(type) {
	case *ast.NullNode:
	case *ast.StringNode:
		n.kind, n.value = scalar, from.Value
		n.quoted = from.Token.Type == token.SingleQuoteType || from.Token.Type == token.DoubleQuoteType
	case *ast.LiteralNode:
		n.kind, n.value, n.quoted = scalar, from.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.value = scalar, from.GetToken().Value
	case *ast.MappingNode:
		n.kind = mapping
		if len(from.Values) > 0 && !from.IsFlowStyle {
			n.line, n.column = c.at(from.Values[0].Key.GetToken())
		}
		c.addFields(n, from.Values, depth)
	case *ast.MappingValueNode:
		n.kind = mapping
		n.line, n.column = c.at(from.Key.GetToken())
		c.addFields(n, []*ast.MappingValueNode{from}, depth)
	case *ast.SequenceNode:
		n.kind = sequence
		for _, v := range from.Values {
			item := c.convert(v, depth+1)
			if item == nil {
				return nil
			}
			n.items = append(n.items, item)
		}
	case *ast.AnchorNode:
		if from.Value == nil {
			return n
		}
		name := from.Name.GetToken().Value
		c.anchors[name] = from.Value
		c.open[name] = true
		defer delete(c.open, name)
		return c.convert(from.Value, depth+1)
	case *ast.AliasNode:
		name := from.Value.GetToken().Value
		value, known := c.anchors[name]
		if !known || c.open[name] {
			c.problem(from, "", "alias %s has no anchor before it", show(name))
			return nil
		}
		c.open[name] = true
		defer delete(c.open, name)
		return c.convert(value, depth+1)
	case *ast.TagNode:
		if from.Value == nil {
			return n
		}
		tag := from.GetToken().Value
		if tag == "!reset" { // of a compose file: it takes away what another file says
			n.tag = tag
			return n
		}
		inner := c.convert(from.Value, depth+1)
		if inner != nil && tag == "!!str" {
			inner.quoted = true
		}
		if inner != nil && tag == "!override" {
			inner.tag = tag
		}
		return inner
	default:
		c.problem(from, "", "not supported here: %s", strings.ToLower(from.Type().String()))
		return nil
	}
	return n
}

func (c *converter) addFields(n *node, values []*ast.MappingValueNode, depth int) {
	seen := map[string]bool{}
	var merged []field
	for _, v := range values {
		var value *node
		if v.Value != nil {
			if value = c.convert(v.Value, depth+1); value == nil {
				return
			}
		} else {
			value = &node{}
		}
		if v.Key.IsMergeKey() {
			sources := []*node{value}
			if value.kind == sequence {
				sources = value.items
			}
			for _, from := range sources {
				if from.kind != mapping {
					c.problem(v.Key, "", "<< wants a mapping")
					return
				}
				merged = append(merged, from.fields...)
			}
			continue
		}
		key, ok := v.Key.(ast.ScalarNode)
		if !ok {
			c.problem(v.Key, "", "a key must be plain text")
			return
		}
		name := key.GetToken().Value
		if seen[name] {
			c.problem(v.Key, "remove one of them", "key %s is here twice", show(name))
			return
		}
		seen[name] = true
		value.line, value.column = c.at(v.Key.GetToken())
		n.fields = append(n.fields, field{name, value})
	}
	for _, f := range merged {
		if !seen[f.key] {
			seen[f.key] = true
			n.fields = append(n.fields, f)
		}
	}
}

// The accessors below return a default where a value is absent. A value of the wrong
// form is a problem: what cannot be read is not judged.

func (s *source) wrong(n *node, want string) {
	s.problem(n.line, n.column, "", "want %s, not %s", want, n.describe())
	s.problems[len(s.problems)-1].File = cmp.Or(n.file, s.name)
}

func (n *node) describe() string {
	if n.kind == scalar {
		return show(n.value)
	}
	return n.kind.String()
}

func (s *source) text(n *node, key string) string {
	v := n.get(key)
	switch {
	case v == nil || v.unknown:
		return ""
	case v.kind != scalar:
		s.wrong(v, key+" as text")
		return ""
	}
	return v.value
}

func (s *source) number(n *node, key string, otherwise int) int {
	v := n.get(key)
	if v == nil || v.unknown {
		return otherwise
	}
	i, err := strconv.Atoi(strings.ReplaceAll(v.value, "_", ""))
	if v.kind != scalar || err != nil || i > math.MaxInt32 || i < math.MinInt32 {
		s.wrong(v, key+" as a whole number")
		return otherwise
	}
	return i
}

func (s *source) boolean(n *node, key string) bool {
	v := n.get(key)
	if v == nil || v.unknown {
		return false
	}
	switch strings.ToLower(v.value) {
	case "true", "yes", "on":
		return true
	case "false", "no", "off":
		return false
	}
	s.wrong(v, key+" as true or false")
	return false
}

func (s *source) duration(n *node, key string, otherwise time.Duration) time.Duration {
	v := n.get(key)
	if v == nil || v.unknown {
		return otherwise
	}
	if v.value == "0" {
		return 0
	}
	d, err := time.ParseDuration(v.value)
	if v.kind != scalar || err != nil || d < 0 {
		s.wrong(v, key+" as a duration such as 5s")
		return otherwise
	}
	return d
}

// list is the items below a key, which must be mappings when maps says so.
func (s *source) list(n *node, key string, maps bool) []*node {
	v := n.get(key)
	if v == nil {
		return nil
	}
	if v.kind != sequence {
		s.wrong(v, key+" as a list")
		return nil
	}
	var out []*node
	for _, item := range v.items {
		if maps && item.kind != mapping {
			s.wrong(item, fmt.Sprintf("in %s a mapping", key))
			return nil
		}
		out = append(out, item)
	}
	return out
}

// sub is the mapping below a key, or nil.
func (s *source) sub(n *node, key string) *node {
	v := n.get(key)
	if v != nil && v.kind != mapping {
		s.wrong(v, key+" as a mapping")
		return nil
	}
	return v
}
