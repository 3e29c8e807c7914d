// Package archtest holds the rules of the architecture as tests: who may import whom and
// which library, as the tables of ARCHITECTURE.md say, how the modules hang together, and
// one package comment per folder. It has no code of its own.
package archtest
