package healthkit

import "time"

// The wall clock is set now and then: by NTP after a boot, by a virtual machine that is resumed.
// Everything here is judged by the monotonic clock. Times for people and for Prometheus are
// made of it when a snapshot is, by a wall clock that is looked at again every wallCheck and
// believed when it has moved by wallStep.
const (
	wallCheck = 100 * time.Millisecond
	wallStep  = 100 * time.Millisecond
)

// now is the monotonic time since the registry was made. One clock read of
// the cheap kind: time.Since reads no wall clock.
func (r *Registry) now() int64 { return int64(time.Since(r.base)) }

// at turns a kept time into a wall time, whose monotonic part is that of the kept time. The
// caller holds the lock.
func (r *Registry) at(t int64) time.Time { return r.anchor.Add(time.Duration(t - r.anchored)) }

// checkWall looks whether the wall clock has been set. If so, every time of a snapshot has
// changed. The caller holds the lock.
func (r *Registry) checkWall() {
	before := r.now()
	wall := r.wall()
	after := r.now()
	r.wallDue.Store(after + int64(wallCheck))
	moved := wall.Round(0).Sub(r.anchor.Round(0)) - time.Duration(after-r.anchored)
	// Whoever is held up between two clocks has not seen a step.
	if moved.Abs() < wallStep+time.Duration(after-before) {
		return
	}
	r.anchor, r.anchored = wall, after
	r.changed(after)
}
