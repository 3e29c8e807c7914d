package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/rollout-lab/rollout-lab/drivers/fleet"
)

// Stop implements fleet.Runtime: it has systemd stop the unit, its socket before it, so
// that no connection starts the service anew.
func (m *manager) Stop(ctx context.Context, i *fleet.Instance) error {
	u, err := m.find(i.ID)
	if err != nil {
		return nil // it has ended by itself and Gone is on its way
	}
	u.mu.Lock()
	if u.away { // it has ended already, and that was none
		u.away = false
		u.enqueueAgain()
	}
	u.mu.Unlock()
	l, err := m.linked(ctx)
	if err != nil {
		u.lose("cannot be stopped: " + err.Error())
		return err
	}
	done := make(chan string, 1)
	for _, name := range u.names() {
		jobDone := done
		if name != u.name {
			jobDone = nil
		}
		if _, err := l.calls.StopUnitContext(ctx, name, "replace", jobDone); ignoreUnknown(err) != nil {
			u.lose("cannot be stopped: " + err.Error())
			return fmt.Errorf("stop %s: %w", name, err)
		} else if err != nil && name == u.name {
			return nil // unknown: the signal that it was removed has come or will
		}
	}
	m.work.Go(func() { m.awaitStop(u, done) })
	return nil
}

// awaitStop sees to it that a stop comes to its end, whatever becomes of the signals.
func (m *manager) awaitStop(u *unit, done <-chan string) {
	limit := u.instance.Service.StopGrace + stopMargin
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-u.instance.Over():
		return
	case <-timer.C:
		u.lose(fmt.Sprintf("systemd has not stopped it within %v", limit))
		return
	}
	// By now the end has been told or is about to be. A signal that was lost with its
	// connection would never be.
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	l, err := m.linked(ctx)
	if err != nil {
		u.lose("stopped, unseen: " + err.Error())
		return
	}
	service, err := l.read(ctx, u.name)
	if err != nil {
		u.lose("stopped, unseen: " + err.Error())
		return
	}
	if service.ended() {
		u.reread(service, state{})
	}
}

// End implements fleet.Runtime: SIGKILL to all that the unit has.
func (m *manager) End(i *fleet.Instance) {
	m.mu.Lock()
	ended := m.ended
	m.mu.Unlock()
	if u, err := m.find(i.ID); err == nil && ended == nil {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		if err := m.kill(ctx, u, syscall.SIGKILL); err != nil {
			m.note(fmt.Errorf("end %s: %w", i.ID, err))
		}
	}
}

// note keeps an error for Close.
func (m *manager) note(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errors = append(m.errors, err)
}

// kill sends a signal to every process of a unit. One that has none is left alone.
func (m *manager) kill(ctx context.Context, u *unit, sig syscall.Signal) error {
	l, err := m.linked(ctx)
	if err != nil {
		return err
	}
	err = ignoreUnknown(l.calls.KillUnitWithTarget(ctx, u.name, systemd.All, int32(sig)))
	var e dbus.Error
	if errors.As(err, &e) && strings.HasSuffix(e.Name, ".NoSuchProcess") {
		return nil
	}
	return err
}

// Restart implements fleet.Restarter: systemd's own restart of the unit, which keeps its
// socket where it has one.
func (m *manager) Restart(ctx context.Context, i *fleet.Instance) error {
	u, err := m.find(i.ID)
	if err != nil {
		return err
	}
	l, err := m.linked(ctx)
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.restarts++
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.restarts--
		u.enqueueAgain()
		u.mu.Unlock()
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := ctx.Done()
	m.work.Go(func() {
		select {
		case <-i.StopAsked():
			cancel(errors.New("it was asked to stop meanwhile"))
		case <-i.Over():
			cancel(errors.New("it has ended"))
		case <-watching:
		}
	})
	if err := u.restart(ctx, l); err != nil {
		return fmt.Errorf("restart %s: %w", u.name, err)
	}
	return nil
}

// restart has systemd restart the unit and returns once that is done and was taken note of.
func (u *unit) restart(ctx context.Context, l *link) error {
	done := make(chan string, 1)
	if _, err := l.calls.RestartUnitContext(ctx, u.name, "replace", done); err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("the job ended with %q: %s", result, u.lastWords())
		}
	case <-ctx.Done():
		return fmt.Errorf("waiting for its job: %w", context.Cause(ctx))
	}
	now, err := l.read(ctx, u.name)
	if err != nil {
		return err
	}
	return u.awaitSeen(ctx, now.process)
}
