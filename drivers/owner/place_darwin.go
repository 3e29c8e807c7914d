package owner

import "syscall"

// bootID names this run of the machine, "" when the system does not tell.
func bootID() string {
	id, err := syscall.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}

// machineID is "": what names a Mac for good cannot be read without a library. A lab from
// before a restart is therefore never certainly dead.
func machineID() string { return "" }
