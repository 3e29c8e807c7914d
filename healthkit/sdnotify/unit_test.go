package sdnotify

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// unit follows messages as systemd does for a unit of Type=notify: assignments
// by line, of the state assignments of one datagram the last wins, and a stop
// is taken from a running unit only.
type unit struct {
	state    string // "" is activating
	readies  int
	pings    int
	triggers int
	extends  []string
	barriers int
	status   string
}

func (u *unit) take(data []byte) (complaint string) {
	if len(data) > 4096 {
		return "too long"
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return "holds a NUL"
	}
	state := ""
	for line := range strings.SplitSeq(string(data), "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return "a line without an assignment"
		}
		switch key {
		case "READY", "RELOADING", "STOPPING":
			if value != "1" {
				return "odd value of " + key
			}
			if state != "" {
				return "two states in one message"
			}
			state = key
		case "MONOTONIC_USEC":
			if state != "RELOADING" {
				return "timestamp without a reload"
			}
		case "STATUS":
			if !utf8.ValidString(value) {
				return "status is not UTF-8"
			}
			u.status = value
		case "WATCHDOG":
			switch value {
			case "1":
				u.pings++
			case "trigger":
				u.triggers++
			default:
				return "odd value of WATCHDOG"
			}
		case "EXTEND_TIMEOUT_USEC":
			u.extends = append(u.extends, value)
		case "BARRIER":
			if string(data) != "BARRIER=1" {
				return "a barrier has to come alone"
			}
			u.barriers++
		default:
			return "unintended assignment " + key
		}
	}
	switch {
	case state == "READY" && (u.state == "" || u.state == "reloading"):
		u.readies++
		u.state = "running"
	case state == "RELOADING" && (u.state == "running" || u.state == "reloading"):
		u.state = "reloading"
	case state == "STOPPING" && (u.state == "running" || u.state == ""):
		u.state = "stopping"
	case state != "":
		return state + " to a unit that is " + u.state
	}
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
