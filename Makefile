# The one way to do each thing here; `make` alone explains itself.
.DEFAULT_GOAL := help
.PHONY: help setup run demo test soak check bench clean

PYTHON ?= python3
WORKERS ?= 4
BIN := .venv/bin
STAMP := .venv/.installed
SEEDS ?= 20

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the pinned dependencies (again only when they changed)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make setup PYTHON=python3.12'; exit 1; }
	@test -x $(BIN)/python || { echo 'making .venv ...'; $(PYTHON) -m venv .venv; }
	@echo 'installing the pinned dependencies, servers included (a few minutes the first time) ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

run: setup ## Start everything here: Redis, Postgres, Kafka, gateway, agents, sinks, mailbox (Ctrl-C stops)
	@$(BIN)/cartstream up

demo: setup ## Tell the whole story once: add, record, row, wipe, the cart is back, order, mail
	@$(BIN)/cartstream demo

test: setup ## Run all tests, on real servers (each of WORKERS=4 processes has servers of its own)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile

soak: setup ## Break everything under load for many seeds and hold the history against the stores (SEEDS=20)
	@$(BIN)/python -m tests.faults.soak --seeds $(SEEDS)

check: setup ## Lint, types, layers, published schemas, links in the docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy carts cli delivery devstack gateway jobs ops runtime sinks store streams topics tests benchmarks examples docs
	@$(BIN)/lint-imports
	@$(BIN)/python -m topics.compatibility
	@$(BIN)/python docs/check_links.py

bench: setup ## Run the benchmarks and print their figures
	@$(BIN)/python -m benchmarks

clean: ## Remove data, logs and caches of development (asks nothing; .venv stays)
	@if test -x $(BIN)/cartstream; then $(BIN)/cartstream stop || test $$? -eq 3; fi
	@rm -rf .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build
