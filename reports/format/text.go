package format

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from outside fit to be printed: control characters (a terminal would
// obey them, XML forbids them), bidirectional overrides and invalid UTF-8 become U+FFFD,
// line breaks and tabs a space.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), r == 0xFFFE, r == 0xFFFF,
			r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069,
			r == 0x200E, r == 0x200F, r == 0x2028, r == 0x2029:
			return utf8.RuneError
		}
		return r
	}, s)
}

// CleanLines is Clean for a text that keeps its line breaks.
func CleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = Clean(l)
	}
	return strings.Join(lines, "\n")
}

// Shorten cuts text to at most n characters, and shows that it was cut.
func Shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// Unbroken keeps numbers and their units on one line, by spaces that do not break.
func Unbroken(s string) string { return unit.ReplaceAllString(s, "$1\u00a0$2$3") }

var unit = regexp.MustCompile(`(\d) (%|ms|s|min|h)([^\pL]|$)`)

// Fold breaks text at spaces so that no line is longer than width, unless one word is, or
// a number with its unit.
func Fold(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.FieldsFunc(Unbroken(text), func(r rune) bool { return r != '\u00a0' && unicode.IsSpace(r) }) {
		word = strings.ReplaceAll(word, "\u00a0", " ")
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// FoldHard is Fold, with words broken that are longer than width.
func FoldHard(text string, width int) []string {
	var lines []string
	for _, line := range Fold(text, width) {
		for runes := []rune(line); ; {
			if len(runes) <= width {
				lines = append(lines, string(runes))
				break
			}
			lines, runes = append(lines, string(runes[:width])), runes[width:]
		}
	}
	return lines
}
