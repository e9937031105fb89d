# `make audit` and `make test`; `make compare FILE=examples/dp_fpl.toml`. All set up what they need
# and can be repeated.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt

FILE ?= examples/vpdr_digits.toml

.PHONY: audit compare test

audit: .venv/ready-run
	@echo "== models and data (checked against pinned hashes)"
	@$(BIN)/privassay assets fetch all
	@echo "== the audit"
	@$(BIN)/privassay run examples/digits_vpp.toml

compare: .venv/ready-run
	@$(BIN)/privassay compare $(FILE) --fetch

test: .venv/ready-dev
	@echo "== models and data (checked against pinned hashes)"
	@$(BIN)/privassay assets fetch all
	@echo "== style, types, import rule"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@echo "== tests"
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile

.venv/ready-run: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing privassay into .venv (torch is large: a few minutes the first time)"
	@$(PIP) -e '.[run]'
	@touch $@

.venv/ready-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing privassay and its test tools into .venv (a few minutes the first time)"
	@$(PIP) -e '.[dev]'
	@touch $@ .venv/ready-run

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "privassay needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "== creating .venv"
	@$(PYTHON) -m venv .venv
