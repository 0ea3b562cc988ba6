# Every target starts from nothing: it makes .venv first (.ci/setup), which is quick once it is there.
# Paths are relative throughout, so that a checkout may lie in a folder whose name holds spaces.
SHELL := /bin/sh
BIN := .venv/bin
PY := $(BIN)/python
SOURCES := schemas producers consumers query service tests
DEV := .ci/setup all,dev
export PYTHON
# What is compiled is kept: tests start a thousand Pythons, each of which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
BUILD_DASHBOARD := $(PY) dashboard/build.py --quiet
.PHONY: help setup demo dashboard test lint format types bench bench-quick compat test-integrations test-aim test-engines test-monitoring test-upgrade chaos attack audit docs kafka constraints clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup:  ## Make .venv with everything, and fetch what the tests need (PYTHON=... chooses the interpreter)
	@$(DEV)
	@$(BUILD_DASHBOARD) || echo "note: no dashboard yet; make dashboard once there is a network" >&2

demo:  ## Run a hyperparameter sweep and print the best run and where to look next
	@.ci/setup server,demo
	@$(BUILD_DASHBOARD) || echo "note: no dashboard yet; make dashboard once there is a network" >&2
	@$(BIN)/runstream demo

dashboard:  ## Build the dashboard's pages (quick when nothing changed; Node comes from a wheel where there is none)
	@.ci/setup server
	@$(PY) dashboard/build.py

test:  ## Run every test (ARGS="-k name" for some)
	@$(DEV)
	$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations 25 $(ARGS)

lint:  ## Check style, and which part imports which
	@$(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(BIN)/lint-imports
	$(PY) dashboard/build.py run lint

format:  ## Format the sources and sort the imports
	@$(DEV)
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .
	$(PY) dashboard/build.py run format

types:  ## Check the types, of the examples too
	@$(DEV)
	$(PY) -m mypy
	MYPYPATH=examples/submitted_ridge $(PY) -m mypy examples/*.py examples/*/*.py

bench:  ## Measure, beside the figures of docs/performance.md (ARGS=--help)
	@$(DEV)
	$(PY) -m bench $(ARGS)

bench-quick:  ## Compare ratios to plain reference work with the committed ones (half a minute; part of CI)
	@$(DEV)
	$(PY) -m bench.quick $(ARGS)

compat:  ## MLflow's own tests of its server, against this one (MLFLOW_CHECKOUT=, MLFLOW_PYTHON= of an environment with that MLflow)
	@$(DEV)
	MLFLOW_CHECKOUT="$(MLFLOW_CHECKOUT)" MLFLOW_PYTHON="$(MLFLOW_PYTHON)" $(PY) -m tests.compat.mlflow_own $(ARGS)

test-integrations:  ## A real training with each framework that takes gigabytes to install, in an environment of its own
	@$(DEV)
	@[ -x .venv-integrations/bin/python ] || $(PY) -m venv .venv-integrations
	.venv-integrations/bin/python -m pip install -q -c constraints.txt -e ".[server,accelerate,catboost,fastai,keras,lightning,ray,transformers]" \
	  jax torch pytest pytest-asyncio pytest-timeout hypothesis
	.venv-integrations/bin/python -m pytest -o filterwarnings=default tests/producers/integrations/heavy.py $(ARGS)

test-aim:  ## Take over a repository that Aim itself writes, in an environment of its own (AIM_PYTHON=python3.12: it has wheels for 3.11 and 3.12)
	@$(DEV)
	@[ -x .venv-aim/bin/python ] || $(or $(AIM_PYTHON),$(PY)) -m venv .venv-aim
	@grep -v '^filelock=' constraints.txt > .venv-aim/constraints.txt  # Aim wants an older one
	.venv-aim/bin/python -m pip install -q -c .venv-aim/constraints.txt -e ".[server]" aim==3.29.1 pytest pytest-asyncio pytest-timeout hypothesis
	.venv-aim/bin/python -m pytest -o filterwarnings=default tests/producers/importers/heavy.py $(ARGS)

test-engines:  ## Read the Iceberg tables with Spark, DuckDB, Polars and others, in an environment of their own (needs mvn for Spark's jar)
	@$(DEV)
	@[ -x .venv-engines/bin/python ] || $(PY) -m venv .venv-engines
	.venv-engines/bin/python -m pip install -q -r tests/query/engines/requirements.txt
	mvn -q -B dependency:copy -Dartifact=org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0 -DoutputDirectory=$(CURDIR)/.venv-engines
	RUNSTREAM_ICEBERG_JAR=$(CURDIR)/.venv-engines/iceberg-spark-runtime-4.1_2.13-1.12.0.jar \
	  RUNSTREAM_TEST_ENGINES_PYTHON=$(CURDIR)/.venv-engines/bin/python $(PY) -m pytest tests/query/engines/heavy.py $(ARGS)

test-monitoring:  ## Try the rules of monitoring/ with Prometheus' promtool: the one installed, else Debian's (apt-get download, no root)
	@command -v promtool >/dev/null || [ -x .promtool/usr/bin/promtool ] || \
	  (mkdir -p .promtool && cd .promtool && apt-get download prometheus && dpkg-deb -x prometheus_*.deb .) || \
	  { echo "no promtool: install Prometheus" >&2; exit 1; }
	PATH="$$PATH:$(CURDIR)/.promtool/usr/bin"; cd monitoring && promtool check rules alerts.yaml && promtool test rules alerts.test.yaml

test-upgrade:  ## Upgrade a cluster of an older commit while it is logged to and read: FROM=COMMIT (ARGS=--help)
	@$(DEV)
	$(PY) -m tests.chaos.upgrade $(FROM) $(ARGS)

chaos:  ## Kill and stop everything at random, then count what is there: TRIALS=10 of each kind, new seeds (ARGS=--help)
	@$(DEV)
	$(PY) -m tests.chaos --trials $(or $(TRIALS),1) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(KIND),--kind $(KIND)) $(if $(SEED),--seed $(SEED)) $(ARGS)

attack:  ## Try what somebody would who wants in, or wants it down, against real servers (TIMES=20: that much more)
	@$(DEV)
	@$(BUILD_DASHBOARD) || echo "note: no dashboard, so what only a browser can tell is not tried" >&2
	RUNSTREAM_TEST_API_TIMES=$(or $(TIMES),1) RUNSTREAM_TEST_FUZZ_TIMES=$(or $(TIMES),1) $(PY) -m pytest -m attack $(ARGS)

audit:  ## Ask the databases of known weaknesses about what is pinned (says so where one cannot be reached)
	@$(DEV)
	@.ci/audit

docs:  ## Write the generated pages of docs/reference anew, and hold all pages to the code
	@$(DEV)
	$(PY) docs/generate.py
	$(PY) monitoring/generate.py
	$(PY) charts/generate.py
	$(PY) -m pytest -q tests/docs tests/project/test_docs.py

kafka:  ## Run a real Kafka in the foreground (ARGS="--port 9092 --data DIR")
	@$(DEV)
	$(PY) -m runstream_service.servers.kafka $(ARGS)

constraints:  ## Pin the newest versions anew (needs uv)
	@head -1 constraints.txt > constraints.new
	@uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links --quiet >> constraints.new
	@mv constraints.new constraints.txt

clean:  ## Remove .venv and everything built
	rm -rf .venv .bench dist build dashboard/node_modules query/runstream_query/web producers/runstream/widgets/web artefacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .runstream
	find schemas producers consumers query service tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
