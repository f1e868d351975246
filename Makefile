# `make demo` and `make test` set up everything they need on a machine with Python 3.10 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint types budgets bench cards clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## convert ResNet-101 into ./hub and load it in a config
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: lint types budgets $(STAMP) ## all checks and tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

budgets: $(STAMP) ## memory and bytes read of conversions, which are counts
	$(BIN)/python -m benchmarks --check

bench: $(STAMP) ## time and memory beside other ways, up to 5 GB; takes a quarter of an hour
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	mkdir -p docs
	$(BIN)/python -m benchmarks --scale --plot docs/scaling.svg

lint: $(STAMP) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## static types
	$(BIN)/mypy

cards: $(STAMP) ## render model_cards/ anew
	$(BIN)/python -m detrex_hub.card model_cards

clean: ## remove what the other targets made
	rm -rf $(VENV) hub build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
