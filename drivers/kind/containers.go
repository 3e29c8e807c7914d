package kind

import (
	"bufio"
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

// Freeze implements kubernetes.Containers.
func (c containers) Freeze(ctx context.Context, node, container string) error {
	is, err := c.Look(ctx, node, container)
	if err != nil || is.Frozen {
		return err
	}
	return c.ctr(ctx, node, container, "pause")
}

// Thaw implements kubernetes.Containers.
func (c containers) Thaw(ctx context.Context, node, container string) error {
	is, err := c.Look(ctx, node, container)
	if err != nil || is.Ended || !is.Frozen {
		return err
	}
	err = c.ctr(ctx, node, container, "resume")
	if err != nil {
		if is, looked := c.Look(ctx, node, container); looked == nil && (is.Ended || !is.Frozen) {
			return nil // its kubelet was faster
		}
	}
	return err
}

// Throttle implements kubernetes.Containers.
func (c containers) Throttle(ctx context.Context, node, container string, cpus float64) error {
	quota := "0"
	if cpus > 0 {
		quota = strconv.Itoa(quotaOf(cpus))
	}
	out, err := c.script(ctx, node, throttleScript, container, quota)
	if err == nil && cpus > 0 && strings.TrimSpace(out) == "ended" {
		err = errors.New("it has ended")
	}
	return err
}

// Look implements kubernetes.Containers.
func (c containers) Look(ctx context.Context, node, container string) (kubernetes.Condition, error) {
	out, err := c.script(ctx, node, lookScript, container)
	if err != nil {
		return kubernetes.Condition{}, err
	}
	return parseCondition(out)
}

func (c containers) script(ctx context.Context, node, text, container string, args ...string) (string, error) {
	if node == "" || container == "" {
		return "", errors.New("no node or no container")
	}
	out, err := c.engine.Exec(ctx, node, nil, append([]string{"sh", "-c", text, "sh", container}, args...)...)
	if err != nil {
		return "", fmt.Errorf("cgroup of container %.12s on node %s: %w", container, node, errors.Unwrap(err))
	}
	return out, nil
}

// cpuPeriod is the time of which a bound is a part, in microseconds, as runc has it.
const cpuPeriod = 100_000

// quotaOf is so much of one processor in microseconds of cpuPeriod; the kernel takes no less
// than a millisecond.
func quotaOf(cpus float64) int { return max(int(math.Round(cpus*cpuPeriod)), 1000) }

// lookScript prints what the kernel says of a container, by either version of cgroups.
//
//go:embed look.sh
var lookScript string

// throttleScript sets the quota of a container in microseconds, 0 for none.
//
//go:embed throttle.sh
var throttleScript string

// parseCondition reads what lookScript prints: a word and its values in each line.
func parseCondition(text string) (kubernetes.Condition, error) {
	var c kubernetes.Condition
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		var err error
		switch key, values := words[0], words[1:]; {
		case key == "ended":
			return kubernetes.Condition{Ended: true}, nil
		case key == "processes":
			c.Processes = strings.Join(values, "")
		case len(values) == 0:
			err = errors.New("it says nothing")
		case key == "frozen":
			c.Frozen = values[0] == "1" || values[0] == "FROZEN"
		case key == "quota" && len(values) == 2:
			c.CPUs, err = processors(values[0], values[1])
		case key == "throttled_time":
			c.Throttled, err = throttled(values[0], time.Nanosecond)
		case key == "throttled_usec":
			c.Throttled, err = throttled(values[0], time.Microsecond)
		default:
			err = errors.New("nobody knows what it means")
		}
		if err != nil {
			return c, fmt.Errorf("%q: %w", lines.Text(), err)
		}
	}
	return c, lines.Err()
}

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
