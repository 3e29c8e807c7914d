package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/rollout-lab/rollout-lab/internal/manifest"
	"github.com/rollout-lab/rollout-lab/internal/spelling"
)

// Bounds on a file, far above what a scenario needs: past them it is not a scenario,
// and the YAML parser, which recurses, must not be given it.
const (
	maxFile    = 1 << 20 // bytes
	maxLine    = 4096    // bytes
	maxNesting = 20
	// The parser takes time that grows with the square of the entries of a mapping:
	// three minutes for 1 MiB of short ones.
	maxTokens   = 10_000
	maxProblems = 50 // that are reported of one file
)

// kind is what a node is, as written.
type kind int

const (
	null kind = iota
	text
	number
	boolean
	mapping
	sequence
)

func (k kind) String() string {
	return [...]string{"nothing", "text", "a number", "a boolean", "a mapping", "a list"}[k]
}

// node is a YAML node reduced to what scenarios need. Variables are filled in on nodes,
// not on text: whatever a variable holds, it stays inside its scalar.
type node struct {
	kind   kind
	line   int
	column int
	value  string // of a scalar
	filled bool   // a variable was filled in, so kind says nothing about value
	fields []entry
	items  []*node
}

// entry is a key of a mapping and its value.
type entry struct {
	key          string
	line, column int
	value        *node
}

// entry is a key and its value; nil when there is none.
func (n *node) entry(key string) *entry {
	for i := range n.fields {
		if n.fields[i].key == key {
			return &n.fields[i]
		}
	}
	return nil
}

// get is the value of a key; nil when there is none.
func (n *node) get(key string) *node {
	if e := n.entry(key); e != nil {
		return e.value
	}
	return nil
}

// without is a mapping but for some of its keys.
func (n *node) without(keys ...string) *node {
	rest := *n
	rest.fields = slices.DeleteFunc(slices.Clone(n.fields), func(e entry) bool { return slices.Contains(keys, e.key) })
	return &rest
}

// source is a file that is being parsed, and the problems found in it so far.
type source struct {
	file     string
	lines    []string
	problems Errors
}

func (s *source) problem(line, column int, message, hint string) {
	s.problems = append(s.problems, &Error{
		File: s.file, Line: line, Column: column,
		Excerpt: excerpt(s.lines, line, column), Message: message, Hint: hint,
	})
}

// err returns the problems by position, or nil.
func (s *source) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(s.problems, func(a, b *Error) int {
		if a.File != b.File { // the file itself comes before those that it names
			if a.File == s.file || b.File != s.file && a.File < b.File {
				return -1
			}
			return 1
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if more := len(s.problems) - maxProblems; more > 0 {
		return append(s.problems[:maxProblems:maxProblems], &Error{File: s.file, Message: fmt.Sprintf("and %d more problems", more)})
	}
	return s.problems
}

// tree parses the text into a mapping. It returns nil when there is none; the problems
// say why.
func (s *source) tree(data []byte) *node {
	if len(data) > maxFile {
		s.problem(0, 0, fmt.Sprintf("the file has %d bytes, more than a scenario may have (%d)", len(data), maxFile),
			"is this the right file?")
		return nil
	}
	docs, ok := s.documents(data)
	switch {
	case !ok:
		return nil
	case len(docs) == 0 || len(docs) == 1 && docs[0].Body.Type() == ast.NullType:
		s.problem(1, 1, "the file is empty", "begin with: name: my-scenario")
		return nil
	case len(docs) > 1:
		s.problem(manifest.Split(s.lines)[1].First+1, 1, "a second document; a file holds one scenario", "move it to a file of its own")
		return nil
	}
	root := s.convert(docs[0].Body, 0)
	if root == nil {
		return nil
	}
	if root.kind != mapping {
		s.problem(root.line, root.column, "a scenario is a mapping, this is "+root.kind.String(), "begin with: name: my-scenario")
		return nil
	}
	return root
}

// characters reports whether the text is fit for the parser.
func (s *source) characters() bool {
	before := len(s.problems)
	for i, line := range s.lines {
		control := strings.IndexFunc(line, func(r rune) bool {
			return unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
		})
		switch {
		case !utf8.ValidString(line):
			valid := 0
			for valid < len(line) {
				r, size := utf8.DecodeRuneInString(line[valid:])
				if r == utf8.RuneError && size == 1 {
					break
				}
				valid += size
			}
			s.problem(i+1, utf8.RuneCountInString(line[:valid])+1, "the file is not UTF-8 text", "save it as UTF-8")
			return false
		case len(line) > maxLine:
			s.problem(i+1, 1, fmt.Sprintf("the line has %d bytes, more than %d", len(line), maxLine), "is this the right file?")
			return false
		case control >= 0:
			s.problem(i+1, utf8.RuneCountInString(line[:control])+1,
				fmt.Sprintf("control character %+q", []rune(line[control:])[0]), "remove it")
		case strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t") && strings.TrimSpace(line) != "":
			s.problem(i+1, strings.Index(line, "\t")+1, "a tab in the indentation", "indent with spaces")
		}
	}
	return len(s.problems) == before
}

// trees parses the text into the nodes of its documents. The problems say what could not be
// parsed.
func (s *source) trees(data []byte) []*node {
	docs, _ := s.documents(data)
	var out []*node
	for _, doc := range docs {
		if n := s.convert(doc.Body, 0); n != nil && n.kind != null {
			out = append(out, n)
		}
	}
	return out
}

// documents are the documents in the text that have something in them; none when ok is
// false, and the problems say why.
func (s *source) documents(data []byte) (docs []*ast.DocumentNode, ok bool) {
	content := strings.TrimPrefix(strings.ReplaceAll(string(data), "\r\n", "\n"), "\ufeff")
	s.lines = strings.Split(content, "\n")
	if !s.characters() {
		return nil, false
	}
	// The parser is somebody else's and the text is a stranger's: should it panic, the
	// file is refused and the lab goes on.
	defer func() {
		if r := recover(); r != nil {
			s.problem(1, 1, fmt.Sprintf("the YAML parser gave up on the file: %v", r), "simplify the file")
			docs, ok = nil, false
		}
	}()
	for _, part := range manifest.Split(s.lines) {
		tokens := lexer.Tokenize(part.TextInPlace())
		if !s.shallow(tokens) {
			return nil, false
		}
		file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
		if err != nil {
			s.syntaxProblem(err)
			return nil, false
		}
		for _, d := range file.Docs {
			if d.Body != nil {
				docs = append(docs, d)
			}
		}
	}
	return docs, true
}

func (s *source) syntaxProblem(err error) {
	line, column, message := 1, 1, err.Error()
	var at yaml.Error
	if errors.As(err, &at) {
		message = at.GetMessage()
		if tk := at.GetToken(); tk != nil && tk.Position != nil {
			line, column = tk.Position.Line, tk.Position.Column
		}
	}
	message, _, _ = strings.Cut(message, "\n")
	s.problem(line, column, "not valid YAML: "+message, s.syntaxHint(line))
}

// syntaxHint guesses at the usual causes of a syntax error.
func (s *source) syntaxHint(line int) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	flow := strings.ContainsAny(strings.ReplaceAll(s.lines[line-1], "${", ""), "{[")
	switch {
	case flow && strings.Contains(s.lines[line-1], "${"):
		return `within { } and [ ] quote a variable: "${name}"`
	default:
		return "check the indentation, and quote text that holds a colon, braces or a hash sign"
	}
}

// shallow reports whether the nesting is within bounds, before the parser recurses.
func (s *source) shallow(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		at := tokens[maxTokens].Position
		s.problem(at.Line, at.Column, fmt.Sprintf("more than %d words and signs, which no scenario needs", maxTokens), "is this the right file?")
		return false
	}
	depth, line, onLine := 0, 0, 0
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
		if depth > maxNesting || onLine > maxNesting {
			s.problem(tk.Position.Line, tk.Position.Column, fmt.Sprintf("nested deeper than %d levels", maxNesting), "is this the right file?")
			return false
		}
	}
	return true
}

// convert reduces a node of the parser; nil when it cannot be one of a scenario.
func (s *source) convert(from ast.Node, depth int) *node {
	tk := from.GetToken()
	n := &node{line: 1, column: 1}
	if tk != nil && tk.Position != nil {
		n.line, n.column = tk.Position.Line, tk.Position.Column
	}
	if depth > maxNesting {
		s.problem(n.line, n.column, fmt.Sprintf("nested deeper than %d levels", maxNesting), "is this the right file?")
		return nil
	}
	switch from := from.(type) {
	case *ast.NullNode:
		n.kind = null
	case *ast.StringNode:
		n.kind, n.value = text, from.Value
		if tk.Type == token.StringType && decimal.MatchString(n.value) {
			n.kind = number // the parser takes a number that is too large for text
		}
	case *ast.LiteralNode:
		n.kind, n.value = text, from.Value.Value
	case *ast.BoolNode:
		n.kind, n.value = boolean, tk.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.value = number, tk.Value
	case *ast.MappingNode:
		n.kind = mapping
		if len(from.Values) > 0 && !from.IsFlowStyle {
			n.line, n.column = position(from.Values[0].Key)
		}
		s.addFields(n, from.Values, depth)
	case *ast.MappingValueNode:
		n.kind = mapping
		n.line, n.column = position(from.Key)
		s.addFields(n, []*ast.MappingValueNode{from}, depth)
	case *ast.SequenceNode:
		n.kind = sequence
		for _, v := range from.Values {
			if item := s.convert(v, depth+1); item != nil {
				n.items = append(n.items, item)
			}
		}
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		s.problem(n.line, n.column, "anchors and aliases are not supported", "write the value out, or use vars: and ${name}")
		return nil
	case *ast.TagNode:
		s.problem(n.line, n.column, "tags are not supported", "remove "+tk.Value)
		return nil
	default:
		s.problem(n.line, n.column, "not supported here: "+strings.ToLower(from.Type().String()), "")
		return nil
	}
	return n
}

func (s *source) addFields(n *node, values []*ast.MappingValueNode, depth int) {
	seen := map[string]int{}
	for _, v := range values {
		line, column := position(v.Key)
		scalar, ok := v.Key.(ast.ScalarNode)
		switch {
		case v.Key.IsMergeKey():
			s.problem(line, column, "anchors and aliases are not supported", "write the value out, or use vars: and ${name}")
			continue
		case !ok:
			s.problem(line, column, "a key must be plain text", "")
			continue
		}
		key := scalar.GetToken().Value
		if first, twice := seen[key]; twice {
			s.problem(line, column, fmt.Sprintf("key %s is here twice, first in line %d", quote(key), first), "remove one of them")
			continue
		}
		seen[key] = line
		if v.Value == nil {
			n.fields = append(n.fields, entry{key, line, column, &node{line: line, column: column}})
		} else if value := s.convert(v.Value, depth+1); value != nil {
			if value.kind == null {
				value.line, value.column = line, column
			}
			n.fields = append(n.fields, entry{key, line, column, value})
		}
	}
}

func position(n ast.Node) (line, column int) {
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line, tk.Position.Column
	}
	return 1, 1
}

// quote shows a value of a file in a message: short, and harmless to a terminal.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "..."
	}
	if plain.MatchString(s) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// printable reports whether a text can be shown as it is: printable characters, lines
// and tabs.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) && r != '\n' && r != '\t'
	})
}

// quoteAll shows several values of a file in a message.
func quoteAll(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = quote(s)
	}
	return strings.Join(quoted, ", ")
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z0-9._/%+-]+$`)
	variable = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	// placeholder is what the lab fills in when it starts an instance: see drivers.Places.
	placeholder = regexp.MustCompile(`^(instance|revision|(listen|port)\.[a-z0-9_-]{1,40}|addr(\.[a-z0-9_-]{1,40}){2})$`)
)

// fill fills variables in, in every scalar below the node.
func (s *source) fill(n *node, vars map[string]string) {
	for _, f := range n.fields {
		s.fill(f.value, vars)
	}
	for _, item := range n.items {
		s.fill(item, vars)
	}
	if n.kind != text || !strings.Contains(n.value, "${") {
		return
	}
	var b strings.Builder
	for rest := n.value; ; {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			b.WriteString(rest)
			break
		}
		if strings.HasSuffix(before, "$") { // $${ stands for ${
			b.WriteString(before + "{")
			rest = after
			continue
		}
		b.WriteString(before)
		name, behind, closed := strings.Cut(after, "}")
		if !closed {
			s.problem(n.line, n.column, "${ without its }", "write ${name}, or $${ for the characters themselves")
			return
		}
		value, known := vars[name]
		if !known {
			hint := "declare it: vars: {" + name + ": its default}"
			if !variable.MatchString(name) {
				// Also keeps whatever the name holds out of the hint above.
				hint = "a variable's name is lower-case letters, digits and _"
			}
			if c := spelling.Nearest(name, slices.Sorted(maps.Keys(vars))); c != "" {
				hint = "did you mean ${" + quote(c) + "}?"
			}
			if placeholder.MatchString(name) {
				hint = "write $${" + name + "}: the lab fills that in for each instance"
			}
			s.problem(n.line, n.column, "no variable "+quote(name)+" in vars", hint)
			return
		}
		b.WriteString(value)
		n.filled = true
		rest = behind
	}
	n.value = b.String()
}
