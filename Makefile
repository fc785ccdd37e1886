# Two commands for newcomers:
#   make demo    set up, then show the main job on the shipped models
#   make test    set up, then lint, types and every test

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.14 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: demo test lint types tests check bench soak docs conformance clean

demo: $(VENV)/.runs
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/make/demo.sh

test: check tests

check: lint types

lint: $(VENV)/.develops
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.develops
	$(BIN)/mypy

tests: $(VENV)/.develops
	$(BIN)/python -m pytest -n $(JOBS) -m "not soak"

soak: $(VENV)/.develops
	$(BIN)/python -m pytest -m soak

bench: $(VENV)/.develops
	$(BIN)/python benchmarks/run_all.py

# Other people's programs against the gateway; without their checkouts it says so and does nothing.
conformance: $(VENV)/.develops
	$(BIN)/python tools/make/conformance.py
	$(BIN)/python tools/make/drift.py

docs: $(VENV)/.develops
	$(BIN)/python tools/make/capabilities.py
	$(BIN)/python tools/make/docs.py

clean:
	rm -rf $(VENV) .demo .conformance build dist site .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.exists:
	@sh tools/make/system.sh "$(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

# Installed in place, so that only a change of dependencies asks for a new run.
$(VENV)/.runs: $(VENV)/.exists pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.develops: $(VENV)/.runs pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,lint]"
	@touch $@
