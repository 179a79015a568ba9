# Every target makes its own environment in .venv first; nothing else is needed
# but a Python of 3.10 or newer.

PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
WHEEL_VENV := .venv-wheel
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# These import pygal, which puts an importer of the old kind before pytest's.
NO_DOCTEST := --ignore=src/celery_ranch/demo/chart.py --ignore=src/celery_ranch/demo/__main__.py

# Random histories of the rule, which are the same whatever it is installed with.
NO_RULE := --ignore-glob='*/test_rule_is_*.py' --ignore=tests/unit/test_turns.py \
	--ignore=tests/conformance/test_engines_agree.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test features chaos matrix matrix-short bench bench-withdrawals evenness check check-rest lint types \
	doctest docs wheel-test format clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "$(PYTHON) is older than 3.10: make PYTHON=... names another" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY)  ## Watch a flood stop delaying everybody else (under a minute)
	$(BIN)/python -m celery_ranch.demo

test: $(READY)  ## Run every test
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile $(PYTEST_ARGS)

features: $(READY)  ## Run the tests of every Celery feature
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile tests/features $(PYTEST_ARGS)

chaos: $(READY)  ## Break everything, at length (CHAOS_SEED=n repeats a run)
	$(BIN)/python -m pytest --numprocesses=2 --dist=load tests/chaos --chaos=long \
		$(if $(CHAOS_SEED),--chaos-seed=$(CHAOS_SEED)) $(PYTEST_ARGS)

matrix: $(READY)  ## Run what touches Celery on every version supported (two hours)
	$(BIN)/nox --session versions pythons

matrix-short: $(READY)  ## Run what CI runs of the matrix
	$(BIN)/nox --session short

bench: $(READY)  ## Measure against plain Celery on the same Redis, and with many keys
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/engine_scaling.py

bench-withdrawals: $(READY)  ## Measure cancelling and moving a million waiting tasks
	$(BIN)/python benchmarks/withdrawals.py

evenness: $(READY)  ## Replay a log by seconds and set adversaries on it (TRACE=log.swf.gz)
	$(BIN)/python benchmarks/adversaries.py --write
	$(BIN)/python benchmarks/even_seconds.py $(TRACE) --write

check: test check-rest  ## Run exactly what CI runs

check-rest: lint types doctest docs wheel-test matrix-short  ## Run what CI runs after the tests

lint: $(READY)  ## Look for mistakes and unformatted code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## Check the types of src, strictly
	$(BIN)/mypy

doctest: $(READY)  ## Run the examples in docstrings
	$(BIN)/python -m pytest --doctest-modules src --quiet $(NO_DOCTEST)

docs: $(READY)  ## Build the documentation, with every warning an error: build/docs/index.html
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env \
		--conf-dir docs --doctree-dir build/doctrees . build/docs
	@! grep -rE '<(script|link|img)[^>]* (src|href)="(https?:)?//' build/docs --include='*.html' \
		|| { echo "a page loads something from elsewhere" >&2; exit 1; }

wheel-test: $(READY)  ## Run the unit and conformance tests against the built wheel
	rm -rf dist build $(WHEEL_VENV)
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		"$$(ls dist/*.whl)[test]"
	$(WHEEL_VENV)/bin/python -m pytest --numprocesses=3 --dist=loadfile $(NO_RULE) \
		tests/unit tests/conformance

format: $(READY)  ## Let ruff format the code and sort the imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

clean:  ## Remove what make has made
	rm -rf $(VENV) $(WHEEL_VENV) .venv-matrix dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
