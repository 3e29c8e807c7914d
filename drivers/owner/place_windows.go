package owner

import (
	"syscall"
	"unsafe"
)

// bootID is "": Windows has no name for one of its runs. A process ID that nobody has is
// nobody's in any of them.
func bootID() string { return "" }

const (
	wow6464Key = 0x100 // the registry of 64-bit programs, whatever this one is
	guidKey    = `SOFTWARE\Microsoft\Cryptography`
	guidValue  = "MachineGuid"
)

// machineID names the installation of Windows, "" when that cannot be read.
func machineID() string {
	path, err := syscall.UTF16PtrFromString(guidKey)
	if err != nil {
		return ""
	}
	name, err := syscall.UTF16PtrFromString(guidValue)
	if err != nil {
		return ""
	}
	var key syscall.Handle
	if err := syscall.RegOpenKeyEx(syscall.HKEY_LOCAL_MACHINE, path, 0, syscall.KEY_QUERY_VALUE|wow6464Key, &key); err != nil {
		return ""
	}
	defer syscall.RegCloseKey(key)
	var kind uint32
	var text [64]uint16
	size := uint32(unsafe.Sizeof(text))
	if err := syscall.RegQueryValueEx(key, name, nil, &kind, (*byte)(unsafe.Pointer(&text)), &size); err != nil || kind != syscall.REG_SZ {
		return ""
	}
	return syscall.UTF16ToString(text[:])
}
