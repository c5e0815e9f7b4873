# `make run` needs python3 (3.12 or newer) and a package index, nothing else.

# python3, or where that is too old another one that is there: pyenv's and distributions' have names of their own.
FIT = import sys; sys.exit(sys.version_info < (3, 12))
PYTHON ?= $(or $(shell for each in python3 python3.14 python3.13 python3.12; do \
	$$each -c '$(FIT)' 2>/dev/null && echo $$each && break; done),python3)
BIN := .venv/bin
# Each stamp is newer than the lock file whose packages are installed: nothing is installed twice.
VENV := .venv/.made
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
# Checks have no state directory to take secrets from; these protect nothing.
FOR_CHECKS := SECRET_KEY=for-checks TOLLGATE_SECRETS_KEY=for-checks TOLLGATE_KEY_PEPPER=for-checks
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.12 \
	--generate-hashes --no-emit-index-url --no-emit-find-links pyproject.toml

# Empty when it is new enough, else the sentence to stop with.
UNFIT = $(shell $(PYTHON) -c 'import sys; v = sys.version_info[:3]; v < (3, 12) and print("Tollgate needs Python 3.12 \
	or newer and $(PYTHON) is %d.%d.%d; name another one: make run PYTHON=python3.13" % v)' 2>/dev/null \
	|| echo "Tollgate needs Python 3.12 or newer and there is no $(PYTHON); name one: make run PYTHON=python3.13")

# What is compiled is kept: else each process would compile all packages anew, which takes it seconds and memory.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-fast test-agents test-browser lint format lock bench clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: $(INSTALLED) ## set up and run everything on http://127.0.0.1:8080 (PORT, HOST, WORKERS)
	@exec $(BIN)/python manage.py up

test: $(INSTALLED_DEV) ## run all tests, in three processes; they start stores of their own (ARGS=...)
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(INSTALLED_DEV) ## run the tests that need neither stores nor processes of their own, in three processes
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --ignore tests/gateway -m "not stack and not stores and not django_db" $(ARGS)

test-agents: $(INSTALLED_DEV) ## let Claude Code and Codex, installed from npm, work through the gateway
	$(BIN)/python -m pytest tests/agents $(ARGS)

test-browser: $(INSTALLED_DEV) ## let people of different standing use the console, in the Chromium that is installed
	$(BIN)/python -m pytest tests/browser $(ARGS)

lint: $(INSTALLED_DEV) ## check style, types, layers, settings and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(FOR_CHECKS) $(BIN)/mypy .
	$(BIN)/lint-imports
	$(FOR_CHECKS) $(BIN)/python manage.py check
	$(FOR_CHECKS) $(BIN)/python manage.py makemigrations --check --dry-run

format: $(INSTALLED_DEV) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV) ## write the lock files from pyproject.toml (ARGS=--upgrade)
	@$(COMPILE) -o requirements.lock $(ARGS)
	@$(COMPILE) -o requirements-dev.lock --group dev -c requirements.lock $(ARGS)

bench: $(INSTALLED_DEV) ## measure the gateway against its simulator
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove what was built and installed; .tollgate/, your data, stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV):
	$(if $(UNFIT),$(error $(UNFIT)))
	@echo "Setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv || echo "No uv for this machine; using pip."
	@touch $@

$(INSTALLED): requirements.lock $(VENV)
	$(call install,$<)
	@touch $@

$(INSTALLED_DEV): requirements-dev.lock $(INSTALLED)
	$(call install,$<)
	@touch $@

# uv is faster; pip also knows the indexes that are configured for pip only.
define install
	@echo "Installing $(1)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(1) || \
	{ echo "Trying again with pip" >&2; $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1); }
endef
