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

// near is the candidate that the name was probably meant to be, or "".
func near(name string, candidates []string) string {
	best, bestDistance := "", len(name)/3+2
	for _, c := range candidates {
		d := distance(name, c)
		if len(name) >= 3 && (strings.HasPrefix(c, name) || strings.HasPrefix(name, c)) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of edits (Levenshtein, and a swap of neighbours counts one)
// between two short strings.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var two, one []int // the rows before the current one
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		two, one, row = one, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// didYouMean is a hint: the near candidate, or all of them.
func didYouMean(name string, candidates []string) string {
	if c := near(name, candidates); c != "" {
		return "did you mean " + quote(c) + "?"
	}
	return "one of: " + quoteAll(candidates)
}
