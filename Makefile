# What there is to do.  `make demo` and `make test` set up all that they need.
# Everything lives in .venv; the versions are those of constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# The first interpreter that is new enough.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST = $(BIN)/python -m pytest
# Clusters that a target starts are its own, and end with it.
OWN_CLUSTER = source .ci/own-cluster
# Tests that need a machine's one browser, its network, or long: run by targets of their own.
ALONE := --ignore=tests/browser --ignore=tests/hosts --ignore=tests/notebooks

.PHONY: help setup demo lab packages test test-all check fmt lint types unit sim conformance chaos fuzz notebooks hosts \
	browser bench soak docs binder-check lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

# ── setting up ───────────────────────────────────────────────────────────────────────────────────

.venv/bin/python:
	@.ci/venv "$(PYTHON)"

# One stamp an extra; remade when what it was made from has changed.
.venv/.with-%: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing nbqueue[$*] into .venv …"
	@$(INSTALL) -e '.[$*]'
	@touch $@

setup: .venv/.with-test .venv/.with-lab  ## everything that a developer needs, and the commit hooks
	@[ ! -d .git ] || $(BIN)/pre-commit install

lock:  ## move constraints.txt to the newest versions
	@.ci/lock "$(PYTHON)"

# ── using ────────────────────────────────────────────────────────────────────────────────────────

demo: .venv/.with-demo  ## run the quick start in a real kernel, and print what it did
	@$(OWN_CLUSTER); $(BIN)/python notebooks/demo.py

lab: .venv/.with-lab .venv/.with-demo  ## open the quick start in JupyterLab
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/quickstart.ipynb

# ── checking ─────────────────────────────────────────────────────────────────────────────────────

packages:
	@.ci/packages chromium=chromium ip=iproute2 ss=iproute2 redis-server=redis-server

test: packages lint types unit notebooks hosts browser  ## everything; within 10 minutes on 2 cores
	@echo "make test: all passed"

check: test  ## what CI runs

test-all: test chaos fuzz soak binder-check  ## the same, and the long campaigns
	@$(PYTEST) -n 2 -m slow $(ALONE) tests

fmt: .venv/.with-test  ## format the code and the notebooks
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/nbstripout --keep-id notebooks/*.ipynb

lint: .venv/.with-test  ## style, spelling, and the floors of the house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb
	@$(BIN)/lint-imports --no-logo

types: .venv/.with-test  ## mypy, strict
	@$(BIN)/mypy

unit: .venv/.with-test  ## all tests but those of notebooks, hosts and browser
	@$(PYTEST) -n 3 --dist worksteal -m 'not slow' $(ALONE) tests

SEEDS ?= 2000
sim: .venv/.with-test  ## the core under virtual time and random schedules: SEEDS=100000 plays so many
	@$(PYTEST) tests/sim/test_cluster.py
	@.venv/bin/python -m tests.sim.schedules --seeds $(SEEDS)

conformance: packages .venv/.with-test  ## the same tests over every transport
	@$(PYTEST) tests/conformance

chaos: packages .venv/.with-test  ## kill, stop and disconnect real processes, and write the figures: CHAOS="A B --seed 7"
	@$(BIN)/python -m tests.chaos $(CHAOS)

notebooks: .venv/.with-test  ## every notebook from its first cell to its last, and what the quick start shows
	@$(OWN_CLUSTER); $(PYTEST) --nbmake --nbmake-timeout=300 notebooks tests/notebooks

hosts: packages .venv/.with-test  ## a worker on another machine, made of network namespaces; needs root
	@$(PYTEST) tests/hosts

browser: packages .venv/.with-test  ## JupyterLab and Notebook 7 in a headless Chromium
	@$(PYTEST) tests/browser

fuzz: .venv/.with-test .venv/.with-fuzz  ## a million hostile inputs at the port, the codec and the core; FUZZ="--scale 10" for more
	@$(BIN)/python -m tests.fuzz.campaign $(FUZZ)

bench: .venv/.with-demo  ## measure speed and size; the figures of README.md
	@$(OWN_CLUSTER); $(BIN)/python tests/benchmarks/bench.py $(BENCH)

soak: .venv/.with-demo  ## send TASKS=1000000 tasks through a cluster: nothing in it may grow
	@$(OWN_CLUSTER); $(BIN)/python tests/benchmarks/soak.py --tasks $(or $(TASKS),1000000)

binder-check: .venv/.with-test  ## run binder/postBuild in a fresh environment, as Binder does
	@$(PYTEST) -m slow tests/binder

docs: .venv/.with-docs  ## build the pages of docs/ into site/
	@$(BIN)/python docs/generate.py
	@$(BIN)/mkdocs build --strict --quiet -f .mkdocs.yml
	@echo "site/index.html"

clean:  ## remove what the targets above have made
	@rm -rf .venv site build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
