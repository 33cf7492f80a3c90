# Everything starts here: `make run` and `make test` need only Python 3.11 or newer and make.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV   := .venv
# Compiled modules make every one of the six processes start in a second instead of three.
export PYTHONDONTWRITEBYTECODE :=
UV_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python
BIN    := $(VENV)/bin
DATA   ?= .tocsin

PACKAGES := libs/common libs/trading services/market-ingest services/signal-engine services/alerting \
            services/paper-trader services/api-gateway cli
MANIFESTS := $(PACKAGES:%=%/pyproject.toml)
EDITABLE := $(PACKAGES:%=-e %)
SOURCES := libs services cli tests bench docs requirements conftest.py

.PHONY: help install run test check-lock lint types tests bench lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tocsin needs Python 3.11 or newer; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.run: $(BIN)/uv requirements/run.txt requirements/build.txt $(MANIFESTS)
	@echo "Installing Tocsin into $(VENV) ..."
	@$(UV_INSTALL) --compile-bytecode --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(UV_INSTALL) --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "Installing the tools that check and test it ..."
	@$(UV_INSTALL) --compile-bytecode --require-hashes -r requirements/dev.txt
	@touch $@

install: $(VENV)/.dev ## install everything into .venv

run: $(VENV)/.run ## start the whole system on embedded servers, fed by a market simulator at 60x
	@$(BIN)/tocsin up --data-dir $(DATA)

test: check-lock lint types tests ## install and run everything: lock, lint, types, unit, integration, end to end

check-lock: $(VENV)/.dev
	@$(BIN)/python requirements/lock.py check

lint: $(VENV)/.dev
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.dev
	@$(BIN)/mypy $(PACKAGES:%=%/src)

# A third of the time tests wait (for leases to expire, connections to be lost): three processes fill two processors.
tests: $(VENV)/.dev
	@$(BIN)/python -m pytest --durations=10 --numprocesses=3 --dist=loadfile --no-loadscope-reorder --max-worker-restart=0

bench: $(VENV)/.dev ## measure throughput and latency; prints each figure with its limit
	@$(BIN)/python -m bench

lock: $(VENV)/.dev ## compile the locked requirements again after a pyproject file changed
	@PATH=$(BIN):$$PATH $(BIN)/python requirements/lock.py compile

clean: ## remove the data, the environment and all caches
	@rm -rf $(DATA) $(VENV) .mypy_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
