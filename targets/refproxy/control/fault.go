package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// ErrNoInstance: no process of that name follows the stream of faults.
var ErrNoInstance = errors.New("no such instance")

// process is one life of a proxy. The plane's lock guards it.
type process struct {
	instance string
	streams  int // that it follows now: 0 or 1, and 2 for a moment when it comes back
	faults   []feed.Fault
	version  uint64 // of faults, from 1
	reached  uint64 // the version that it says is in effect
}

// faultTimeout is for a process to follow the stream, and to do what it is told: one that has just
// been started, or whose stream has just been broken, is there soon.
const faultTimeout = 5 * time.Second

// SetFault has the process of an instance do something wrong, or end it, and returns once the
// process says so. To end what is there no more is no error. Others wrap ErrNoInstance, or what
// ctx ended with.
func (p *Plane) SetFault(ctx context.Context, instance string, fault feed.Fault, on bool) error {
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	told, changed := p.tell(instance, fault, on)
	for on && len(told) == 0 {
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %q", ErrNoInstance, instance)
		}
		told, changed = p.tell(instance, fault, on)
	}
	for _, proc := range told {
		if err := p.reached(ctx, proc); err != nil && (on || !errors.Is(err, ErrNoInstance)) {
			return fmt.Errorf("%s of %q: %w", fault, instance, err)
		}
	}
	return nil
}

// tell turns a fault of an instance's processes on or off, and returns them, or else what is
// closed when there may be some.
func (p *Plane) tell(instance string, fault feed.Fault, on bool) (told []*process, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, proc := range p.processes {
		if proc.instance == instance && proc.streams > 0 {
			proc.set(fault, on)
			told = append(told, proc)
		}
	}
	if len(told) > 0 {
		p.notify()
	}
	return told, p.changed
}

// set turns a fault on or off. The caller holds the lock.
func (proc *process) set(fault feed.Fault, on bool) {
	if slices.Contains(proc.faults, fault) == on {
		return
	}
	if on {
		proc.faults = append(slices.Clone(proc.faults), fault)
	} else {
		proc.faults = slices.DeleteFunc(slices.Clone(proc.faults), func(f feed.Fault) bool { return f == fault })
	}
	proc.version++
}

// reached waits until a process says that what it was told is in effect.
func (p *Plane) reached(ctx context.Context, proc *process) error {
	for {
		p.mu.Lock()
		is, gone, changed := proc.reached >= proc.version, proc.streams == 0, p.changed
		p.mu.Unlock()
		if is {
			return nil
		}
		if gone {
			return fmt.Errorf("%w any more", ErrNoInstance)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for its word: %w", context.Cause(ctx))
		}
	}
}

// faults sends the faults that are on for one process, and then each change. A stall does not
// hold them back: it is one of them, not a way to take them back.
func (s *stream) faults(ctx context.Context, from feed.Position) error {
	p := s.plane
	p.mu.Lock()
	proc := p.processes[from.Epoch]
	if proc == nil {
		proc = &process{instance: s.sub.Instance, version: 1}
		p.processes[from.Epoch] = proc
	}
	proc.streams++
	p.notify()
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		proc.streams--
		p.notify()
	}()
	for sent := uint64(0); ; {
		p.mu.Lock()
		faults, version, changed := proc.faults, proc.version, p.changed
		p.mu.Unlock()
		if version != sent {
			if err := s.write(feed.Message{Kind: feed.Faults, Version: version, Faults: faults}); err != nil {
				return err
			}
			sent = version
			s.progress(sent, 0)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-s.heartbeat:
			if err := s.write(feed.Message{Kind: feed.Heartbeat}); err != nil {
				return err
			}
		}
	}
}

// acknowledge takes a process's word that a version of its faults is in effect.
func (p *Plane) acknowledge(w http.ResponseWriter, r *http.Request) {
	_, at := feed.ParseQuery(r.URL.Query())
	p.mu.Lock()
	defer p.mu.Unlock()
	proc := p.processes[at.Epoch]
	if proc == nil {
		http.Error(w, "no such process", http.StatusNotFound)
		return
	}
	proc.reached = max(proc.reached, at.Version)
	p.notify()
	w.WriteHeader(http.StatusNoContent)
}
