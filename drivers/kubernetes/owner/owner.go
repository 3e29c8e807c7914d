// Package owner names the process of a lab, in a text that fits into a label and into a
// cluster's name, so that what a killed lab left behind is told from what a living one
// still uses. It ends nothing and keeps nothing.
package owner

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Owner names a process for good: an ID alone is used again after a while.
type Owner struct {
	pid   int
	start uint64 // in clock ticks since the machine started
	boot  string // which start of which machine
	space string // which namespace of process IDs
}

// String is the owner in lower-case letters, digits and dashes, at most 48 of them.
func (o Owner) String() string {
	return strconv.FormatInt(int64(o.pid), 36) + "-" + strconv.FormatUint(o.start, 36) + "-" + o.boot + "-" + o.space
}

// Parse reads what String wrote.
func Parse(s string) (Owner, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 4 {
		return Owner{}, fmt.Errorf("owner %q: want four parts", s)
	}
	pid, err := strconv.ParseInt(parts[0], 36, 32)
	if err != nil {
		return Owner{}, fmt.Errorf("owner %q: process: %w", s, err)
	}
	start, err := strconv.ParseUint(parts[1], 36, 64)
	if err != nil {
		return Owner{}, fmt.Errorf("owner %q: start: %w", s, err)
	}
	for _, hash := range parts[2:] {
		if _, err := hex.DecodeString(hash); err != nil || len(hash) != 2*hashBytes {
			return Owner{}, fmt.Errorf("owner %q: %q is not the hash of a machine", s, hash)
		}
	}
	return Owner{int(pid), start, parts[2], parts[3]}, nil
}

// hashBytes is how much of a hash is kept: enough to tell the machines of one cluster's
// users apart.
const hashBytes = 5

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:hashBytes])
}
