# make demo | test | check | slow | aot | format. Every target sets up .venv first.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo test slow check aot format
.DEFAULT_GOAL := help

help:
	@echo "make demo    the study in small, ending in a report"
	@echo "make test    the test suite (at most ten minutes on two cores)"
	@echo "make slow    the tests that take longer"
	@echo "make check   ruff, pyright, import-linter"
	@echo "make aot     compile the Triton kernels for GPUs that need not be here"

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/study run sweeps/demo.py

test: setup
	$(BIN)/python -m pytest -m 'not slow and not gpu' -n 2

slow: setup
	$(BIN)/python -m pytest -m 'slow and not gpu'

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

aot: setup
	TRITON_INTERPRET=0 TRITON_DEFAULT_FP_FUSION=1 $(BIN)/python -m kernels.aot --golden tests/golden/spills.json

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
