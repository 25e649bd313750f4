# `make demo` and `make test` work from a clean clone. PYTHON is the interpreter to use (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test coverage lint typecheck docs clean

demo: .venv/installed
	$(BIN)/python -m apps.quickstart

test: .venv/installed
	$(BIN)/python -m pytest

# Shows which lines of keras_ae and apps the tests run.
coverage: .venv/installed
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

typecheck: .venv/installed
	$(BIN)/mypy

lint: .venv/installed typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive keras_ae apps keras_ae_command.py

# Builds the pages into build/docs. With --strict, a dead link or a failing tutorial is an error.
docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/docs
	$(BIN)/python -m mkdocs build --strict

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

# The stamp file is newer than setup.py once everything is installed, so a second run installs nothing.
.venv/installed: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet --editable ".[apps,audio,beam,serving,sketch,tables,test]"
	touch $@

clean:
	rm -rf .venv runs
