# CI is `make lint test`; nothing hides elsewhere. Tools and modules are fetched
# by version and checksum. The tests of several nodes need PostgreSQL, those of the
# browser library Node and Chromium; `make test` installs them where it can.

TOOL := go tool -modfile=tools/go.mod
FUZZTIME ?= 10s

.PHONY: build demo test postgres proxies test-only fuzz race chaos verify-long lint fmt docs bench bench-postgres load clean

build: ## the binary, in bin/
	CGO_ENABLED=0 go build -trimpath -o bin/counterfoil ./cmd/counterfoil

demo: ## the main job, with seed data
	go run ./cmd/counterfoil demo

test: postgres proxies test-only alerts fuzz browser ## all tests, also in a real browser, and each fuzz target for FUZZTIME

postgres: ## PostgreSQL for the tests of several nodes, where root can install it
	@./tools/postgres.sh

proxies: ## nginx and Caddy for the tests of forward-auth, likewise
	@./tools/proxies.sh

test-only: ## all Go tests but fuzzing
	go test -timeout 15m ./...
	cd client/ssm && go test -timeout 5m ./... # a module of its own

fuzz: ## each fuzz target for FUZZTIME
	./tools/fuzz.sh $(FUZZTIME)

race: ## the tests that matter most, with the race detector
	go test -race -timeout 30m ./internal/... ./client/...
	cd client/ssm && go test -race -timeout 5m ./...

chaos: postgres ## three nodes under faults, with a checker of the whole history, a minute by another schedule each time
	COUNTERFOIL_CHAOS=1 go test -count=1 -v -run 'TestThreeNodes' ./cmd/counterfoil

verify-long: ## the exhaustive check in larger scopes, long histories, soak, ten minutes of faults over three nodes
	COUNTERFOIL_LONG=1 go test -timeout 3h -count=1 ./internal/session ./internal/store ./internal/server ./cmd/counterfoil

lint: ## formatting, vet, staticcheck, import rule, links in the documents, types of the browser library
	@out=$$($(TOOL) gofumpt -l .) || exit 1; if [ -n "$$out" ]; then echo "not formatted, run make fmt:"; echo "$$out"; exit 1; fi
	go vet ./...
	$(TOOL) staticcheck ./...
	cd client/ssm && go vet ./... && go tool -modfile=../../tools/go.mod staticcheck ./...
	go test -run 'TestImports|TestClock|TestDocuments' ./internal/server
	@./tools/browser.sh types

fmt:
	$(TOOL) gofumpt -w .

docs: ## what is generated from the code
	go run ./cmd/counterfoil config reference > docs/configuration.md

bench: proxies ## side by side with bare net/http on this machine, as a table with ratios
	go run ./bench

bench-postgres: ## the same on a PostgreSQL that it starts itself, with what a refresh costs it
	go run ./bench -store postgres

load: ## ten minutes at half of the rate, with the console open and metrics scraped: does anything grow?
	go run ./bench -only soak -measure 10m

clean:
	rm -rf bin dist counterfoil-demo

.PHONY: release release-check alerts

release: ## what is released, in dist/: static programs, Debian packages, lists of contents, sums
	./tools/release.sh

release-check: ## two builds of the last commit are the same; packages, unit and an empty root directory
	./tools/release_check.sh

alerts: ## the alert rules and their tests, by Prometheus's own tool
	@./tools/prometheus.sh

.PHONY: browser browser-long demo-page

browser: ## the browser library: its tests, npm's own clients and real Chromium against the program; four minutes
	@./tools/browser.sh short

browser-long: ## the same with a minute for each case, and answers that are 40 s late; half an hour
	@./tools/browser.sh long

demo-page: ## the scripts of the demonstration's page, from browser/ to internal/demo/page
	cd browser && npm ci --no-audit --no-fund && npm run build:demo
