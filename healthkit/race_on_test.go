//go:build race

package healthkit

const raceEnabled = true
