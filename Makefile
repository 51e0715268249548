# make VENV=/some/where ... puts the environment elsewhere (it takes about 7 GB with PyPI's torch).
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Processes that run the tests, each file in one of them; JOBS=0: all in one, as for a debugger.
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile
# One thread a process: several processes share the cores (Ray's workers, pytest's).
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup search test test-all check fix bench clean

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## make the environment and install moga into it

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("moga needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which to use: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

search: setup ## search for a family of three networks on this machine (5 to 6 minutes)
	$(BIN)/moga search

test: setup ## run the test suite (at most 10 minutes on 2 cores)
	$(PYTEST)

test-all: setup ## run the slow tests too
	$(PYTEST) -m "not gpu and not tensorrt" --timeout 1800

check: setup ## ruff, mypy strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A benchmark exits with 1 where it fails or misses a goal, with 2 where it needs data that are not here.
bench: setup ## print every figure of the docs again
	@failed=; for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(BIN)/python $$script; code=$$?; \
		if [ $$code -eq 2 ]; then echo "== skipped: $$script needs data that are not here"; \
		elif [ $$code -ne 0 ]; then failed="$$failed $$script"; fi; \
	done; \
	if [ -n "$$failed" ]; then echo "== failed, or missed a goal:$$failed" >&2; exit 1; fi

clean: ## remove the environment and all that was built
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
