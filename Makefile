# Needs: Python 3.11 or later with venv, make, and pip's registry. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python on the PATH that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := .venv/.installed
JOBS ?= auto

.PHONY: help install run demo test quick attacks test15 check bench attack fuzz fuzz-api lock format

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv from requirements.lock

# Again only when what it is made from changes.
$(STAMP): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or later is needed on the PATH (or say make PYTHON=…)." >&2; exit 1; }
	@# A .venv without pip (uv makes such) is completed, one whose Python is gone is made anew.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(BIN)/python -c '' 2>/dev/null && $(PYTHON) -m venv .venv; } \
		|| $(PYTHON) -m venv --clear .venv
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: $(STAMP) ## Start the service: database, migrations, API
	$(BIN)/acuse run

demo: $(STAMP) ## The same with a delivery and simulated gateways
	$(BIN)/acuse demo

test: $(STAMP) ## All tests but the attacks, in parallel (JOBS=auto)
	$(BIN)/python -m pytest -n $(JOBS) --ignore tests/adversary

# By themselves: they tell how long the service stands still, and neighbours would be told of, too.
attacks: $(STAMP) ## The attacks' tables against a service of their own: no stall, no lost callback
	$(BIN)/python -m pytest tests/adversary

# Without what is marked `slow`, and with a quarter of the examples of the property tests. `make test` and `make attacks` have it all.
quick: $(STAMP) ## The tests but the slow ones: under 4 minutes on two cores
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow" --hypothesis-profile=quick

test15: $(STAMP) ## The folds, roads and figures on Debian's PostgreSQL 15
	ACUSE_TEST_POSTGRES_BIN=/usr/lib/postgresql/15/bin $(BIN)/python -m pytest -n $(JOBS) tests/accounts tests/addresses tests/deliveries tests/inbound tests/ingest \
		tests/links tests/messages tests/quarantine tests/stats tests/submissions

check: $(STAMP) ## Format, lint, types, import rules, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m migrations.check

format: $(STAMP) ## Format, and repair what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure this machine
	$(BIN)/python -m tests.benchmarks

attack: $(STAMP) ## The attacks' tables against one's own installation (URL=… KEY=… YES=1 ONLY=C1,H4)
	@[ -n "$(URL)" ] || { echo "Say which: make attack URL=http://127.0.0.1:8000 KEY=… (an admin key)." >&2; exit 2; }
	@ATTACK_KEY="$(or $(KEY),$(ATTACK_KEY))" $(BIN)/python -m tests.adversary "$(URL)" $(if $(YES),--yes) $(if $(ONLY),--only "$(ONLY)")

fuzz: $(STAMP) ## 100 000 mutated callbacks and 20 000 mutated rows
	$(BIN)/python -m tests.adversary.fuzz

fuzz-api: $(STAMP) ## schemathesis over the whole OpenAPI document
	$(BIN)/python -m tests.adversary.fuzz_api

# For maintainers: needs uv. The first file is for working on Acuse, the second for running it, at the same versions.
lock: ## Pin all dependencies anew (UPGRADE=--upgrade for newer versions; needs uv)
	$(COMPILE) --extra dev --extra build -o requirements.lock
	$(COMPILE) --extra build -c requirements.lock -o requirements-run.lock

COMPILE = uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 $(UPGRADE) \
	--custom-compile-command "make lock" pyproject.toml
