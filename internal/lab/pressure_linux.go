package lab

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// openCPUs finds what of the system, whose files are in root, tells how its CPUs fare. How long
// tasks wait is told best by pressure stall information, which a kernel may be built or started
// without; then by what a limit on this process's control group holds back; then by the
// queues of the CPUs; at last by the threads of this process, which wait in the same queues.
func openCPUs(root fs.FS) *cpuReader {
	r := &cpuReader{}
	for _, find := range []func(fs.FS) (string, func(time.Time) (time.Duration, bool)){stalls, throttling, runQueues, ownThreads} {
		name, read := find(root)
		if read == nil {
			continue
		}
		if _, ok := read(time.Time{}); ok {
			r.sources.Waited, r.waited = name, read
			break
		}
	}
	idle := func() (time.Duration, bool) { return parseIdle(text(root, "proc/stat")) }
	if _, ok := idle(); ok {
		r.sources.Idle, r.idle = "/proc/stat", idle
	}
	return r
}

// text is a file's, "" where it cannot be read.
func text(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(b)
}

// stalls: the time in which some task of the machine waited.
func stalls(root fs.FS) (string, func(time.Time) (time.Duration, bool)) {
	const file = "proc/pressure/cpu"
	return "/" + file, func(time.Time) (time.Duration, bool) { return parsePressure(text(root, file)) }
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

// throttling: how long the nearest limit above this process held its tasks back.
func throttling(root fs.FS) (string, func(time.Time) (time.Duration, bool)) {
	for line := range strings.Lines(text(root, "proc/self/cgroup")) {
		// 0::/system.slice/a.service in version 2, 4:cpu,cpuacct:/a in version 1
		number, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		file, limited, mount := "cpu.max", func(s string) bool { return s != "" && !strings.HasPrefix(s, "max") }, "sys/fs/cgroup"
		switch {
		case number == "0" && controllers == "":
		case slices.Contains(strings.Split(controllers, ","), "cpu"):
			file, limited, mount = "cpu.cfs_quota_us", func(s string) bool { return s != "" && !strings.HasPrefix(s, "-") }, path.Join(mount, controllers)
		default:
			continue
		}
		for dir := path.Join("/", group); ; dir = path.Dir(dir) {
			at := path.Join(mount, dir)
			if stat := path.Join(at, "cpu.stat"); limited(text(root, path.Join(at, file))) {
				return "throttling in /" + stat, accrued(func() []time.Duration { return parseThrottled(text(root, stat)) })
			}
			if dir == "/" {
				break
			}
		}
	}
	return "", nil
}

// parseThrottled reads how long a group was held back. Its CPUs are held back each by itself, and
// are added up.
func parseThrottled(text string) []time.Duration {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		unit := time.Microsecond
		switch name {
		case "throttled_time": // version 1
			unit = time.Nanosecond
		case "throttled_usec":
		default:
			continue
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return []time.Duration{time.Duration(n) * unit}
		}
	}
	return nil
}

// runQueues: how long tasks waited in the queue of each CPU.
func runQueues(root fs.FS) (string, func(time.Time) (time.Duration, bool)) {
	const file = "proc/schedstat"
	return "run queues in /" + file, accrued(func() (all []time.Duration) {
		for line := range strings.Lines(text(root, file)) {
			// cpu0 and numbers, the last two of which are the time in the queue and how many waited
			f := strings.Fields(line)
			if len(f) < 3 || !strings.HasPrefix(f[0], "cpu") {
				continue
			}
			n, err := strconv.ParseInt(f[len(f)-2], 10, 64)
			if err != nil {
				return nil
			}
			all = append(all, time.Duration(n))
		}
		return all
	})
}

// ownThreads: how long the threads of this process waited in a queue, together.
func ownThreads(root fs.FS) (string, func(time.Time) (time.Duration, bool)) {
	return "run queues in /proc/self/task/*/schedstat, of the lab alone", accrued(func() []time.Duration {
		files, err := fs.Glob(root, "proc/self/task/*/schedstat")
		if err != nil {
			return nil
		}
		var sum time.Duration
		told := false
		for _, file := range files {
			f := strings.Fields(text(root, file)) // time on a CPU, time in the queue, how often
			if len(f) != 3 {
				continue // it has just ended
			}
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				sum, told = sum+time.Duration(n), true
			}
		}
		if !told {
			return nil
		}
		return []time.Duration{sum}
	})
}

// accrued makes one time of what several queues have counted, from the first reading on. Several
// tasks may wait at once: from one reading to the next no queue has waited for longer than
// that took, and the mean of the queues counts. So it is at most what it was, where tasks
// waited one after another, and no exact time in which some task waited.
func accrued(read func() []time.Duration) func(time.Time) (time.Duration, bool) {
	var total time.Duration
	var before []time.Duration
	var at time.Time
	return func(now time.Time) (time.Duration, bool) {
		counts := read()
		if len(counts) == 0 {
			return 0, false
		}
		if len(counts) == len(before) && !at.IsZero() {
			var sum time.Duration
			for i := range counts {
				sum += min(max(counts[i]-before[i], 0), now.Sub(at))
			}
			total += sum / time.Duration(len(counts))
		}
		before, at = counts, now
		return total, true
	}
}

// parseIdle reads how long the CPUs had nothing to do, on average over them. A container is told
// of all CPUs of its machine.
func parseIdle(text string) (idle time.Duration, ok bool) {
	const tick = 10 * time.Millisecond // USER_HZ, the same on every system that Go runs on
	cpus := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasPrefix(f[0], "cpu") {
			continue
		}
		if f[0] != "cpu" {
			cpus++
			continue
		}
		for _, at := range []int{4, 5} { // idle, and idle while something is read or written
			n, err := strconv.ParseInt(f[at], 10, 64)
			if err != nil || n < 0 {
				return 0, false
			}
			idle += time.Duration(n) * tick
		}
		ok = true
	}
	return idle / time.Duration(max(cpus, 1)), ok && cpus > 0
}
