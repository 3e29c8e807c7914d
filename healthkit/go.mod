module github.com/rollout-lab/rollout-lab/healthkit

go 1.24.0
