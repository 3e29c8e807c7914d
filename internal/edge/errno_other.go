//go:build !windows

package edge

// The portable names cover the system's own errors here.
func isOSRefused(error) bool { return false }
func isOSReset(error) bool   { return false }
func isOSHarness(error) bool { return false }
