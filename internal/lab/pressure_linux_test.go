package lab

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestParsePressure(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"some avg10=66.46 avg60=81.07 avg300=90.72 total=4314654599\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n": 4314654599 * time.Microsecond,
		"full avg10=0.00 total=7\nsome total=0\n": 0,
		"some avg10=66.46\n":                      -1,
		"some total=-5\n":                         -1,
		"some total=x\n":                          -1,
		"":                                        -1,
	} {
		got, ok := parsePressure(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// What tells how long tasks wait, from the best source that there is.
func TestCPUSources(t *testing.T) {
	const stat = "cpu  100 0 50 1000 20 0 0 0 0 0\ncpu0 50 0 25 500 10 0 0 0 0 0\ncpu1 50 0 25 500 10 0 0 0 0 0\nintr 7\n"
	calm := map[string]string{"proc/stat": stat}
	stalls := map[string]string{"proc/pressure/cpu": "some avg10=0.00 total=2000\n"}
	v2 := map[string]string{
		"proc/self/cgroup": "0::/lab.slice/run.scope\n", "sys/fs/cgroup/lab.slice/run.scope/cpu.max": "max 100000\n",
		"sys/fs/cgroup/lab.slice/cpu.max": "50000 100000\n", "sys/fs/cgroup/lab.slice/cpu.stat": "usage_usec 9\nnr_periods 5\nnr_throttled 3\nthrottled_usec 4000\n",
	}
	v1 := map[string]string{
		"proc/self/cgroup": "9:name=systemd:/a\n4:cpu,cpuacct:/a\n0::/\n", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "150000\n",
		"sys/fs/cgroup/cpu,cpuacct/a/cpu.stat": "nr_periods 5\nnr_throttled 3\nthrottled_time 4000000\n",
	}
	unlimited := map[string]string{
		"proc/self/cgroup": "4:cpu:/a\n0::/\n", "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/a/cpu.stat": "throttled_time 4000000\n",
	}
	queues := map[string]string{"proc/schedstat": "version 15\ntimestamp 4294\ncpu0 0 0 0 0 0 0 900 4000000 8\ndomain0 3 1 2\ncpu1 0 0 0 0 0 0 900 0 8\n"}
	threads := map[string]string{"proc/self/task/7/schedstat": "900 1000000 8\n", "proc/self/task/8/schedstat": "900 3000000 8\n"}
	more := func(files map[string]string, by string) map[string]string { // what each counts, by more
		out := make(map[string]string)
		for name, text := range files {
			for _, n := range []string{"total=2000", "throttled_usec 4000", "throttled_time 4000000", "900 4000000 8", "900 3000000 8"} {
				text = strings.ReplaceAll(text, n, map[string]string{
					"total=2000": "total=62000", "throttled_usec 4000": "throttled_usec 64000", "throttled_time 4000000": "throttled_time 64000000",
					"900 4000000 8": "900 " + by + " 8", "900 3000000 8": "900 63000000 8",
				}[n])
			}
			out[name] = text
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		files  []map[string]string
		queued string // what the first queue has counted at the second reading
		source string
		waited time.Duration // from the first reading to the second, 100 ms later
	}{
		{"pressure stall information before all others", []map[string]string{stalls, v2, queues, threads}, "64000000", "/proc/pressure/cpu", 60 * time.Millisecond},
		{"a limit above the own group", []map[string]string{v2, queues, threads}, "64000000", "throttling in /sys/fs/cgroup/lab.slice/cpu.stat", 60 * time.Millisecond},
		{"a limit in version 1", []map[string]string{v1, queues}, "64000000", "throttling in /sys/fs/cgroup/cpu,cpuacct/a/cpu.stat", 60 * time.Millisecond},
		{"no limit", []map[string]string{unlimited, queues, threads}, "64000000", "run queues in /proc/schedstat", 30 * time.Millisecond},
		{"several wait at once", []map[string]string{queues}, "904000000", "run queues in /proc/schedstat", 50 * time.Millisecond},
		{"a count that goes back", []map[string]string{queues}, "1000000", "run queues in /proc/schedstat", 0},
		{"the threads of the lab alone", []map[string]string{threads}, "", "run queues in /proc/self/task/*/schedstat, of the lab alone", 60 * time.Millisecond},
		{"nothing", nil, "", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			put := func(files map[string]string) {
				for name, text := range files {
					root[name] = &fstest.MapFile{Data: []byte(text)}
				}
			}
			put(calm)
			for _, files := range tt.files {
				put(files)
			}
			r := openCPUs(root)
			if want := (record.PressureSources{Waited: tt.source, Idle: "/proc/stat"}); r.sources != want {
				t.Fatalf("sources %+v, want %+v", r.sources, want)
			}
			now := time.Unix(1000, 0)
			first, ok := r.read(now)
			if !ok || first.Idle != 5100*time.Millisecond {
				t.Fatalf("first reading %+v, %t; want idle for 5.1 s, the mean of two CPUs", first, ok)
			}
			for _, files := range tt.files {
				put(more(files, tt.queued))
			}
			put(map[string]string{"proc/stat": strings.Replace(stat, "1000 20", "1004 22", 1)})
			second, ok := r.read(now.Add(100 * time.Millisecond))
			if waited, idle := second.Waited-first.Waited, second.Idle-first.Idle; !ok || waited != tt.waited || idle != 30*time.Millisecond {
				t.Errorf("waited %v and idle for %v in 100 ms, want %v and 30ms (%t)", waited, idle, tt.waited, ok)
			}
			delete(root, "proc/stat")
			if p, ok := r.read(now.Add(time.Second)); ok {
				t.Errorf("a reading without half of it: %+v", p)
			}
		})
	}
	if r := openCPUs(fstest.MapFS{}); r.sources != (record.PressureSources{}) {
		t.Errorf("sources %+v where there are none", r.sources)
	} else if p, ok := r.read(time.Now()); ok {
		t.Errorf("a reading of nothing: %+v", p)
	}
	for _, text := range []string{"", "cpu  1 2 3 4 5\n", "cpu  1 2 3 x 5 6\ncpu0 1 2 3 4 5 6\n", "cpu0 1 2 3 4 5 6\n"} {
		if idle, ok := parseIdle(text); ok {
			t.Errorf("%q: idle for %v", text, idle)
		}
	}
}
