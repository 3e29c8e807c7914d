package systemd

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/godbus/dbus/v5"
)

// state is what systemd says about one unit, as far as it matters here.
type state struct {
	load, active, sub string
	job               uint32 // that is queued for it, 0 means none
	status            string // STATUS= of the service
	mainPID           uint32 // 0 when none runs
	process           process
	code, exit        int32 // how the last process ended, as waitid says
	result            string
}

// process tells apart the processes that a unit has had.
type process struct {
	pid   uint32
	start uint64 // in microseconds of the monotonic clock
}

// with is the state after some properties have changed. Unknown ones are left alone.
func (s state) with(changed map[string]dbus.Variant) state {
	for name, v := range changed {
		switch name {
		case "LoadState":
			s.load = text(v)
		case "ActiveState":
			s.active = text(v)
		case "SubState":
			s.sub = text(v)
		case "StatusText":
			s.status = text(v)
		case "Result":
			s.result = text(v)
		case "MainPID":
			s.mainPID, _ = v.Value().(uint32)
		case "ExecMainPID":
			s.process.pid, _ = v.Value().(uint32)
		case "ExecMainStartTimestampMonotonic":
			s.process.start, _ = v.Value().(uint64)
		case "ExecMainCode":
			s.code, _ = v.Value().(int32)
		case "ExecMainStatus":
			s.exit, _ = v.Value().(int32)
		case "Job":
			s.job = 0
			if pair, ok := v.Value().([]any); ok && len(pair) == 2 {
				s.job, _ = pair[0].(uint32)
			}
		}
	}
	return s
}

func text(v dbus.Variant) string {
	s, _ := v.Value().(string)
	return s
}

// ended says whether the unit has come to its end, and nothing that systemd has in mind
// will start it again.
func (s state) ended() bool {
	return (s.active == "inactive" || s.active == "failed") && s.job == 0
}

// serving says whether systemd calls the service ready. One that reloads serves on.
func (s state) serving(notifies bool) bool {
	if s.active != "active" && s.active != "reloading" {
		return false
	}
	return !notifies || !declines(s.status)
}

// declines says whether a status text asks for no more requests: what stands before its
// first colon or semicolon is the verdict of the service about itself.
func declines(status string) bool {
	verdict := status
	if n := strings.IndexAny(status, ":;"); n >= 0 {
		verdict = status[:n]
	}
	switch strings.ToLower(strings.TrimSpace(verdict)) {
	case "not ready", "draining":
		return true
	}
	return false
}

// String is the state for people.
func (s state) String() string {
	out := s.active + " (" + s.sub + ")"
	if s.status != "" {
		out += ": " + s.status
	}
	return out
}

// The ways in which a process ends, as waitid calls them.
const (
	exited    = 1
	signalled = 2
	dumped    = 3
)

// end says how the last process ended, for people.
func (s state) end() string {
	out := ""
	switch s.code {
	case exited:
		out = fmt.Sprintf("exit status %d", s.exit)
	case signalled:
		out = "signal: " + syscall.Signal(s.exit).String()
	case dumped:
		out = "signal: " + syscall.Signal(s.exit).String() + " (core dumped)"
	}
	if s.result != "" && s.result != "success" {
		if out != "" {
			out += ", "
		}
		out += "result " + s.result
	}
	if out == "" {
		return s.String()
	}
	return out
}
