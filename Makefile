# The interface of this repository; CI calls the same targets.
# Python, make and a package index are all that a fresh clone needs; set-up goes to .venv/.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEST_WORKERS ?= 2

export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-s3 test-ray check bench bench-headers bench-extract bench-fit bench-scan bench-store bench-sweep bench-systems docs clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(READY)  ## install everything into .venv/ (about 5 GB with CUDA's libraries)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c 'import torch, torchvision'
	@touch $@

demo: setup  ## phantom CT -> features -> fitted GRU -> table, in a few minutes
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/demo.py

test: setup  ## the normal test suite: no network, no GPU
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) -m 'not slow and not gpu and not ray and not s3 and not browser'

test-slow: setup  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

test-s3: setup  ## stores in a bucket, against an imitation of S3 on this machine
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) -m s3

test-ray: setup  ## the Ray engine, on clusters simulated on this machine
	$(BIN)/python -m pytest -q -m ray

check: setup  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## every benchmark; make bench-NAME ARGS='--help' for one
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-headers: setup  ## header files per second beside a loop with pydicom
	$(BIN)/python benchmarks/bench_headers.py $(ARGS)

bench-extract: setup  ## slices per second beside the bare network and plain scripts, 4 networks
	$(BIN)/python benchmarks/bench_extract.py $(ARGS)

bench-scan: setup  ## seconds from a DICOM folder to probabilities, one scan at a time
	$(BIN)/python benchmarks/bench_scan.py $(ARGS)

bench-store: setup  ## seconds to write and read 739,714 rows beside a memory map and others
	$(BIN)/python benchmarks/bench_store.py $(ARGS)

bench-systems: setup  ## every published system on synthetic patients, beside the baseline
	$(BIN)/python benchmarks/bench_systems.py $(ARGS)

bench-sweep: setup  ## 50 heads tried, killed five times, beside plain fits
	$(BIN)/python benchmarks/bench_sweep.py $(ARGS)

bench-fit: setup  ## seconds an epoch of heads beside padded training, a DataLoader and Keras
	$(BIN)/python benchmarks/bench_fit.py $(ARGS)

docs: setup  ## HTML documentation in docs/_build/html
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

clean:  ## remove what the targets made, but not .venv/
	rm -rf demo build dist docs/_build docs/systems .pytest_cache .mypy_cache .ruff_cache .hypothesis
