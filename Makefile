# Everything that is done with this checkout. `make` lists it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: chaos fuzz help venv demo places places-stop places-table test check format docs screenshot coverage guide bench bench-quick tickets-report lock clean

# The first Python that is new enough; another one: make PYTHON=/path/to/python …
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV ?= uv
# Arguments for pytest: make test ARGS="-k tickets"
ARGS ?=
# How many tests run at once, those of one file one after the other; 0 for all in one process.
JOBS ?= 3
# How much chaos, how long to fuzz, and how the dice of both fall.
N ?= 100
MINUTES ?= 10
SEED ?= 1
# Scenarios of the chaos; all, unless some are named: make chaos ONLY="pains volume"
ONLY ?=
# The tests of the guide for writing orchestrators, where they are at hand.
GUIDE ?= ../shared/guide/test_guide.py
COVERAGE := --cov --cov-report=term --cov-fail-under=90

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## Set up .venv: pinned dependencies, claude, this project

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer on PATH; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED) ## See the real Claude Code work, with no key and no network
	@$(BIN)/claude-mpm demo

test: $(INSTALLED) ## Run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

places: $(INSTALLED) ## Start the Docker Engine and the sshd of the tests, and keep them
	tools/places.sh start

places-stop: ## End and remove what `make places` started
	tools/places.sh stop

places-table: $(INSTALLED) ## Hold every place to every contract; write the page of the docs
	rm -f reports/places.md
	$(BIN)/python -m pytest tests/places/test_contracts.py -k keeps $(ARGS)
	cp reports/places.md docs/places.md

check: $(INSTALLED) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED) ## Bring the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshot: $(INSTALLED) ## Take the pictures of the native interface anew (needs tmux)
	PYTHONPATH=tests/terminal $(BIN)/python tools/screenshot.py

docs: $(INSTALLED) ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

coverage: ## Run all tests; fail below 90 % of the lines
	$(MAKE) --no-print-directory test ARGS="$(COVERAGE) $(ARGS)"

guide: $(INSTALLED) ## Run the guide's own tests, where they are at hand
	@if test -f $(GUIDE); then $(BIN)/python -m pytest -p no:cacheprovider $(GUIDE); else echo "no $(GUIDE) here"; fi

bench: $(INSTALLED) ## Measure everything beside the peers; write docs/benchmarks.md
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-quick: $(INSTALLED) ## Measure a part of it, in two minutes
	$(BIN)/python benchmarks/run.py --quick $(ARGS)

chaos: $(INSTALLED) ## Kill, stop and race on purpose; report what held: make chaos N=500 SEED=1
	$(BIN)/python -m claude_mpm.testing.chaos --number $(N) --seed $(SEED) \
		$(addprefix --only ,$(ONLY)) --output reports/chaos.md

FUZZER := .fuzz
fuzz: $(INSTALLED) ## Feed garbage to every reader; report what broke: make fuzz MINUTES=40 SEED=1
	@test -d $(FUZZER) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(FUZZER) atheris \
		|| echo "there is no atheris for this Python; fuzzing without it" >&2
	PYTHONPATH=$(FUZZER) $(BIN)/python tests/fuzz/fuzzing.py --minutes $(MINUTES) --seed $(SEED) --output reports/fuzz.md

tickets-report: $(INSTALLED) ## Report precision and recall of tickets
	$(BIN)/python tools/ticket_report.py --output reports/tickets.md

lock: ## Pin the newest dependencies in requirements.lock (needs uv)
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --all-extras --all-groups --no-emit-project --no-header --format requirements-txt --output-file requirements.lock

clean: places-stop ## Remove everything that was made, .venv too
	rm -rf $(VENV) site dist reports .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis $(FUZZER)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
