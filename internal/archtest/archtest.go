// Package archtest holds the rules of the architecture as tests: who may import whom,
// which folder alone uses a library, and one package comment per folder. It has no code
// of its own.
package archtest
