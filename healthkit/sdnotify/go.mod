module github.com/rollout-lab/rollout-lab/healthkit/sdnotify

go 1.24.0

require (
	github.com/coreos/go-systemd/v22 v22.7.0
	github.com/rollout-lab/rollout-lab/healthkit v0.0.0
	go.uber.org/goleak v1.3.0
	pgregory.net/rapid v1.3.0
)

require golang.org/x/sys v0.1.0 // indirect
