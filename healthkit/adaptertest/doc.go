// Package adaptertest holds no code, only the test that the HTTP probes and
// every adapter of healthkit tell the same about the same version: for any
// sequence of reports, expiries, registrations, retractions, generations and
// lifecycle moves, and with the adapters running as they do in a service.
package adaptertest
