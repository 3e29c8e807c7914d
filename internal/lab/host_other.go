//go:build !unix

package lab

import "time"

func kernel() string { return "unknown" }

// childrenCPU is not known here; 0 says so in the record.
func childrenCPU() time.Duration { return 0 }
