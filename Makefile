# Every target sets up what it needs: a virtual environment in .venv, made by the first target that runs.
PYTHON ?= python3
BIN    := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help train test test-fast lint docs bench bench-check clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

train: .venv/run ## train a network on the embedded handwritten digits, under a minute
	$(BIN)/chainrule train digits

test: .venv/dev  ## lint, types and every test (the real data sets too, where CHAINRULE_DATA names them)
	$(MAKE) lint
	$(BIN)/python -m pytest -n auto

test-fast: .venv/dev ## the tests that take no longer than a few seconds each
	$(BIN)/python -m pytest -n auto -m "not slow"

lint: .venv/dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/dev  ## the documentation site, in build/docs/html
	$(BIN)/python docs/site/build.py
	@echo "open build/docs/html/index.html"

bench: .venv/bench ## how fast, beside other libraries, about 15 minutes; python -m bench --help has more
	$(BIN)/python -m bench

bench-check: .venv/dev ## planted mistakes: which of them the gradient checker names, and how fast it is
	$(BIN)/python -m bench.check

clean:           ## remove the virtual environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/run

.venv/bench: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@ .venv/dev .venv/run
