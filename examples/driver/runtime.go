//go:build unix

package plain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/fleet"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

// runtime implements fleet.Runtime for one deployed stack: it starts and stops processes,
// asks them for their signal, and reports both to the fleet.
type runtime struct {
	driver *Driver
	env    *fleet.Environment
	mark   *os.File
	tasks  sync.WaitGroup

	mu        sync.Mutex
	processes map[*fleet.Instance]*process
}

// process is an instance's present process.
type process struct {
	cmd    *exec.Cmd
	output *lastLines
	ports  []int
	addrs  map[string]string // where its ports are, by name
}

// Create implements fleet.Runtime.
func (r *runtime) Create(_ context.Context, i *fleet.Instance) error {
	numbers, err := r.driver.ports.Take(len(i.Service.Ports))
	if err != nil {
		return err
	}
	addrs := map[string]string{}
	for n, name := range i.Service.Ports {
		addrs[name] = ports.Loopback(numbers[n])
	}
	i.SetAddrs(addrs, nil)
	p := &process{output: &lastLines{}, ports: numbers, addrs: addrs}
	i.Output(p.output.String)
	if err := r.start(i, p); err != nil {
		r.driver.ports.Release(numbers)
		return err
	}
	if i.Subject && i.Service.Signal.WithDefaults().Kind != drivers.ProbeNone {
		r.tasks.Go(func() { r.check(i, p) })
	}
	r.tasks.Go(func() { r.supervise(i, p) })
	return nil
}

// start starts a process of the instance and reports it, unless it was asked to stop.
func (r *runtime) start(i *fleet.Instance, p *process) error {
	args, variables, err := i.Places(p.addrs).Command(i.Service)
	if err != nil {
		return err
	}
	program := i.Service.Exec
	if program == "" {
		program, args = r.driver.program[0], append(r.driver.program[1:len(r.driver.program):len(r.driver.program)], args...)
	}
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles = []*os.File{r.mark}
	// What concerns the lab alone is no business of the program.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ROLLOUT_LAB_") })
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.WaitDelay = 500 * time.Millisecond
	// An interrupt from the terminal is for the lab, which then stops its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	r.mu.Lock()
	defer r.mu.Unlock()
	if i.Stopping() {
		return errStopped
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	p.cmd = cmd
	r.processes[i] = p
	i.Started(fmt.Sprintf("process %d", cmd.Process.Pid))
	if i.Service.Signal.WithDefaults().Kind == drivers.ProbeNone {
		i.SetReady(true, "process runs")
	}
	return nil
}

var errStopped = errors.New("it was asked to stop")

// supervise waits for the end of the instance's processes and starts others where it must.
func (r *runtime) supervise(i *fleet.Instance, p *process) {
	for {
		how := r.await(i, p)
		i.SetReady(false, "process ended: "+how)
		crashes := i.Exited(how, p.output.String())
		if i.Stopping() || !i.Service.RestartOnExit || !r.restart(i, p, crashes) {
			i.Ended()
			r.mu.Lock()
			delete(r.processes, i)
			r.mu.Unlock()
			r.driver.ports.Release(p.ports)
			i.Gone(how)
			return
		}
	}
}

// await returns how the process ended, and ends it when its grace is over.
func (r *runtime) await(i *fleet.Instance, p *process) (how string) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The output is read to its end unless a child of the process holds it open.
		_ = p.cmd.Wait() // how it ended is told by ProcessState
		// What it has left behind is of its group. It is gone already, or all that is left.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}()
	stopping, grace := i.StopAsked(), (<-chan time.Time)(nil)
	killed := ""
	for {
		select {
		case <-ended:
			return p.cmd.ProcessState.String() + killed
		case <-stopping:
			timer := time.NewTimer(i.Service.StopGrace)
			defer timer.Stop()
			stopping, grace = nil, timer.C
		case <-grace:
			grace, killed = nil, fmt.Sprintf(" (killed after its grace of %v)", i.Service.StopGrace)
			p.signal(syscall.SIGKILL)
		}
	}
}

// restart starts the next process after a pause that grows with the crashes in a row; false
// means that there will be none.
func (r *runtime) restart(i *fleet.Instance, p *process, crashes int) bool {
	pause := time.Duration(0)
	if crashes > 1 {
		pause = min(100*time.Millisecond<<min(crashes, 6), 5*time.Second)
	}
	select {
	case <-time.After(pause):
		return r.start(i, p) == nil
	case <-i.StopAsked():
		return false
	}
}

// check asks the instance for its signal, as a plain balancer does, until it is over.
func (r *runtime) check(i *fleet.Instance, p *process) {
	signal := i.Service.Signal.WithDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.tasks.Go(func() { <-i.Over(); cancel() })
	ticker := time.NewTicker(signal.Interval)
	defer ticker.Stop()
	for good, bad := 0, 0; ; {
		answer, err := signal.Ask(ctx, p.addrs[signal.Port])
		if ctx.Err() != nil {
			return
		}
		i.Answer(answer)
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case good >= signal.Rise:
			i.SetReady(true, answer)
		case bad >= signal.Fall:
			i.SetReady(false, answer)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Stop implements fleet.Runtime.
func (r *runtime) Stop(_ context.Context, i *fleet.Instance) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.processes[i]; p != nil {
		p.signal(syscall.SIGTERM)
	}
	return nil
}

// End implements fleet.Runtime.
func (r *runtime) End(i *fleet.Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.processes[i]; p != nil {
		p.signal(syscall.SIGKILL)
	}
}

// clean is called when every instance is gone. It ends what their processes have left behind.
func (r *runtime) clean(context.Context) error {
	r.tasks.Wait()
	_, err := killMarked(func(m marked) bool { return m.file == r.mark.Name() })
	r.driver.running.Remove(r.env)
	return errors.Join(err, r.mark.Close())
}

// signal sends a signal to the process, unless it has ended. os.Process knows whether it was
// waited for, so the signal can reach nobody else.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it has ended, or hears it

// lastLines keeps the end of what a process writes.
type lastLines struct {
	mu   sync.Mutex
	text []byte
}

const keptOutput = 4 << 10

func (l *lastLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if over := len(l.text) - keptOutput; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(b), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(l.text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("; ")))
}
