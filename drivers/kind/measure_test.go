//go:build unix

package kind_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
)

// BenchmarkDirectProbe is what it costs to ask an instance past the balancer, over a
// connection of its own, as the lab does 20 times a second. Beside the time it reports the
// processor time that each costs this process and, where cgroups tell, the cluster.
func BenchmarkDirectProbe(b *testing.B) {
	d := newDriver(b)
	ctx := context.Background()
	env, err := d.Deploy(ctx, drivertest.NewStack())
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := env.Close(ctx); err != nil {
			b.Error(err)
		}
	}()
	list, err := env.Instances(ctx)
	if err != nil {
		b.Fatal(err)
	}
	probe := drivers.Probe{Kind: drivers.ProbeHTTP, Port: "data", Timeout: 5 * time.Second}
	node := nodeContainer(b)
	for name, addr := range map[string]string{"instance": list[0].Addr, "balancer": strings.TrimPrefix(env.URL(), "http://")} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			before := processorTime(b)
			clusterBefore, known := clusterTime(b, node)
			for b.Loop() {
				begun := time.Now()
				if _, err := probe.Ask(ctx, addr); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(len(took)), "cpu-us/op")
			if after, ok := clusterTime(b, node); ok && known {
				b.ReportMetric(float64((after-clusterBefore).Microseconds())/float64(len(took)), "cluster-cpu-us/op")
			}
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// clusterTime is the processor time that the node's container has used, by version 1 of
// cgroups; ok is false where that does not tell.
func clusterTime(b *testing.B, container string) (used time.Duration, ok bool) {
	text, err := os.ReadFile("/sys/fs/cgroup/cpuacct/docker/" + container + "/cpuacct.usage")
	if err != nil {
		return 0, false
	}
	var nanoseconds int64
	if _, err := fmt.Sscan(string(text), &nanoseconds); err != nil {
		b.Fatal(err)
	}
	return time.Duration(nanoseconds), true
}

func nodeContainer(b *testing.B) string {
	out, err := exec.Command("docker", "ps", "--quiet", "--no-trunc", "--filter", "label=io.x-k8s.kind.role=control-plane").Output()
	if err != nil {
		b.Fatal(err)
	}
	id, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return id
}
