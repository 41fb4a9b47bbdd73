# Everything that is done with this checkout. `make` lists it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: chaos check-setup fuzz help kubernetes newest venv demo places places-stop places-table releases test check format docs screenshot coverage guide bench bench-quick tickets-report lock clean

# Another Python than the first that is new enough: make PYTHON=/path/to/python …
PYTHON ?=
VENV := .venv
# --newest for the newest releases in place of the pinned ones; that is for `make newest`.
SET_UP ?=
BIN := $(VENV)/bin
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
# The tests that tell whether another release of a dependency does.
TELLING := tests/real tests/sdk tests/cli tests/wire $(wildcard tests/test_*.py)
COVERAGE := --cov --cov-report=term --cov-fail-under=90

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## Set up .venv: pinned dependencies, claude, this project
	@PYTHON="$(PYTHON)" tools/setup.sh $(SET_UP) $(VENV)

check-setup: venv ## Set up as a newcomer would, with every Python and pip, and in Debian: ARGS=--list
	$(BIN)/python tools/check_setup.py $(ARGS)

demo: venv ## See the real Claude Code work, with no key and no network
	@$(BIN)/claude-mpm demo

test: venv ## Run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

places: venv ## Start the Docker Engine and the sshd of the tests, and keep them
	tools/places.sh start

places-stop: ## End and remove what `make places` started
	tools/places.sh stop

places-table: venv ## Hold every place to every contract; write the page of the docs
	rm -f reports/places.md
	$(BIN)/python -m pytest tests/places/test_contracts.py -k keeps --cluster $(ARGS)
	cp reports/places.md docs/places.md

kubernetes: venv ## Hold the place kubernetes to every contract, on a real cluster that is built once
	$(BIN)/python -m pytest -n 2 --dist load tests/cluster tests/places/test_contracts.py \
		tests/places/test_move.py -k "cluster or (keeps or goes) and kubernetes" --cluster $(ARGS)

check: venv ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv ## Bring the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshot: venv ## Take the pictures of the native interface and of the page anew (needs tmux, chromium)
	PYTHONPATH=tests/terminal $(BIN)/python tools/screenshot.py
	PYTHONPATH=tests $(BIN)/python tools/page_pictures.py

docs: venv ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

coverage: ## Run all tests; fail below 90 % of the lines
	$(MAKE) --no-print-directory test ARGS="$(COVERAGE) $(ARGS)"

newest: ## See whether the newest versions of all dependencies do: in .newest, checks and tests
	rm -rf .newest
	$(MAKE) --no-print-directory VENV=.newest SET_UP=--newest check docs test ARGS="$(or $(ARGS),$(TELLING))"

guide: venv ## Run the code of the guide for orchestrators as it stands; it is not ours to edit
	$(BIN)/python -m pytest -p no:cacheprovider -W default guide

bench: places ## Measure everything beside the peers; write docs/benchmarks.md
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-quick: venv ## Measure a part of it, in two minutes
	$(BIN)/python benchmarks/run.py --quick $(ARGS)

chaos: places ## Kill, stop and race on purpose; report what held: make chaos N=500 SEED=1
	$(if $(filter cluster,$(ONLY)),tools/places.sh start kubernetes)
	$(BIN)/python -m chaos --number $(N) --seed $(SEED) \
		$(addprefix --only ,$(ONLY)) --output reports/chaos.md

FUZZER := .fuzz
fuzz: venv ## Feed garbage to every reader; report what broke: make fuzz MINUTES=40 SEED=1
	@test -d $(FUZZER) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes --requirement tests/fuzz/atheris.lock --target $(FUZZER) \
		|| echo "there is no atheris for this Python; fuzzing without it" >&2
	PYTHONPATH=$(FUZZER) $(BIN)/python tests/fuzz/fuzzing.py --minutes $(MINUTES) --seed $(SEED) --output reports/fuzz.md

releases: venv ## Try releases of Claude Code; write their table: make releases ARGS="--quick"
	$(BIN)/python tools/releases.py $(ARGS)

tickets-report: venv ## Report precision and recall of tickets
	$(BIN)/python tools/ticket_report.py --output reports/tickets.md

# What is measured and fuzzed with is pinned like the rest, and where both have a package, alike.
PIN = $(UV) pip compile - --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --constraint requirements.lock --output-file
# atheris 3.1 has no wheels for Python 3.11.
lock: ## Pin the newest dependencies, peers and atheris, each in its lock (needs uv)
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --all-extras --all-groups --no-emit-project --no-header --format requirements-txt --output-file requirements.lock
	for peer in claude-agent-sdk pexpect claude-mpm; do echo $$peer | $(PIN) benchmarks/locks/$$peer.lock || exit; done
	echo 'atheris<3.1' | $(PIN) tests/fuzz/atheris.lock

clean: places-stop ## Remove everything that was made, .venv too
	rm -rf $(VENV) site dist reports .coverage .coverage.* .newest .mypy_cache .ruff_cache .pytest_cache .hypothesis $(FUZZER)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
