package kind

import (
	"fmt"
	"strings"

	"sigs.k8s.io/kind/pkg/log"
)

// logger turns what kind tells its users into lines of progress. Errors are returned too,
// and debugging is nobody's concern here.
type logger struct{ say func(string) }

func (l logger) line(s string) {
	// kind marks its steps with symbols and blanks, and tells each again when it is done.
	done := strings.HasPrefix(strings.TrimSpace(s), "\u2713")
	if s = strings.Join(strings.Fields(strings.Map(printable, s)), " "); s != "" && !done {
		l.say(s)
	}
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return ' '
	}
	return r
}

func (l logger) Warn(message string)         { l.line("warning: " + message) }
func (l logger) Warnf(f string, args ...any) { l.Warn(fmt.Sprintf(f, args...)) }
func (l logger) Error(string)                {}
func (l logger) Errorf(string, ...any)       {}
func (l logger) V(level log.Level) log.InfoLogger {
	if level > 0 {
		return log.NoopInfoLogger{}
	}
	return info{l}
}

type info struct{ logger logger }

func (i info) Info(message string)         { i.logger.line(message) }
func (i info) Infof(f string, args ...any) { i.Info(fmt.Sprintf(f, args...)) }
func (i info) Enabled() bool               { return true }
