// Package owner names the process of a lab for good, in a text that fits wherever a
// runtime keeps one: a label of Docker or Kubernetes, the name of a cluster or a unit, a
// variable. By it, what a killed lab left behind is told from what a living one uses. It
// ends nothing and keeps nothing.
package owner

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"
)

// Owner names a process. Its ID alone is used again, and stands for other processes in
// another namespace, after a restart of the machine, or on another machine.
type Owner struct {
	pid     int
	start   uint64 // in clock ticks since the machine started; 0 when this system does not tell
	boot    string // which run of the machine, hashed
	space   string // which namespace of process IDs, hashed
	machine string // which machine, hashed; only when a restart of it can be told from another one
}

// unknown stands for what this system does not tell. No hash has that digit.
const unknown = "0"

// String is the owner in lower-case letters, digits and dashes, with one of the first two
// at both ends. It has at most 37 of them, on a machine that has run for less than 24
// years, so that a cluster's node with a prefix, the owner and a suffix is still a host.
func (o Owner) String() string {
	return strings.Join([]string{
		strconv.FormatInt(int64(o.pid), 36), strconv.FormatUint(o.start, 36), o.boot, o.space, o.machine,
	}, "-")
}

// PID is the ID of the process. It alone names no process for good.
func (o Owner) PID() int { return o.pid }

// Parse reads what String wrote.
func Parse(s string) (Owner, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 5 {
		return Owner{}, fmt.Errorf("owner %q: want five parts", s)
	}
	pid, err := strconv.ParseInt(parts[0], 36, 32)
	if err != nil {
		return Owner{}, fmt.Errorf("owner %q: process: %w", s, err)
	}
	if pid <= 0 {
		return Owner{}, fmt.Errorf("owner %q: process %d", s, pid) // would stand for a group of them
	}
	start, err := strconv.ParseUint(parts[1], 36, 64)
	if err != nil {
		return Owner{}, fmt.Errorf("owner %q: start: %w", s, err)
	}
	for _, hash := range parts[2:] {
		if hash != unknown && (len(hash) != hashLength || strings.Trim(hash, digits) != "") {
			return Owner{}, fmt.Errorf("owner %q: %q is no hash", s, hash)
		}
	}
	o := Owner{int(pid), start, parts[2], parts[3], parts[4]}
	if o.String() != s {
		return Owner{}, fmt.Errorf("owner %q: want %q", s, o)
	}
	return o, nil
}

// Dead says whether the owner has certainly ended, as seen from this process. Of one on
// another machine, or in another namespace of process IDs, nothing is certain; of one from
// before the machine was started again it is, unless either ran in a container.
func (o Owner) Dead() bool {
	here, err := Self()
	return err == nil && o.deadTo(here)
}

func (o Owner) deadTo(here Owner) bool {
	switch {
	case o.boot != unknown && o.boot == here.boot:
		return o.space == here.space && o.ended()
	case o.machine == unknown || o.machine != here.machine:
		return false
	case o.boot != unknown && here.boot != unknown:
		return true // the machine was started again
	}
	return o.space == here.space && o.ended()
}

const (
	digits = "abcdefghijklmnopqrstuvwxyz234567"
	// hashLength is how much of a hash is kept, five bits for each: enough to tell apart
	// the machines of those who share a cluster.
	hashLength = 7
)

var encoding = base32.NewEncoding(digits)

// hash shortens what names something; "" is unknown.
func hash(s string) string {
	if s == "" {
		return unknown
	}
	sum := sha256.Sum256([]byte(s))
	return encoding.EncodeToString(sum[:])[:hashLength]
}

// hashMachine names a machine by two things, as copies of one often differ in its name
// alone.
func hashMachine(id, host string) string {
	if id == "" {
		return unknown
	}
	return hash(id + "\n" + host)
}
