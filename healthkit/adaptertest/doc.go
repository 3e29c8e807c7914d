// Package adaptertest holds no code, only tests across the adapters of healthkit: that the
// HTTP probes and every adapter tell the same about the same version, for any sequence of
// reports, expiries, registrations, retractions, generations and lifecycle moves; and that
// probers with the rules of the kubelet and of Docker believe, state by state, what the
// snapshot says.
package adaptertest
