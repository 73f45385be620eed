# All set-up is done by make itself: Python 3.10 or newer and make are enough.
# `make` alone lists the targets; `make clean` leaves nothing behind.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# Most tests wait for servers, so there are twice as many at once.
SPREAD = -n $(shell expr 2 \* $(JOBS)) --dist worksteal
UV ?= uv

# The folders that are imported as keydb_runbooks.<folder>; pyproject.toml lists the same ones.
FOLDERS := runbooks connectors facts operations schemas templates
TYPING := build/typing/keydb_runbooks

# pip's own cache would be a file left behind outside of this folder; PIP_NO_CACHE_DIR=0 keeps one all the same.
PIP_NO_CACHE_DIR ?= 1
export PIP_NO_CACHE_DIR
# The locks are complete, so nothing is left to resolve.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
# Where this is set no module stays compiled, and each pyinfra run takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

ifdef ENGINE
export KEYDB_SANDBOX_ENGINE := $(ENGINE)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-ci test-all fleet test-fleet kubernetes-lab test-kubernetes simulate coverage mutants bench bench-kubernetes check stop clean lock

help:
	@echo "make demo      a group on this machine: its primary moved and lost under a writing client (ENGINE=keydb|valkey|redis)"
	@echo "make test      the tests that need no root, nine minutes of them (ARGS='-k switchover' picks some, JOBS=4 runs more at once)"
	@echo "make test-ci   what CI runs beside make test: more of the same, and on more engines"
	@echo "make test-all  both, and the slow ones too"
	@echo "make fleet     a shell beside five real machines: systemd, sshd, a network to cut (root; RUN='pyinfra ...' instead of the shell)"
	@echo "make test-fleet  the tests on such machines (root; ARGS='-k install' picks some; thirteen minutes, and one more the first time)"
	@echo "make kubernetes-lab   a shell beside a Kubernetes of one node (root, Go; KUBECONFIG takes another one; RUN='pyinfra ...' instead of the shell)"
	@echo "make test-kubernetes  the tests on pods (ARGS='-k switchover' picks some, ARGS='-m slow' the slow ones; twelve minutes, and eight more the first time)"
	@echo "make simulate  a million runs in a world where anything breaks, and every order of events in small ones (RUNS=N; 20,000 runs take two minutes of one core)"
	@echo "make coverage  every branch of runbooks/ is reached by tests/unit/runbooks, or this fails"
	@echo "make mutants   small changes of runbooks/ that no test notices (ARGS='lineage steps' picks modules; half an hour)"
	@echo "make bench     how long clients wait and what they lose: switchover, FAILOVER, Sentinel, failover (RUNS=3 FAILOVERS=3; three minutes)"
	@echo "make bench-kubernetes  the same on pods: a Service that is moved, proxies, a moved label (root; RUNS=5; a minute or two each)"
	@echo "make check     lint, format and types"
	@echo "make stop      stop the sandbox's servers, keep their files"
	@echo "make clean     stop them and remove everything that make and the project made"

demo: $(VENV)/.demo
	@$(BIN)/python demo/story.py

test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(SPREAD) -m "not slow and not in_ci" $(ARGS)

test-ci: $(VENV)/.dev
	@$(BIN)/python -m pytest $(SPREAD) -m "in_ci and not slow" $(ARGS)

test-all: $(VENV)/.dev
	@$(BIN)/python -m pytest $(SPREAD) $(ARGS)

fleet: $(VENV)/.dev
	@$(BIN)/python -m tests.fleet $(RUN)

test-fleet: $(VENV)/.dev
	@$(BIN)/python -m tests.fleet --test $(ARGS)

kubernetes-lab: $(VENV)/.dev
	@$(BIN)/python -m tests.kubernetes.lab $(RUN)

test-kubernetes: $(VENV)/.dev
	@$(BIN)/python -m tests.kubernetes.lab --test $(ARGS)

simulate: $(VENV)/.dev
	@$(BIN)/python -m tests.simulation.runner --runs $(or $(RUNS),1000000) --jobs $(JOBS)
	@$(BIN)/python -m pytest -q -n $(JOBS) tests/simulation/test_small_worlds.py

coverage: $(VENV)/.dev
	@$(BIN)/python -m coverage run -m pytest -q tests/unit/runbooks $(ARGS)
	@$(BIN)/python -m coverage report

mutants: $(VENV)/.mutants
	@$(BIN)/python tests/mutants/prepare.py $(ARGS)
	@cd build/mutants && nice $(abspath $(BIN))/python $(CURDIR)/tests/mutants/judge.py $(JOBS)

bench: $(VENV)/.dev
	@RUNS="$(or $(RUNS),3)" FAILOVERS="$(FAILOVERS)" $(BIN)/python -m bench.moves

bench-kubernetes: $(VENV)/.dev
	@$(BIN)/python -m tests.kubernetes.lab $(BIN)/python -m bench.pods $(or $(RUNS),5)

# All of them run, even if the first one fails. mypy sees the folders through links (docs/reuse.md), people read their real names.
check: $(VENV)/.dev $(TYPING)
	@failed=""; \
	echo "lint (ruff)"; $(BIN)/ruff check --quiet . || failed="$$failed lint"; \
	echo "format (ruff)"; $(BIN)/ruff format --quiet --check --diff . || failed="$$failed format"; \
	echo "types (mypy)"; $(BIN)/mypy --no-error-summary >build/mypy.txt 2>&1 || failed="$$failed types"; \
	sed 's|^$(TYPING)/||' build/mypy.txt; \
	if [ -n "$$failed" ]; then echo "check failed:$$failed"; exit 1; fi; \
	echo "check passed: lint, format, types"

stop:
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m keydb_runbooks.connectors.sandbox stop; \
	else echo "nothing to stop: there is no $(VENV)"; fi

# Files of a server that still runs are not removed under it.
clean:
	@if [ -d .sandbox ] && [ -x $(BIN)/python ]; then \
		$(BIN)/python -m keydb_runbooks.connectors.sandbox stop || \
			{ echo "not cleaned: the sandbox could not be stopped (see above)"; exit 1; }; \
	elif [ -d .sandbox ]; then echo "no $(VENV), so the sandbox's servers were not looked for"; fi
	@rm -rf $(VENV) .sandbox build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.coverage .coverage.* htmlcov pyinfra-debug.log
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# For maintainers: fits the locks to pyproject.toml; UPGRADE=--upgrade takes the newest of everything.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --universal --python-version 3.10 \
	--no-annotate $(UPGRADE) pyproject.toml
lock:
	@$(COMPILE) --extra sandbox --extra build --output-file locks/demo.lock
	@$(COMPILE) --extra sandbox --extra kubernetes --extra test --extra check --extra build --constraints locks/demo.lock --output-file locks/dev.lock
	@$(COMPILE) --extra mutants --constraints locks/dev.lock --output-file locks/mutants.lock

# Set-up. Each stamp is touched last, so that a set-up that was interrupted is simply done again.

$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "There is no $(PYTHON) here. Install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "$(PYTHON) is `"$(PYTHON)" -V 2>&1`, 3.10 or newer is needed. Name another one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) lacks its venv module. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) with `"$(PYTHON)" -V`: once, about half a minute"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.demo: locks/demo.lock pyproject.toml | $(VENV)/.made
	@$(PIP) -r locks/demo.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

# The bigger lock has everything of the smaller one, so whoever starts here needs no second round.
$(VENV)/.dev: locks/dev.lock pyproject.toml | $(VENV)/.made
	@$(PIP) -r locks/dev.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $(VENV)/.demo $@

# Nobody else needs these, so they come on top.
$(VENV)/.mutants: locks/mutants.lock | $(VENV)/.dev
	@$(PIP) -r locks/mutants.lock
	@touch $@

$(TYPING): Makefile
	@rm -rf $@ && mkdir -p $@
	@for folder in $(FOLDERS); do ln -s ../../../$$folder $@/$$folder; done
