package lab

import (
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// cpuReader reads how the machine's CPUs fare. Where the system tells nothing it has no sources.
type cpuReader struct {
	sources record.PressureSources
	waited  func(now time.Time) (time.Duration, bool) // nil without a source
	idle    func() (time.Duration, bool)              // nil without a source
}

// read is a reading, without its At; ok is false where the system tells nothing, or no longer
// all that it told at first: one without the half of it would look like a calm machine.
func (r *cpuReader) read(now time.Time) (p record.Pressure, ok bool) {
	if r.waited != nil {
		if p.Waited, ok = r.waited(now); !ok {
			return p, false
		}
	}
	if r.idle != nil {
		if p.Idle, ok = r.idle(); !ok {
			return p, false
		}
	}
	return p, ok
}
