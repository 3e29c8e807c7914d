package proxy

import (
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// canonical reports whether a path reads alike to everybody: the policy must not be asked about
// another path than the one that the upstream takes it for. It is absolute, free of empty, . and
// .. segments, and holds nothing that only some take out or for something else: no encoded slash,
// no backslash, nothing that could be decoded once more, no path parameters (;), no control
// characters and no bytes that are not UTF-8.
func canonical(u *url.URL) bool {
	if strings.Contains(strings.ToLower(u.RawPath), "%2f") {
		return false
	}
	p := u.Path
	if strings.ContainsFunc(p, ambiguous) || !utf8.ValidString(p) {
		return false
	}
	if p == "/" {
		return true
	}
	trimmed := strings.TrimSuffix(p, "/")
	return strings.HasPrefix(trimmed, "/") && trimmed != "/" && path.Clean(trimmed) == trimmed
}

func ambiguous(r rune) bool {
	return r == '%' || r == '\\' || r == ';' || r < ' ' || r == 0x7f
}
