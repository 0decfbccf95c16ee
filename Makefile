# The one way to do each thing here; `make` alone explains itself.
.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-cluster drills test-secure test-ops client client-test soak check
.PHONY: contract contract-test renderer bench clean force helm images reference test-alerts rolling test-brokers
.PHONY: test-consumers test-containers test-traces

# What stands first in a list is done first, also with -j: programs are looked for before anything is installed.
.NOTPARALLEL:

WORKERS ?= 4
SEEDS ?= 20
ROUNDS ?= 10
CASES ?= 5000
BIN := .venv/bin
STAMP := .venv/.installed
OASDIFF := build/bin/oasdiff
HELM := build/bin/helm
# The OpenAPI document of the last release.
RELEASED := docs/reference/openapi
# Every folder with Python in it.
SOURCES := $(sort $(patsubst %/,%,$(dir $(wildcard */*.py))))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the pinned dependencies (again only when they changed; PYTHON=python3.12 chooses one)

# Also when the interpreter that .venv was made from is gone.
$(STAMP): requirements.lock pyproject.toml $(if $(wildcard $(BIN)/python),,force)
	@PYTHON='$(PYTHON)' sh devstack/setup.sh

run: setup ## Start everything here: Redis, Postgres, Kafka, gateway, agents, sinks, mailbox (Ctrl-C stops)
	@$(BIN)/cartstream up

demo: setup ## Tell the whole story once: add, record, row, wipe, the cart is back, order, mail
	@$(BIN)/cartstream demo

test: setup ## Run all tests, on real servers (WORKERS=4 processes, each with servers of its own)
	@command -v redis-server >/dev/null || \
		echo 'redis-server is missing: the tests of the store are SKIPPED on Redis 7 and counted below; they run on Valkey'
	@command -v pgbouncer >/dev/null || \
		echo 'pgbouncer is missing: tests of Postgres behind a pooler, and with TLS, are SKIPPED and counted below'
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
		echo 'chromium is missing: the tests of the demo shop in a browser are SKIPPED and counted below'
	@command -v systemd-analyze >/dev/null || \
		echo 'systemd-analyze is missing: a test of the systemd units is SKIPPED and counted below'
	@test -x $(HELM) || command -v helm >/dev/null || \
		echo 'helm is missing: the tests of the chart are SKIPPED and counted below; `make helm` builds it'
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

drills: setup ## Tests that take long (20 minutes): servers frozen, kills again and again, several workers, one sick alone
	@$(BIN)/pytest -m drill -o timeout=900 -n 2 --dist loadfile --no-loadscope-reorder
	@$(BIN)/pytest --hypothesis-profile thorough -m "hypothesis and not drill and not cluster" -o timeout=900 -n 2 --dist loadfile

# The programs that a suite needs are looked for before anything is installed.
needs-%:
	@sh devstack/needs.sh $*

test-traces: setup ## One trace from the request to the row, with real processes and a collector of the tests
	@$(BIN)/pytest -m traces tests/traces

test-secure: needs-secure setup ## The whole over TLS: Kafka with users and ACLs, Redis, Postgres (needs redis-server, postgresql)
	@$(BIN)/pytest -m secure tests/secure

rolling: setup ## Restart all gateways and agents one by one under load (ROUNDS=10; FROM=commit: upgrade from it, and back)
	@$(BIN)/python -m tests.faults.rolling --rounds $(ROUNDS) $(if $(FROM),--from $(FROM))

test-brokers: setup ## The whole on three Kafka brokers: leaders killed, a disk wiped, under load (about 3 GB of memory)
	@$(BIN)/pytest -m brokers tests/brokers

test-alerts: needs-alerts setup ## Each alert fired by its trouble and ended by its runbook, under a real Prometheus (needs prometheus)
	@$(BIN)/pytest -m alerts tests/alerts

test-ops: needs-ops setup ## The operations page in a browser, in four states of a whole stack (needs Chromium)
	@$(BIN)/pytest -m ops -n 0 tests/ops/page

test-cluster: needs-cluster setup ## Store, commands and the whole product on Redis Cluster and behind sentinels, which fail over
	@$(BIN)/pytest -m cluster -rP tests/store/redis tests/ops tests/cli/test_commands_on_clusters.py \
		tests/gateway/test_redis_topologies.py tests/faults/test_replicated_redis.py

test-consumers: setup ## The consumers to copy of examples/, beside the product under load, all of it killed meanwhile
	@$(BIN)/pytest -m consumers -s tests/examples

client: setup ## Make the TypeScript client: its types from the OpenAPI document, and the build (needs node and npm)
	@$(BIN)/python -m tests.clients.node_package

client-test: setup ## Test the TypeScript client against a real gateway, which is killed and frozen meanwhile
	@$(BIN)/pytest -m client tests/clients

images: setup ## Make the images of docker-compose.yml without a registry (needs root, docker.io, debootstrap)
	@sh deploy/local/with-docker.sh sh deploy/local/make-images.sh

test-containers: setup ## docker-compose.yml for real, with the images that `make images` has made
	@sh deploy/local/with-docker.sh $(BIN)/pytest -m containers tests/containers

soak: setup ## Break everything under load for many seeds and hold the history against the stores (SEEDS=20)
	@$(BIN)/python -m tests.faults.soak --seeds $(SEEDS)

check: setup ## Lint, types, layers, published schemas, links in the docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports
	@$(BIN)/python -m topics.compatibility
	@$(BIN)/python docs/check_links.py

contract: setup $(OASDIFF) ## Compare the HTTP API with that of the last release: a breaking change fails
	@mkdir -p build
	@$(BIN)/python -m gateway.openapi > build/openapi.json
	@$(OASDIFF) breaking --fail-on ERR --flatten-params --severity-levels $(RELEASED)/severity.txt \
		--err-ignore $(RELEASED)/acknowledged.txt $(RELEASED)/last-release.json build/openapi.json

$(OASDIFF): devstack/oasdiff/go.mod devstack/oasdiff/go.sum
	@sh devstack/go_tool.sh oasdiff

helm: setup $(HELM) ## Build Helm, with which the tests of the chart render it (once)

$(HELM): devstack/helm/go.mod devstack/helm/go.sum
	@sh devstack/go_tool.sh helm

contract-test: setup ## Generated requests against everything, held against the OpenAPI document (CASES=5000)
	@$(BIN)/python -m tests.contract --cases $(CASES)

reference: setup ## Write the pages of settings and metrics, and the Grafana dashboards, again from the code
	@$(BIN)/python -m docs.settings_reference
	@$(BIN)/python -m docs.metrics_reference
	@$(BIN)/python -m docs.grafana_dashboards

renderer: setup ## Bring Swagger UI for /docs from npm again; VERSION=5.35.0 brings another one
	@$(BIN)/python docs/renew_renderer.py $(if $(VERSION),--version $(VERSION))

bench: setup ## Run the benchmarks and print their figures
	@$(BIN)/python -m benchmarks

clean: ## Remove data, logs and caches of development (asks nothing; .venv stays)
	@if test -x $(BIN)/cartstream; then $(BIN)/cartstream stop || test $$? -eq 3; fi
	@rm -rf .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis build
	@rm -rf clients/typescript/node_modules clients/typescript/dist clients/typescript/build
