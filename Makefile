# Every target makes what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
# begin: template
# VERSIONS=lowest (or newest) installs the lowest versions that pyproject.toml allows, into an environment of their own.
VERSIONS ?= locked
ifneq ($(VERSIONS),locked)
$(if $(filter lowest newest,$(VERSIONS)),,$(error VERSIONS=$(VERSIONS) is none of locked, lowest, newest))
VENV := .venv-$(VERSIONS)
endif
# end: template
BIN := $(VENV)/bin
# The lock files pin every version and every file by its hash. Packages are built without isolation, with the tools that
# requirements-build.lock has installed: pip checks no hashes of build tools that it downloads itself.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install $(if $(CI),--quiet)
LOCKED := $(PIP) --require-hashes --no-build-isolation --requirement

# CPU=1 leaves out CUDA: the packages come from an index of PyTorch, whose hashes no lock file has. The environment keeps it.
CPU ?= $(wildcard $(VENV)/cpu)
CPU_INDEX := https://download.pytorch.org/whl/cpu
# Without this, pip could take a build with CUDA from another index that it is set to look at.
CPU_BUILD := $(if $(filter Linux,$(shell uname)),+cpu)
lock_without_cuda = awk '/^[^ ]/ {keep = !/^(torch|torchvision|triton|nvidia-.*|cuda-.*)==/} keep' $(1) > $(VENV)/$(1)
install_lock = $(if $(CPU),$(call lock_without_cuda,$(1)) && $(LOCKED) $(VENV)/$(1) --no-deps,$(LOCKED) $(1))

# Where this is set, as in many container images, each process that a target starts would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: quickstart
quickstart: $(VENV)/installed ## install (3 GB; CPU=1: without CUDA), then train LeNet on handwritten digits: seconds, no data
	$(BIN)/python -m lenet_lab.train experiment=digits

.PHONY: dashboard
dashboard: $(VENV)/installed ## open TensorBoard on the newest run or sweep; on another: make dashboard RUN=FOLDER
	@run="$(RUN)"; [ -n "$$run" ] || run=$$(ls -t runs/train/*/config.yaml runs/train/*/multirun.yaml 2>/dev/null | head -n 1); \
	[ -n "$$run" ] || { echo "There is no run below runs/train yet: make quickstart makes one."; exit 2; }; \
	[ "$$run" != "$${run%.yaml}" ] && run=$$(dirname "$$run"); \
	[ -d "$$run" ] || { echo "RUN=$$run is no folder: give a run, a sweep, or runs/train for all."; exit 2; }; \
	echo "$$run"; exec $(BIN)/python -m tensorboard.main --logdir "$$run"

# One process more than cores, at most six: many tests wait for processes that they have started. In the order of
# names, unlike in xdist's own, the slow folders come first. The tests of a file share a process and its fixtures.
CORES = $(shell getconf _NPROCESSORS_ONLN)
PARALLEL = --numprocesses=$$(($(CORES) < 5 ? $(CORES) + 1 : 6)) --dist=loadfile --no-loadscope-reorder
TESTS := tests
# begin: template
TESTS += docs
# end: template
.PHONY: test
test: $(VENV)/installed-dev ## run the tests; with COVERAGE=1 also list the lines of src that no test runs
	$(if $(COVERAGE),rm -f .coverage .coverage.*)
	$(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest $(PARALLEL) $(TESTS) -m "not long"
	$(if $(COVERAGE),$(BIN)/python -m coverage combine --quiet)
	$(if $(COVERAGE),$(BIN)/python -m coverage report)

.PHONY: test-fast
test-fast: $(VENV)/installed-dev ## run the tests that take less than ten seconds each
	$(BIN)/python -m pytest $(PARALLEL) $(TESTS) -m "not slow"

# begin: template
.PHONY: test-long
test-long: $(VENV)/installed-dev ## run what repeats other tests at length, and kill runs and sweeps ten times as often
	KILLS=20 $(BIN)/python -m pytest -k kills_at_random
	$(BIN)/python -m pytest -m long

.PHONY: mutants
mutants: $(VENV)/installed-dev ## change metrics, data and checkpoints on purpose, list the changes that no test notices: an hour
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

.PHONY: bench
bench: $(VENV)/installed ## compare the speed with alternatives, under 10 minutes; images: make bench DATA=DIR
	@$(BIN)/python scripts/bench $(if $(DATA),--data "$(DATA)")

MINUTES := 60
.PHONY: soak
soak: $(VENV)/installed-dev ## kill runs at random for an hour, fill disks, load a million images: make soak MINUTES=10
	@$(BIN)/python scripts/soak --minutes $(MINUTES)

# The second project takes the environment of the first, at the same path, to save minutes of installing another.
.PHONY: check-new-project
check-new-project: $(VENV)/installed-dev ## make a project from this one, with and without the notes, and check it
	@set -eu; \
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; trap 'exit 1' INT TERM; \
	project=$$folder/my_first_project; \
	$(BIN)/python scripts/new_project.py "$$project"; \
	$(MAKE) -C "$$project" lint quickstart test docs notes PAGE=research; \
	mv "$$project/.venv" "$$folder"; rm -rf "$$project"; \
	$(BIN)/python scripts/new_project.py "$$project" --without-notes; \
	mv "$$folder/.venv" "$$project"; \
	$(MAKE) -C "$$project" docs
# end: template

# begin: notes
.PHONY: notes
notes: $(VENV)/installed-dev ## run the pages of docs/notes and check what they print; one page: make notes PAGE=tensors
	$(BIN)/python -m pytest --quiet docs/notes/$(if $(PAGE),$(PAGE).md)
# end: notes

.PHONY: lint
lint: $(VENV)/installed-dev ## check style, docstrings, types and which module imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy

.PHONY: schemas
schemas: $(VENV)/installed ## write the schemas by which VS Code and PyCharm complete and check the files of conf
	$(BIN)/python -m lab_engine.cli.json_schema lenet_lab

BUILD := build
.PHONY: docs
docs: $(VENV)/installed-dev ## build the site: build/site/index.html
	rm -rf $(BUILD)/docs $(BUILD)/site
	mkdir -p $(BUILD)
	cp -R docs $(BUILD)/docs
# begin: notes
	[ ! -d $(BUILD)/pictures ] || cp $(BUILD)/pictures/* $(BUILD)/docs/notes/images
# end: notes
	$(BIN)/python -m sphinx -W --keep-going --quiet -d $(BUILD)/doctrees -E $(BUILD)/docs $(BUILD)/site
	@echo "The first page: $(BUILD)/site/index.html"

# begin: notes
docs: $(BUILD)/pictures
# Photographs must not be in the repository: where CIFAR-10 is on this machine, its page draws them for the site.
$(BUILD)/pictures: docs/notes/cifar10.md | $(VENV)/installed-dev
	rm -rf $@ $@.part
	mkdir -p $@.part
	cp docs/notes/images/* $@.part
	LENET_LAB_PICTURES=$@.part $(BIN)/python -m pytest --quiet -rs $<
	mv $@.part $@
# end: notes

.PHONY: format
format: $(VENV)/installed-dev ## fix style and imports as far as ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

UPGRADE := --upgrade
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
.PHONY: lock
lock: $(VENV)/installed-dev ## write the lock files with the newest versions; to keep old ones: make lock UPGRADE=
	$(COMPILE) $(UPGRADE) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --constraint requirements-dev.lock --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements-dev.lock $(UPGRADE) --group build --output-file requirements-build.lock

.PHONY: audit
audit: $(VENV)/installed-dev ## look up known vulnerabilities of the locked packages: needs the network
	$(BIN)/uvx --quiet pip-audit --strict --disable-pip --require-hashes --requirement requirements-dev.lock

.PHONY: clean
clean: ## remove the environment and files of tools; runs and data stay
	rm -rf $(VENV) dist build mutants .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lenet_lab needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# begin: template
ifneq ($(VERSIONS),locked)
# The lowest of what the program imports; the tools of tests and checks are the newest in both.
EXTRAS := explain export mlflow postgresql samplers wandb
LOWEST := $(VENV)/lowest.txt
install_lowest = $(PIP) uv && \
	$(BIN)/uv pip compile --quiet --resolution lowest-direct $(EXTRAS:%=--extra %) --output-file $(LOWEST) pyproject.toml && \
	$(PIP) --constraint $(LOWEST) --editable '.[dev]'
install_newest = $(PIP) --upgrade --editable '.[dev]' 'hydra-core>=1.4.0rc0' 'omegaconf>=2.4.0rc0'

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing the $(VERSIONS) versions into $(VENV)."
	@$(install_$(VERSIONS))
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@touch $@

else
# end: template
$(VENV)/packages: $(VENV)/bin/python requirements-build.lock requirements.lock
ifneq ($(CPU),)
	@echo "Installing into $(VENV), without CUDA: about 0.4 GB to download the first time, a minute or more."
	@$(PIP) --no-deps --index-url $(CPU_INDEX) $$(sed -nE 's/^(torch|torchvision)==([^ ]+).*/\1==\2$(CPU_BUILD)/p' requirements.lock)
	@touch $(VENV)/cpu
else
	@echo "Installing into $(VENV): on Linux 3 GB to download the first time, most of it CUDA, and 7 GB on the disk;"
	@echo "minutes, by the speed of the network. On a machine without a GPU, \"make CPU=1 quickstart\" leaves out CUDA."
endif
	@$(LOCKED) requirements-build.lock
	@$(call install_lock,requirements.lock)
	@touch $@

$(VENV)/installed: $(VENV)/packages pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.lock
	@echo "Installing the packages of tests and checks."
	@$(call install_lock,requirements-dev.lock)
	@touch $@
# begin: template
endif
# end: template
