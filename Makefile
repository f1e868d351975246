# `make demo` and `make test` set up everything they need on a machine with Python 3.10 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 $(UPGRADE) \
	--custom-compile-command 'make constraints'

.DEFAULT_GOAL := help
.PHONY: help demo test mutants lint types secrets budgets audit constraints bench cards zoo docs browser clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[dev]'
	@touch $@

demo: $(STAMP) ## from_hub by name on an empty Hub, then convert into ./hub and verify
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: lint types secrets budgets $(STAMP) ## all checks and tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

mutants: $(STAMP) ## break each line of the deciding modules, and see a test fail; ONLY='detrex_hub.kinds*'
	$(INSTALL) -e '.[mutants]'
	# with bytecode: each run of the tests imports the package again
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/mutmut run $(ONLY)
	$(BIN)/mutmut results

budgets: $(STAMP) ## memory and bytes read of conversions, which are counts
	$(BIN)/python -m benchmarks --check

bench: $(STAMP) ## time and memory beside other ways, up to 5 GB; takes a quarter of an hour
	$(INSTALL) -e '.[bench]'
	$(BIN)/python -m benchmarks --scale --plot docs/scaling.svg --record docs/performance.md

lint: $(STAMP) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## static types
	$(BIN)/mypy

secrets: $(STAMP) ## no token and no key in any file
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --cores 2 --baseline .secrets.baseline

audit: $(STAMP) ## known vulnerabilities of what is pinned, flaws of workflows; asks an advisory service
	$(INSTALL) -e '.[audit]'
	$(BIN)/zizmor --offline .
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r .github/release-tools.txt

# no hashes: one version of torch comes as several builds, each with hashes of its own
constraints: $(STAMP) ## pin all anew, for every supported Python; UPGRADE=-U takes newer versions
	$(INSTALL) -e '.[audit]'
	$(COMPILE) --no-annotate --all-extras pyproject.toml -o constraints.txt
	$(COMPILE) --no-annotate --generate-hashes .github/release-tools.in -o .github/release-tools.txt

cards: $(STAMP) ## render model_cards/, and work out the outlines of the catalogue
	$(BIN)/python -m detrex_hub.card model_cards

zoo: $(STAMP) ## write zoo.html, the page with all weights
	$(BIN)/detrex-hub zoo -o zoo.html

docs: $(STAMP) ## build the documentation in site/, with its links checked
	$(INSTALL) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

browser: $(STAMP) ## test that page in chromium, which must be installed
	$(INSTALL) -e '.[browser]'
	$(BIN)/python -m pytest tests/zoo

clean: ## remove what the other targets made
	rm -rf $(VENV) hub zoo.html site build dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis
