//go:build !linux && !darwin && !windows

package owner

// bootID is "": it is not known how this system names one of its runs.
func bootID() string { return "" }

// machineID is "" as well, so that nobody is certainly dead here.
func machineID() string { return "" }
