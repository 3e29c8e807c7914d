//go:build !race

package healthkit

const raceEnabled = false
