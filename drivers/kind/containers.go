package kind

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// containers acts on containers from their nodes: by the client that every containerd has,
// and by the kernel's own files.
type containers struct{ engine *dockerengine.Engine }

func (c containers) ctr(ctx context.Context, node, container string, argv ...string) error {
	if node == "" || container == "" {
		return errors.New("no node or no container")
	}
	_, err := c.engine.Exec(ctx, node, nil, append(append([]string{"ctr", "--namespace", "k8s.io", "tasks"}, argv...), container)...)
	return err
}

// Kill implements kubernetes.Containers.
func (c containers) Kill(ctx context.Context, node, container string) error {
	return c.ctr(ctx, node, container, "kill", "--signal", "SIGKILL")
}

// freezeTries is how often a container is to be frozen. A runtime gives up, and thaws what it has
// frozen, while one of the processes is being made or another caller, who may have been cancelled
// since, is still at it.
const freezeTries = 5

// Freeze implements kubernetes.Containers.
func (c containers) Freeze(ctx context.Context, node, container string) error {
	var failed error
	for range freezeTries {
		is, err := c.Freezer(ctx, node, container)
		if err != nil || is.Frozen {
			return err
		}
		if failed = c.ctr(ctx, node, container, "pause"); failed == nil || ctx.Err() != nil {
			break
		}
	}
	return failed
}

// Thaw implements kubernetes.Containers.
func (c containers) Thaw(ctx context.Context, node, container string) error {
	is, err := c.Freezer(ctx, node, container)
	if err != nil || is.Ended || !is.Frozen {
		return err
	}
	err = c.ctr(ctx, node, container, "resume")
	if err != nil {
		if is, looked := c.Freezer(ctx, node, container); looked == nil && (is.Ended || !is.Frozen) {
			return nil // its kubelet was faster
		}
	}
	return err
}

// freezerScript prints what the kernel says of a container, by either version of cgroups.
//
//go:embed freezer.sh
var freezerScript string

// Freezer implements kubernetes.Containers.
func (c containers) Freezer(ctx context.Context, node, container string) (kubernetes.Freezer, error) {
	out, err := c.script(ctx, node, freezerScript, container)
	if err != nil {
		return kubernetes.Freezer{}, err
	}
	return parseFreezer(out)
}

func parseFreezer(text string) (f kubernetes.Freezer, err error) {
	err = eachLine(text, func(key string, values []string) error {
		switch {
		case key == "ended":
			f.Ended = true
		case key == "processes":
			f.Processes = strings.Join(values, "")
		case key == "frozen" && len(values) == 1:
			f.Frozen = values[0] == "1" || values[0] == "FROZEN"
		default:
			return errUnknown
		}
		return nil
	})
	return f, err
}

// quotaScript reads and sets the quota of a pod, by either version of cgroups.
//
//go:embed quota.sh
var quotaScript string

// Throttle implements kubernetes.Containers.
func (c containers) Throttle(ctx context.Context, node, pod string, cpus float64) error {
	quota := 0
	if cpus > 0 {
		quota = quotaOf(cpus)
	}
	is, err := c.quota(ctx, node, pod, strconv.Itoa(quota))
	if err == nil && is.Ended && cpus > 0 {
		err = errors.New("it has ended")
	}
	return err
}

// Quota implements kubernetes.Containers.
func (c containers) Quota(ctx context.Context, node, pod string) (kubernetes.Quota, error) {
	return c.quota(ctx, node, pod)
}

func (c containers) quota(ctx context.Context, node, pod string, args ...string) (kubernetes.Quota, error) {
	out, err := c.script(ctx, node, quotaScript, strings.ReplaceAll(pod, "-", "_"), args...)
	if err != nil {
		return kubernetes.Quota{}, err
	}
	return parseQuota(out)
}

func parseQuota(text string) (q kubernetes.Quota, err error) {
	err = eachLine(text, func(key string, values []string) (err error) {
		switch {
		case key == "ended":
			q.Ended = true
		case key == "quota" && len(values) == 2:
			q.CPUs, err = processors(values[0], values[1])
		case key == "throttled_time" && len(values) == 1:
			q.Throttled, err = throttled(values[0], time.Nanosecond)
		case key == "throttled_usec" && len(values) == 1:
			q.Throttled, err = throttled(values[0], time.Microsecond)
		default:
			err = errUnknown
		}
		return err
	})
	return q, err
}

func (c containers) script(ctx context.Context, node, text, what string, args ...string) (string, error) {
	if node == "" || what == "" {
		return "", errors.New("no node, or nothing to look at there")
	}
	out, err := c.engine.Exec(ctx, node, nil, append([]string{"sh", "-c", text, "sh", what}, args...)...)
	if err != nil {
		return "", fmt.Errorf("cgroup of %.12s on node %s: %w", what, node, errors.Unwrap(err)) // without the script
	}
	return out, nil
}

var errUnknown = errors.New("nobody knows what it means")

// eachLine reads what a script prints: a word and its values in each line.
func eachLine(text string, take func(key string, values []string) error) error {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := take(words[0], words[1:]); err != nil {
			return fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
	}
	return nil
}

// cpuPeriod is the time of which a quota is a part, in microseconds, as runc has it.
const cpuPeriod = 100_000

// quotaOf is so much of one processor in microseconds of cpuPeriod; the kernel takes no less
// than a millisecond.
func quotaOf(cpus float64) int { return max(int(math.Round(cpus*cpuPeriod)), 1000) }

// processors is the bound that a quota is, in a period.
func processors(quota, period string) (float64, error) {
	if quota == "max" || quota == "-1" {
		return 0, nil
	}
	q, err := strconv.ParseFloat(quota, 64)
	if err != nil {
		return 0, err
	}
	p, err := strconv.ParseFloat(period, 64)
	if err == nil && p <= 0 {
		err = errors.New("a period of no time")
	}
	return q / p, err
}

func throttled(text string, unit time.Duration) (time.Duration, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * unit, err
}
