# `make demo` and `make test` do everything from a clean clone; PYTHON names the interpreter (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test coverage lint typecheck clean

demo: .venv/installed
	$(BIN)/python -m apps.quickstart

# Two processes run the tests, a core each: threads that wait for one another take longer.
test: export TF_NUM_INTRAOP_THREADS ?= 1
test: .venv/installed
	$(BIN)/python -m pytest

# Which lines of keras_ae and apps the tests run.
coverage: export TF_NUM_INTRAOP_THREADS ?= 1
coverage: .venv/installed
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

typecheck: .venv/installed
	$(BIN)/mypy

lint: .venv/installed typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The stamp is newer than setup.py once everything in it is installed, so a second run installs nothing.
.venv/installed: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet --editable ".[apps,audio,beam,serving,test]"
	touch $@

clean:
	rm -rf .venv runs
