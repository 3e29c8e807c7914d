//go:build !linux

package confined

import "os/exec"

func confine(*exec.Cmd) {}
