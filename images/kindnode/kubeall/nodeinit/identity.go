package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	machineID   = "/etc/machine-id"
	productUUID = "/kind/product_uuid"
)

// identify gives the node an identity of its own, which it keeps when it is started
// again: all nodes come from one image, and all see the hardware of one host.
func identify() error {
	have, err := os.ReadFile(machineID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(strings.TrimSpace(string(have))) == 0 {
		id, err := randomUUID()
		if err != nil {
			return err
		}
		if err := os.WriteFile(machineID, []byte(strings.ReplaceAll(id, "-", "")+"\n"), 0o444); err != nil {
			return err
		}
	}
	if _, err := os.Stat(productUUID); errors.Is(err, fs.ErrNotExist) {
		id, err := randomUUID()
		if err != nil {
			return err
		}
		if err := os.WriteFile(productUUID, []byte(id+"\n"), 0o444); err != nil {
			return err
		}
	}
	for _, path := range []string{"/sys/class/dmi/id/product_uuid", "/sys/devices/virtual/dmi/id/product_uuid"} {
		if _, err := os.Stat(path); err != nil {
			continue // not every machine has one
		}
		if err := unix.Mount(productUUID, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", path, err)
		}
	}
	return nil
}

func randomUUID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	return strings.TrimSpace(string(id)), err
}
