MODULE      = github.com/rollout-lab/rollout-lab
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
OLDEST_GO   = go1.24.0
ADAPTERS    = grpc otelhealth promhealth sdnotify
PACKAGES    = work
PLATFORMS   = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: build release release-check test lint vuln tidy tidy-check oldest cross cross-quick demo conformance e2e e2e-outage e2e-shutdown e2e-full kindnode

build: ## the program, in ./rollout-lab
	CGO_ENABLED=0 go build -trimpath -o rollout-lab ./cmd/rollout-lab

release: ## in dist/release: the program for each system, packed, with sums and what is in it; PLATFORMS=linux/amd64 for one
	@PLATFORMS='$(filter-out windows/%,$(PLATFORMS))' .ci/release

release-check: ## what dist/release has for this machine, installed where there is nothing else; needs root
	@.ci/install-check

# What has no goroutine, which is a test (internal/archtest), and computes much: a race detector
# has nothing to say of it, and makes it take five times as long.
PURE = ./internal/judge ./internal/target ./internal/timeline ./reports/...

test: ## everything that needs nothing but Go
	go test -race -vet=off -timeout 30m $$(go list work | grep -vxF "$$(go list $(PURE))")
	go test $(PURE)

lint: ## gofmt, go vet, staticcheck, go mod tidy; the import rules are tests (internal/archtest)
	@test -z "$$(gofmt -l .)" || { gofmt -d . ; exit 1; }
	go vet -tags e2e work
	go run $(STATICCHECK) -tags e2e work
	@$(MAKE) -s tidy-check

vuln: ## known vulnerabilities; needs the network
	go run $(GOVULNCHECK) work

# alone FOLDERS,COMMAND: the command in each, as if there were no go.work, which go mod tidy
# does not read either; a copy of go.mod, in $$tmp, replaces what is not yet released.
define alone
	@tmp=$$(mktemp -d) && trap 'rm -r $$tmp' EXIT && for dir in $(1); do echo $$dir && cd $(CURDIR)/$$dir && \
		cp go.mod $$tmp && { cat go.sum 2>/dev/null || true; } >$$tmp/go.sum && \
		go mod edit $$(awk '/=>/ { print "-replace=" $$1 "=$(CURDIR)/" $$4 }' $(CURDIR)/go.work) $$tmp/go.mod && \
		GOWORK=off GOFLAGS="$$(go env GOFLAGS) -modfile=$$tmp/go.mod" $(2) || exit 1; done
endef
MODULES = $$(awk '$$1 ~ /^[.]/ { print $$1 }' go.work)

tidy: ## go mod tidy in every module
	$(call alone,$(MODULES),go mod tidy && \
		go mod edit $$(awk '/=>/ { print "-dropreplace=" $$1 }' $(CURDIR)/go.work) $$tmp/go.mod && \
		cp $$tmp/go.mod . && if [ -s $$tmp/go.sum ]; then cp $$tmp/go.sum .; fi)

tidy-check: ## what make tidy would change
	$(call alone,$(MODULES),go mod tidy -diff)

oldest: ## healthkit with the oldest Go and the oldest libraries that it promises
	$(call alone,healthkit $(addprefix healthkit/,$(ADAPTERS)),env GOTOOLCHAIN=$(OLDEST_GO) go test -vet=all ./...)

cross: ## compiles everywhere, tests included
	@for p in $(PLATFORMS); do echo $$p; GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 go vet $(PACKAGES) || exit 1; done

# What differs between systems, without the libraries of Docker, systemd and Kubernetes, which
# take minutes to compile for each.
cross-quick: ## as cross, for what is the lab's own, on one architecture of each system
	@$(MAKE) -s cross PLATFORMS='linux/arm64 darwin/arm64 windows/amd64' PACKAGES='./cli/... ./drivers ./drivers/process \
		./drivers/fleet ./drivers/lifecycle ./drivers/owner ./drivers/ports ./drivers/program ./drivers/drivertest \
		./internal/... ./reports/... ./scenarios ./targets/... ./healthkit/...'

demo: ## the picture in the README, from a real run
	rm -rf dist/demo
	go run ./cmd/rollout-lab run quickstart --out dist/demo
	go run ./cmd/rollout-lab report dist/demo --svg docs/quickstart.svg

# What takes longest is begun first: the others fit beside it.
conformance: ## what takes docker, systemd and kind, as far as they are there
	go test -p 2 -count=1 -timeout 30m ./drivers/kind ./drivers/systemd ./drivers/docker ./healthkit/sdnotify

e2e: ## one scenario on each driver, as the gate runs it
	go test -tags e2e -count=1 -timeout 30m -run 'E2ERollout$$' -v ./cmd/rollout-lab

# The load and its server share this machine: they come first on it, where that is allowed.
FIRST = $(shell chrt -f 10 true 2>/dev/null && echo chrt -f 10)

e2e-outage: ## an outage of a known length is measured as that, within two requests
	go test -tags e2e -count=1 -timeout 10m -run ExactOutages -exec "$(FIRST)" -v ./internal/load

e2e-shutdown: ## what shutting down under load loses, as tables: when healthkit's servers change; ten minutes or more
	go test -tags e2e -count=1 -timeout 40m -run 'ShutdownTable|RunLosesNothing' -v ./healthkit/adaptertest

e2e-full: e2e-outage e2e-shutdown ## every promise on every driver, the long ones too: about an hour and a half
	go test -p 1 -tags e2e -count=1 -timeout 180m -v ./drivers/... ./images/... ./cmd/...

kindnode: ## an image for kind's nodes, with no container registry; minutes at first, then seconds
	go run ./images/kindnode
