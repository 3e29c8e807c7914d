package drivers

import (
	"regexp"
	"strconv"
)

var exitStatus = regexp.MustCompile(`\bexit status (\d+)\b`)

// ExitStatus is the status with which a process has ended, as the Detail of an Event says it; ok
// is false where it does not, as of a process that a signal has ended.
func ExitStatus(detail string) (status int, ok bool) {
	found := exitStatus.FindStringSubmatch(detail)
	if found == nil {
		return 0, false
	}
	status, err := strconv.Atoi(found[1])
	return status, err == nil
}
