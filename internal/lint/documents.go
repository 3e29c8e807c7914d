package lint

import (
	"runtime"
	"strings"
	"sync"

	"github.com/rollout-lab/rollout-lab/internal/manifest"
)

// document is the part of a file between two document marks.
type document struct {
	first  int // lines before it
	lines  []string
	indent int  // of its keys
	item   bool // of a List
	end    int  // the last line that is its own
}

// documents are those of the file, and the items of Lists.
func (s *source) documents() []document {
	var out []document
	for _, d := range manifest.Split(s.lines) {
		out = append(out, document{first: d.First, lines: d.Lines, end: d.First + len(d.Lines)}.split()...)
	}
	return out
}

// json reports whether the document may be JSON.
func (d document) json() bool {
	for _, line := range d.lines {
		if line = strings.TrimSpace(line); line != "" {
			return line[0] == '{' || line[0] == '['
		}
	}
	return false
}

// split makes documents of the items of a List, as kubectl get prints one, so that one of
// thousands is read item by item. What is written in any other way stays as it is.
func (d document) split() []document {
	items, list := -1, false
	for i, line := range d.lines {
		if line == "" || line[0] == ' ' || line[0] == '-' || line[0] == '#' {
			continue
		}
		kind, isKind := strings.CutPrefix(line, "kind: ")
		switch {
		case strings.TrimRight(line, " ") == "items:" && items < 0:
			items = i
		case isKind && strings.TrimSpace(kind) == "List":
			list = true
		case !strings.HasPrefix(line, "apiVersion:") && !strings.HasPrefix(line, "metadata:"):
			return []document{d}
		}
	}
	if items < 0 || !list || items+1 == len(d.lines) {
		return []document{d}
	}
	first := d.lines[items+1]
	indent := len(first) - len(strings.TrimLeft(first, " "))
	mark := strings.Repeat(" ", indent) + "- "
	if !strings.HasPrefix(first, mark) {
		return []document{d}
	}
	var out []document
	for i := items + 1; i < len(d.lines); i++ {
		line := d.lines[i]
		rest, begins := strings.CutPrefix(line, mark)
		switch {
		case anchored(line):
			return []document{d}
		case begins:
			out = append(out, document{first: d.first + i, indent: indent + 2, item: true})
			line = mark[:indent] + "  " + rest
		case strings.TrimSpace(line) != "" && !strings.HasPrefix(line, mark[:indent]+" "):
			if strings.TrimSpace(line)[0] == '#' {
				break
			}
			if line[0] == ' ' || line[0] == '-' {
				return []document{d}
			}
			i = len(d.lines) // the keys behind the items
			continue
		}
		last := &out[len(out)-1]
		last.lines = append(last.lines, line)
		last.end = d.first + i + 1
	}
	return out
}

// anchored reports whether a line may hold an anchor or an alias, which tie it to others.
func anchored(line string) bool {
	for _, sign := range []string{" &", " *"} {
		if at := strings.Index(line, sign); at >= 0 && at+2 < len(line) && line[at+2] != ' ' {
			return true
		}
	}
	return false
}

// foreignKind is the kind of a Kubernetes object that the linter has no use for, when a
// plain line says so. Such documents (custom resource definitions are long) need not
// be parsed.
func (d document) foreignKind() (kind string, at int, ok bool) {
	version := false
	for i, line := range d.lines {
		line, ok := d.key(line)
		if !ok {
			continue
		}
		if k, ok := strings.CutPrefix(line, "kind:"); ok {
			if kind != "" {
				return "", 0, false
			}
			at = d.first + i + 1
			kind, _, _ = strings.Cut(k, " #")
			kind = strings.Trim(strings.TrimSpace(kind), `"'`)
		}
		version = version || strings.HasPrefix(line, "apiVersion:")
	}
	return show(kind), at, version && kind != "" && !kubeKinds[kind] && !strings.ContainsAny(kind, "{}[]&*!|>")
}

// key is a line without the indentation of the document's keys, if it has no more than that.
func (d document) key(line string) (string, bool) {
	if len(line) <= d.indent || line[d.indent] == ' ' || strings.TrimLeft(line[:d.indent], " ") != "" {
		return "", false
	}
	return line[d.indent:], true
}

// pruned is an object without what the cluster adds to it and nobody wrote: its status, and
// who manages which field. Its lines stay where they are.
func (d document) pruned() document {
	isObject := false
	for _, line := range d.lines {
		line, ok := d.key(line)
		isObject = isObject || ok && strings.HasPrefix(line, "apiVersion:")
	}
	if !isObject {
		return d
	}
	lines := make([]string, len(d.lines))
	dropped := -1 // the indentation of the key that is being dropped
	for i, line := range d.lines {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if dropped >= 0 && (indent > dropped || indent == len(line) || indent == dropped && strings.HasPrefix(line[indent:], "- ")) {
			continue
		}
		dropped = -1
		if key := strings.TrimRight(line[indent:], " "); indent == d.indent && key == "status:" || indent == d.indent+2 && key == "managedFields:" {
			dropped = indent
			continue
		}
		lines[i] = line
	}
	d.lines = lines
	return d
}

// parsed is a document and what became of it.
type parsed struct {
	document
	root     *node
	foreign  string // its kind, if it is none that is judged
	at       int    // the line of that
	problems []*FileError
	skipped  []Skipped
}

// parseAll parses documents, several at a time: they do not depend on each other.
func (s *source) parseAll(documents []document) []parsed {
	out := make([]parsed, len(documents))
	next := make(chan int)
	var working sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(documents)) {
		working.Go(func() {
			for i := range next {
				out[i] = s.parseOne(documents[i])
			}
		})
	}
	for i := range documents {
		next <- i
	}
	close(next)
	working.Wait()
	return out
}

func (s *source) parseOne(d document) parsed {
	p := parsed{document: d}
	if k, line, ok := d.foreignKind(); ok {
		p.foreign, p.at = k, line
		return p
	}
	own := &source{name: s.name, found: s.found, cost: s.cost}
	p.root = own.parse(d.pruned())
	p.problems, p.skipped = own.problems, own.skipped
	return p
}
