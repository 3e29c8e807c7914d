package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Misbehaviour is what is wrong with a revision of the proxy from its start.
type Misbehaviour string

// The misbehaviours.
const (
	Behaves Misbehaviour = ""
	// NeverReady never has its session records: it is up, answers probes, and can decide nothing.
	NeverReady Misbehaviour = "never-ready"
	// CrashAtStart ends before it listens.
	CrashAtStart Misbehaviour = "crash-at-start"
	// CrashAfterReady serves, and ends CrashDelay after it has all that it needs to.
	CrashAfterReady Misbehaviour = "crash-after-ready"
	// WrongAnswers serves whom it should, and answers with something else than the upstream said.
	WrongAnswers Misbehaviour = "wrong-answers"
)

// CrashDelay is how long a proxy serves that crashes after it was ready.
const CrashDelay = time.Second

// Misbehaviours lists them.
func Misbehaviours() []Misbehaviour {
	return []Misbehaviour{NeverReady, CrashAtStart, CrashAfterReady, WrongAnswers}
}

// ParseMisbehaviour returns the one of a name, "" for none.
func ParseMisbehaviour(name string) (Misbehaviour, error) {
	if m := Misbehaviour(name); m == Behaves || slices.Contains(Misbehaviours(), m) {
		return m, nil
	}
	return Behaves, fmt.Errorf("misbehaviour is %q, want one of %q", name, Misbehaviours())
}

// ErrCrash is why a proxy ends that was told to crash.
var ErrCrash = errors.New("crashed, as it was told to")

// wrongAnswer is what a proxy answers that answers wrongly.
const wrongAnswer = "this is not what the upstream said\n"

// falsify puts another body into the upstream's answer.
func falsify(r *http.Response) error {
	if err := r.Body.Close(); err != nil {
		return err
	}
	r.Body = io.NopCloser(strings.NewReader(wrongAnswer))
	r.ContentLength = int64(len(wrongAnswer))
	r.Header.Set("Content-Length", strconv.Itoa(len(wrongAnswer)))
	return nil
}
