package systemd

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// restartDelay is how long systemd waits before it starts again what has ended unasked.
const restartDelay = 100 * time.Millisecond

// prefix begins the name of every unit of this driver.
const prefix = "rollout-lab-"

// maxName is how long the name of a unit may be, with room for its suffix.
const maxName = 200

// unitName is the name of an instance's units without their suffix. systemd allows few
// characters in names, so what else is in a run's ID is replaced; the exact ID stands in
// the description.
func unitName(m mark) string {
	name := prefix + m.run + "-" + m.stack + "-" + m.instance
	clean := cleanName(name)
	if clean == name && len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%s-%x", clean[:min(len(clean), maxName-17)], sum[:8])
}

func cleanName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-_.", r):
			return r
		}
		return '_'
	}, name)
}

// command is what a unit runs.
type command struct {
	argv []string
	env  map[string]string
}

func property(name string, value any) systemd.Property {
	return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// microseconds is a span as systemd takes it. 0 would mean that there is no limit.
func microseconds(d time.Duration) uint64 { return uint64(max(d.Microseconds(), 1)) }

// serviceType is the type of a service's unit. From version 253 on there is one that
// also knows reloads.
func serviceType(notifies bool, version int) string {
	switch {
	case !notifies:
		return "exec"
	case version >= 253:
		return "notify-reload"
	}
	return "notify"
}

// serviceProperties are those of the service unit of an instance.
func serviceProperties(s drivers.Service, m mark, c command, version int, start time.Duration) []systemd.Property {
	environment := make([]string, 0, len(c.env))
	for _, name := range slices.Sorted(maps.Keys(c.env)) {
		environment = append(environment, name+"="+c.env[name])
	}
	out := []systemd.Property{
		systemd.PropDescription(m.String()),
		systemd.PropType(serviceType(s.Notify, version)),
		systemd.PropExecStart(c.argv, false),
		property("Environment", environment),
		property("KillMode", "control-group"), // takes along what the process has started
		property("TimeoutStopUSec", microseconds(s.StopGrace)),
		property("LimitCORE", uint64(0)), // an abort by the watchdog must not fill a disk
		// A unit that has failed is kept until its end was read; see unit.remove.
		property("CollectMode", "inactive"),
	}
	if s.Notify {
		out = append(out,
			property("NotifyAccess", "main"),
			property("TimeoutStartUSec", microseconds(start)))
		if s.Watchdog > 0 {
			out = append(out, property("WatchdogUSec", microseconds(s.Watchdog)))
		}
	}
	if s.RestartOnExit {
		out = append(out,
			property("Restart", "always"),
			property("RestartUSec", microseconds(restartDelay)),
			property("StartLimitIntervalUSec", uint64(0))) // for ever, not five times
	}
	if s.Limits.CPUs > 0 {
		out = append(out, property("CPUQuotaPerSecUSec", uint64(s.Limits.CPUs*1e6)))
	}
	if s.Limits.Memory > 0 {
		out = append(out, property("MemoryMax", uint64(s.Limits.Memory)))
	}
	return out
}

// listen is one address of a socket unit, as systemd takes it.
type listen struct{ Type, Address string }

// socketProperties are those of the socket unit that holds the listener of a port.
func socketProperties(m mark, port, addr string) []systemd.Property {
	return []systemd.Property{
		systemd.PropDescription(m.String()),
		property("Listen", []listen{{"Stream", addr}}),
		property("FileDescriptorName", port),
		property("Backlog", uint32(4096)),
		property("TriggerLimitIntervalUSec", uint64(0)), // as for starts
		property("CollectMode", "inactive"),
	}
}
