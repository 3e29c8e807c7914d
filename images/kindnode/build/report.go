package build

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// carry is how an image gets to where it cannot be built.
const carry = "or build it elsewhere with --out FILE and docker load it here"

func hint(err error, text string) error { return &drivers.HintError{Err: err, Hint: text} }

// Hint returns advice on an error of this package, or "".
func Hint(err error) string {
	if e, ok := errors.AsType[*drivers.HintError](err); ok {
		return e.Hint
	}
	return ""
}

// progress says on w what happens. Steps may run at the same time.
type progress struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		// A reader that has gone is no reason to fail.
		_, _ = fmt.Fprintf(p.w, "kindnode: "+format+"\n", args...)
	}
}

func (p *progress) step(name string, run func() error) error {
	p.say("%s", name)
	start := time.Now()
	if err := run(); err != nil {
		return err
	}
	p.say("%s: done in %.1f s", name, time.Since(start).Seconds())
	return nil
}
