//go:build e2e && linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/reports"
)

const (
	pollEvery = 10 * time.Millisecond
	// outFor is how many questions to the balancer in a row, none of which hung, an instance has to
	// answer none of to be out of its rotation: each has a third of them.
	outFor = 30
	// hangs is how long the observer waits for an answer.
	hangs = 300 * time.Millisecond
)

// poll is one look at what runs, from outside of the lab.
type poll struct {
	at     time.Time
	frozen []string // instances whose process is in state T
	alive  []string // all that have one
	// What became of a question to the balancer: who answered, "" where nobody did.
	answer string
	hung   bool
}

// observer looks at the processes below a lab, and asks its balancer as any client would. It knows
// nothing of the lab but what /proc says: who the children are, and which port the lab listens on.
type observer struct {
	lab   int // its process
	polls []poll
}

// watch polls from the first instance on until no instance is left, or ctx ends.
func (o *observer) watch(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangs}
	var mu sync.Mutex
	var asked sync.WaitGroup
	defer func() {
		asked.Wait()
		slices.SortFunc(o.polls, func(a, b poll) int { return a.at.Compare(b.at) })
	}()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	url, began := "", false
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d polls, of %q: %w", len(o.polls), url, ctx.Err())
		case <-tick.C:
		}
		p := poll{at: time.Now()}
		p.alive, p.frozen = instancesBelow(o.lab)
		if began = began || len(p.alive) == 3; !began {
			continue
		}
		if len(p.alive) == 0 {
			return nil
		}
		if url == "" {
			if url = listens(o.lab); url == "" {
				continue
			}
		}
		asked.Go(func() {
			answer, err := client.Get(url)
			if p.hung = err != nil; err == nil {
				p.answer = answer.Header.Get(drivers.InstanceHeader)
				answer.Body.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			o.polls = append(o.polls, p)
		})
	}
}

// instancesBelow are the instances of the subject among a process's children, by their command
// lines, and those of them that are stopped.
func instancesBelow(lab int) (alive, frozen []string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid ...
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(lab) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		args := strings.Split(string(line), "\x00")
		at := slices.Index(args, "--instance")
		if at < 0 || at+1 >= len(args) {
			continue
		}
		alive = append(alive, args[at+1])
		if fields[0] == "T" {
			frozen = append(frozen, args[at+1])
		}
	}
	return alive, frozen
}

// listens is the address that a process listens on, as the kernel has it.
func listens(pid int) string {
	own := map[string]bool{}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			own[strings.Trim(to, "socket:[]")] = true
		}
	}
	table, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !own[f[9]] {
			continue
		}
		_, port, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err == nil {
			return fmt.Sprintf("http://127.0.0.1:%d/", n)
		}
	}
	return ""
}

// detection is between which two times the frozen instance was taken out, from when it was frozen:
// the last question that hung was sent before, and those behind it were all answered.
func (o *observer) detection() (instance string, least, most time.Duration, ok bool) {
	first := slices.IndexFunc(o.polls, func(p poll) bool { return len(p.frozen) > 0 })
	if first < 1 {
		return "", 0, 0, false
	}
	instance = o.polls[first].frozen[0]
	last := first
	for i := first; i < len(o.polls) && slices.Contains(o.polls[i].frozen, instance); i++ {
		if o.polls[i].hung {
			last = i
		}
	}
	const enough = 15 // questions in a row go to it with a share of a third, or it is out
	if last+enough >= len(o.polls) {
		return instance, 0, 0, false
	}
	return instance, o.polls[last].at.Sub(o.polls[first].at), o.polls[last+enough].at.Sub(o.polls[first-1].at), true
}

// evicted are the instances that lived, were never frozen, and for a while answered nothing of what
// the balancer was asked.
func (o *observer) evicted() (ids []string) {
	silent := map[string]int{} // questions since each one's last answer
	for _, p := range o.polls {
		if p.answer != "" {
			silent[p.answer] = 0
		}
		for id := range silent {
			if !p.hung {
				silent[id]++
			}
			froze := slices.ContainsFunc(o.polls, func(p poll) bool { return slices.Contains(p.frozen, id) })
			if silent[id] > outFor && slices.Contains(p.alive, id) && !froze && !slices.Contains(ids, id) && o.back(id, p.at) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// back reports whether an instance answers again later: at the end of a trial all of them go.
func (o *observer) back(id string, since time.Time) bool {
	return slices.ContainsFunc(o.polls, func(p poll) bool { return p.answer == id && p.at.After(since) })
}

// TestE2EAnObserverAgrees: someone who looks from outside, at processes and through the balancer, sees
// an instance taken out when the lab says so, and those evicted that the lab says were.
func TestE2EAnObserverAgrees(t *testing.T) {
	const scenario = `name: observed
about: What somebody else sees of a fault.
target: {refproxy: {sessions: 200, sync_rate: 10000, routes: 10}}
replicas: 3
load: {rate: 50, timeout: 2s, deny: 2%%, saturation: allowed}
phases:
  baseline: {from: 1s, to: 2s}
  window: {from: 2s, to: 12s}
action: {kind: none}
faults: [%s]
trials: 1
designs: [%s]
`
	bin := labBinary(t)
	for _, tc := range []struct {
		name, fault, design string
		notices             bool
	}{
		{"frozen", "{kind: pause, at: 1s, for: 2800ms}", "stack-aware", true},
		{"a shared outage and a fleet that is taken out", "{kind: outage, service: upstream, at: 1s, for: 4s}", "deep-readiness", false},
		{"a shared outage and a fleet that stays", "{kind: outage, service: upstream, at: 1s, for: 4s}", "stack-aware", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			needDriver(t, "process")
			dir := t.TempDir()
			file, out := filepath.Join(dir, "observed.yaml"), filepath.Join(dir, "run")
			if err := os.WriteFile(file, fmt.Appendf(nil, scenario, tc.fault, tc.design), 0o600); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			cmd := exec.Command(bin, "run", file, "--driver", "process", "--out", out)
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			o := &observer{lab: cmd.Process.Pid}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			watchErr := o.watch(ctx)
			if watchErr != nil {
				cmd.Process.Kill() // nobody waits for it
			}
			runErr := cmd.Wait() // a run without gates is inconclusive
			if watchErr != nil {
				t.Fatalf("observer: %v; the lab: %v\n%s", watchErr, runErr, &said)
			}
			trial := firstTrialOf(t, out, &said)
			t.Logf("the lab says %v, the observer made %d polls", trial.Metrics, len(o.polls))

			if got, want := len(o.evicted()), int(trial.Metrics["false_evictions"]); got != want {
				t.Errorf("the observer saw %d instances evicted (%v), the lab %d", got, o.evicted(), want)
			}
			if tc.design == "deep-readiness" && len(o.evicted()) != 3 {
				t.Errorf("evicted were %v, want the fleet", o.evicted())
			}
			if !tc.notices {
				return
			}
			id, least, most, ok := o.detection()
			detection, known := trial.Metrics["detection"]
			if !ok || !known {
				t.Fatalf("seen: %v, said: %v\n%s", ok, known, &said)
			}
			took := time.Duration(detection * float64(time.Millisecond))
			t.Logf("%s was taken out between %v and %v, says the observer; after %v, says the lab", id, least, most, took)
			if slack := 2 * pollEvery; took < least-slack || took > most+slack {
				t.Errorf("detection of %s after %v, seen from outside between %v and %v", id, took, least, most)
			}
		})
	}
}

// firstTrialOf reads the first trial from a run's results.json.
func firstTrialOf(t *testing.T, dir string, said *bytes.Buffer) reports.Trial {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	var doc reports.Document
	if err := cmp.Or(err, json.Unmarshal(raw, &doc)); err != nil || len(doc.Cells) == 0 {
		t.Fatalf("results.json: %v, %d cells\n%s", err, len(doc.Cells), said)
	}
	trial := doc.Cells[0].Trials[0]
	for _, why := range trial.InvalidReasons {
		if strings.Contains(why, "the fault ") {
			t.Fatal(why)
		}
	}
	return trial
}
