MODULE      = github.com/rollout-lab/rollout-lab
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
# Modules of this tree that others in it require, at a version that no proxy has yet.
UNRELEASED  = healthkit healthkit/grpc healthkit/promhealth healthkit/sdnotify
TIDY        = go mod tidy
PLATFORMS   = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: build test lint vuln tidy tidy-check cross demo conformance e2e e2e-full kindnode

build: ## the program, in ./rollout-lab
	CGO_ENABLED=0 go build -trimpath -o rollout-lab ./cmd/rollout-lab

test: ## everything that needs nothing but Go
	go test -race -timeout 30m work

lint: ## gofmt, go vet, staticcheck; the import rules are tests (internal/archtest)
	@test -z "$$(gofmt -l .)" || { gofmt -d . ; exit 1; }
	go vet work && go vet -tags e2e ./cmd/rollout-lab
	go run $(STATICCHECK) work

vuln: ## known vulnerabilities; needs the network
	go run $(GOVULNCHECK) work

tidy: ## go mod tidy in every module; go.work gives each the others, but tidy does not read it
	@for dir in $$(go list -m -f '{{.Dir}}'); do cd $$dir && echo $$dir && \
		go mod edit -replace=$(MODULE)=$(CURDIR) $(foreach m,$(UNRELEASED),-replace=$(MODULE)/$(m)=$(CURDIR)/$(m)) || exit 1; \
		GOWORK=off $(TIDY); failed=$$?; \
		go mod edit -dropreplace=$(MODULE) $(foreach m,$(UNRELEASED),-dropreplace=$(MODULE)/$(m)) || exit 1; [ $$failed = 0 ] || exit 1; done

tidy-check: ## what make tidy would change
	@$(MAKE) tidy TIDY='go mod tidy -diff'

cross: ## compiles everywhere, tests included
	@for p in $(PLATFORMS); do echo $$p; GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 go vet work || exit 1; done

demo: ## the picture in the README, from a real run
	rm -rf dist/demo
	go run ./cmd/rollout-lab run quickstart --out dist/demo
	go run ./cmd/rollout-lab report dist/demo --svg docs/quickstart.svg

conformance: ## drivertest on docker, systemd and kind, as far as they are there
	go test -p 1 -count=1 -timeout 30m ./drivers/docker ./drivers/systemd ./drivers/kind

e2e: ## one scenario on each driver, as the gate runs it
	go test -tags e2e -count=1 -timeout 30m -run E2ERollout -v ./cmd/rollout-lab

e2e-full: ## every promise on every driver, the long ones too: about an hour and a half
	go test -p 1 -tags e2e -count=1 -timeout 180m -v ./drivers/... ./images/... ./cmd/...

kindnode: ## an image for kind's nodes, with no container registry; minutes at first, then seconds
	go run ./images/kindnode
