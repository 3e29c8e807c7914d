// Package cli is rollout-lab's command line: commands, flags and exit codes. It does no
// work itself, and knows no driver but those that a main package gives to [Main]:
// cmd/rollout-lab gives the built-in ones, and a program of another module can give its
// own, by themselves or beside them. examples/driver does.
package cli
