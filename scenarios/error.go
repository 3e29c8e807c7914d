package scenarios

import (
	"fmt"
	"strings"
	"unicode"
)

// Error is one problem of a scenario, at its position.
type Error struct {
	File    string // as given to Load or Parse; "" when the problem is not in a file
	Line    int    // from 1; 0 when the problem has no position
	Column  int    // from 1, in characters
	Excerpt string // the offending line with its number and a caret below; "" without position
	Message string // one sentence, lower case, no full stop
	Hint    string // what to write instead; may be empty
}

// Error is the position, the message, the excerpt and the hint, on several lines.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	if e.Excerpt != "" {
		b.WriteString("\n" + e.Excerpt)
	}
	if e.Hint != "" {
		b.WriteString("\nhint: " + e.Hint)
	}
	return b.String()
}

// Errors are all the problems that were found in one file, by position. It is never
// empty when it is returned as an error.
type Errors []*Error

// Error is the text of every problem, an empty line between them.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "\n\n")
}

// Unwrap lets errors.As find the single problems.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, one := range e {
		errs[i] = one
	}
	return errs
}

// excerptWidth is how many characters of a line an excerpt shows.
const excerptWidth = 100

// excerpt shows a line of the text and a caret below the column. Characters that a
// terminal would act upon are shown as a dot, so that a hostile file cannot.
func excerpt(lines []string, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	text := []rune(strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, lines[line-1]))
	at := min(max(column-1, 0), len(text))
	if from := at - excerptWidth/2; from > 0 && len(text) > excerptWidth {
		text, at = text[from:], at-from
	}
	if len(text) > excerptWidth {
		text = text[:excerptWidth]
	}
	number := fmt.Sprintf("%5d", line)
	return fmt.Sprintf("%s | %s\n%s | %s^", number, strings.TrimRight(string(text), " "),
		strings.Repeat(" ", len(number)), strings.Repeat(" ", at))
}
