//go:build !linux

package owner

import "os"

// Self is this process, as far as it can be told here.
func Self() (Owner, error) {
	host, err := os.Hostname()
	if err != nil {
		return Owner{}, err
	}
	return Owner{pid: os.Getpid(), boot: hash(host), space: hash("")}, nil
}

// Dead says whether the owner has certainly ended. It never is certain here: what a
// killed lab left has to be named by its run.
func (o Owner) Dead() bool { return false }

// DeadHere is Dead for an owner that is known to have run on this machine.
func (o Owner) DeadHere() bool { return false }
