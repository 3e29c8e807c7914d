//go:build !linux

package load

import "time"

// canNap is false where only Linux's sleep was measured to beat Go's timers: the pacer
// then leaves the waiting to vegeta.
const canNap = false

func nap(d time.Duration) { time.Sleep(d) }
