package load

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const sleepsPrecisely = true

// sleep sleeps in the kernel, which wakes within its timer slack of 50 microseconds.
func sleep(d time.Duration) {
	for until := time.Now().Add(d); d > 0; d = time.Until(until) {
		ts := unix.NsecToTimespec(int64(d))
		// A signal ends the sleep early; Go's own preemption does it all the time.
		if err := unix.Nanosleep(&ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			time.Sleep(time.Until(until))
		}
	}
}
