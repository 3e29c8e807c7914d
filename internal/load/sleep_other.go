//go:build !linux

package load

import "time"

// sleepsPrecisely is false where only Linux's sleep was measured to beat Go's timers: the pacer
// then leaves the waiting to vegeta.
const sleepsPrecisely = false

func sleep(d time.Duration) { time.Sleep(d) }
