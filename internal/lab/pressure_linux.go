package lab

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// readPressure says how long, since the machine started, a task was ready to run and waited
// for a CPU: pressure stall information, which a kernel may be built or started without.
func readPressure() (waited time.Duration, ok bool) {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0, false
	}
	return parsePressure(string(text))
}

// parsePressure reads the total of the line that begins with some, in microseconds.
func parsePressure(text string) (waited time.Duration, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "some" {
			continue
		}
		for _, f := range fields[1:] {
			if total, is := strings.CutPrefix(f, "total="); is {
				n, err := strconv.ParseInt(total, 10, 64)
				return time.Duration(n) * time.Microsecond, err == nil && n >= 0
			}
		}
	}
	return 0, false
}
