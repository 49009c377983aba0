# Every target makes what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lock file pins every version; PIP_CONSTRAINT applies it to what pip needs to build packages, too.
PIP := PIP_CONSTRAINT=requirements.lock PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: quickstart
quickstart: $(VENV)/installed ## set up, then train LeNet on handwritten digits: no download of data, under a minute
	$(BIN)/python -m lenet_lab.train experiment=digits

.PHONY: test
test: $(VENV)/installed-dev ## run all tests
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

.PHONY: test-fast
test-fast: $(VENV)/installed-dev ## run the tests that take less than ten seconds each
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile -m "not slow"

.PHONY: lint
lint: $(VENV)/installed-dev ## check style, docstrings and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/installed-dev ## mend what can be mended without thought
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lock
lock: $(VENV)/installed-dev ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/pip-compile --quiet --upgrade --extra dev --strip-extras --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
		--output-file requirements.lock pyproject.toml

.PHONY: clean
clean: ## remove the environment and what tools have left; runs and data stay
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lenet_lab needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "Installing into $(VENV): a few minutes the first time, mostly PyTorch."
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable '.[dev]'
	@touch $@
