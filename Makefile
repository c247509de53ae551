# Every target sets up what it needs in .venv. Nothing is asked of the machine but make and Python 3.11 to 3.14.

PYTHON ?= python3
JOBS ?= auto
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SNAKEMAKE := $(BIN)/snakemake --cores 1 --resources gpu=1
# As many processes as cores, a file of tests at a time in the order of tests/conftest.py: what a file's tests share is
# made once. Threads of several processes that wait by spinning would starve them all.
TESTS := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
UV_VERSION := 0.13.9
SHOW := from pathlib import Path; from longspec.analysis import tables; \
  print(tables.show(Path("results/speedup.csv")))
# This package, editable: `python -m longspec` runs the code of this folder.
PACKAGE := --no-deps --no-build-isolation -e .
PICK := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

.PHONY: help run status test test-slow engines test-engines gpu-benchmark lint config-tables models-page lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.installed  ## the default experiment: prepare, generate, measure, report
	@touch $(VENV)/.started
	@$(SNAKEMAKE) $(ARGS)
	@# Snakemake itself prints the speedups after a run that did something; here, when nothing was to be done.
	@test -n "$(ARGS)" || test reports/index.html -nt $(VENV)/.started || test ! -f results/speedup.csv || { \
	  $(BIN)/python -c '$(SHOW)' && echo "report: $(CURDIR)/reports/index.html"; }

status: $(VENV)/.installed  ## how far each job is (ARGS="--configfile other.yaml")
	@$(BIN)/python -m longspec status $(ARGS)

test: $(VENV)/.installed-test  ## the tests that need minutes at most (ARGS="-k name" to choose)
	@$(TESTS) $(ARGS)

test-slow: $(VENV)/.installed-test  ## every test that needs no GPU
	@$(TESTS) -m "not gpu and not engines" $(ARGS)

gpu-benchmark: $(VENV)/.installed  ## the engine on a GPU: raw figures and a page in gpu-benchmark/ (25 minutes)
	@$(BIN)/python benchmarks/gpu/run.py $(ARGS)

engines: $(VENV)/.installed  ## vLLM and llama.cpp into .engines/, for `method: vllm` and `llamacpp` (half an hour, 4 GB)
	@$(BIN)/python workflow/scripts/set_up_engines.py $(ARGS)

test-engines: $(VENV)/.installed-test  ## the tests of the real engines in .engines/ (10 minutes)
	@$(BIN)/python -m pytest -m engines $(ARGS)

lint: $(VENV)/.installed-test  ## ruff, import-linter, mypy, snakemake --lint, snakefmt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/snakemake --lint
	$(BIN)/snakefmt --check Snakefile workflow

config-tables: $(VENV)/.installed  ## the tables of config/README.md, from the code
	@$(BIN)/python -m longspec.config.reference config/README.md

models-page: $(VENV)/.installed-test  ## docs/models.md: which model types run, by the check at load (10 minutes)
	@$(BIN)/python benchmarks/model_types.py --page docs/models.md $(ARGS)

lock:  ## make both lock files agree with pyproject.toml again (ARGS=--upgrade for newer versions)
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	$(PYTHON) -m venv "$$tools" && "$$tools/bin/pip" install --quiet uv==$(UV_VERSION) && \
	compile="$$tools/bin/uv pip compile --quiet pyproject.toml --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --python-version 3.11 $(ARGS)" && \
	$$compile --custom-compile-command 'make lock' --extra build -o requirements.lock && \
	$$compile --custom-compile-command 'make lock' --extra build --extra test -c requirements.lock -o requirements-test.lock

clean:  ## remove .venv and the tools' caches; results and reports stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: each lock is installed once, and again when it changes. The test lock contains the other.
$(VENV)/.installed: requirements.lock | $(VENV)/.created
	@echo "installing requirements.lock into $(VENV) (once; a few GB on Linux) ..."
	@$(PIP) --no-deps --require-hashes -r requirements.lock
	@$(PIP) $(PACKAGE)
	@touch $@

$(VENV)/.installed-test: requirements-test.lock requirements.lock | $(VENV)/.created
	@echo "installing requirements-test.lock into $(VENV) (once; a few GB on Linux) ..."
	@$(PIP) --no-deps --require-hashes -r requirements-test.lock
	@$(PIP) $(PACKAGE)
	@touch $(VENV)/.installed $@

$(VENV)/.created:
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c '$(PICK)' 2>/dev/null; then \
	    test -x $(BIN)/pip || "$$python" -m venv $(VENV) || { \
	      echo "error: $$python cannot make a virtual environment; on Debian and Ubuntu install python3-venv" >&2; \
	      exit 1; }; \
	    touch $@; exit 0; \
	  fi; \
	done; \
	echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 to 3.14 is needed." \
	  "Install one, or name it: make run PYTHON=/path/to/python3.12" >&2; \
	exit 1
