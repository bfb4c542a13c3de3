.DEFAULT_GOAL := help
SHELL := /bin/sh

# Any Python from 3.11 on; `make PYTHON=/path/to/python3 …` names one. 3.14 makes a third more calls in full than 3.11
# (docs/performance.md). One that cannot make environments is taken only where no other can, to say how to mend that.
PYTHON ?= $(shell for needed in ensurepip sys; do for p in python3.14 python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c "import sys, $$needed; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && echo $$p && exit; done; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

$(VENV)/python:
	@test -n "$(PYTHON)" || { echo "instanced needs Python 3.11 or newer, and none is on the PATH; name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/setup: requirements/run.txt pyproject.toml | $(VENV)/python
	@echo "setting up $(VENV) ..." >&2
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/setup-test: requirements/test.txt $(VENV)/setup
	@echo "installing what the tests need ..." >&2
	@$(PIP) --require-hashes -r requirements/test.txt
	@touch $@

$(VENV)/setup-dev: requirements/dev.txt $(VENV)/setup-test
	@echo "installing what development needs ..." >&2
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/setup ## set up .venv with the server and its locked dependencies

.PHONY: run
run: $(VENV)/setup ## serve everything on 127.0.0.1:8080, and gRPC alone on 127.0.0.1:50051
	@exec $(BIN)/instanced serve $(ARGS)

.PHONY: test
test: $(VENV)/setup-test ## run the tests; suites that need Go, Node or Chromium skip where those are missing
	@$(BIN)/pytest $(ARGS)

.PHONY: lint
lint: $(VENV)/setup-dev ## ruff, mypy, buf lint and buf breaking
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python proto/compile.py --check

.PHONY: conformance
conformance: $(VENV)/setup-dev ## run the conformance tests of connectrpc.com on every protocol; needs Go
	@$(BIN)/python -m tests.conformance $(ARGS)

BENCH := build/bench/venv

$(BENCH)/setup: requirements/bench.txt | $(VENV)/python
	@echo "setting up $(BENCH) ..." >&2
	@mkdir -p build/bench && $(BIN)/python -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements/bench.txt
	@touch $@

# CASE=json ROUNDS=3 SECONDS=0.5 SHORT=1 INSTANCES=1000000 PYTHONS=python3.14, and ARGS for what else there is.
.PHONY: bench
bench: $(VENV)/setup $(BENCH)/setup ## measure beside other servers; needs h2load, and Go for those in Go; one case: CASE=json
	@PYTHONPATH=generated $(BENCH)/bin/python -m tests.bench $(addprefix --case ,$(CASE)) $(addprefix --rounds ,$(ROUNDS)) \
		$(addprefix --seconds ,$(SECONDS)) $(addprefix --instances ,$(INSTANCES)) $(addprefix --python ,$(PYTHONS)) $(if $(SHORT),--short) $(ARGS)

.PHONY: proto
proto: $(VENV)/setup-dev ## write generated/ anew from proto/
	@$(BIN)/python proto/compile.py

.PHONY: lock
lock: $(VENV)/setup-dev ## pin the newest versions that pyproject.toml allows, with hashes
	@for extras in "run build" "bench bench" "test build test" "dev build test dev"; do set -- $$extras; out=requirements/$$1.txt; shift; \
		$(BIN)/uv --quiet pip compile pyproject.toml --universal --python-version 3.11 --upgrade --generate-hashes \
			--no-emit-index-url --no-header --no-annotate $$(printf -- '--extra %s ' $$@) --output-file $$out || exit 1; done

.PHONY: clean
clean: ## remove .venv and caches, never data
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis

examples/web/node_modules: examples/web/package-lock.json
	@cd examples/web && npm ci --silent && touch node_modules

.PHONY: page
page: examples/web/node_modules ## serve the example page, which calls over gRPC-Web, on http://127.0.0.1:8000
	@exec python3 -m http.server 8000 --bind 127.0.0.1 --directory examples/web

tests/browser/node_modules: tests/browser/package-lock.json
	@cd tests/browser && npm ci --silent && touch node_modules

.PHONY: proto-js
proto-js: $(VENV)/setup-test tests/browser/node_modules ## write the pages' JavaScript stubs anew, after make proto
	@$(BIN)/python -m tests.browser.javascript_stubs
