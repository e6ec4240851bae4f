# make demo | test | check | slow | aot | cluster-test | browser-test | bench | gpu | format. Every target sets up .venv first.
PYTHON ?= python3.11
BIN := .venv/bin
CLUSTER_TESTS ?= tests/cluster

.PHONY: setup demo test slow check aot cluster-test browser-test bench gpu sanitize format
.DEFAULT_GOAL := help

help:
	@echo "make demo    the study in small, ending in a report"
	@echo "make test    the test suite (at most ten minutes on two cores)"
	@echo "make slow    the tests that take longer"
	@echo "make check   ruff, pyright, import-linter"
	@echo "make aot     compile the Triton kernels for GPUs that need not be here"
	@echo "make cluster-test   a real two-node SLURM on this machine, and what can go wrong on it"
	@echo "make browser-test   the report's page in a headless Chromium, and its LaTeX through pdflatex"
	@echo "make bench   speed beside the peers' (ROWS='a b': only those), to BENCHMARKS.md"
	@echo "make gpu     on a GPU: parity of the kernels, then their speed beside peers"

setup: .venv/installed

LOG := .venv/install.log

.venv/installed: pyproject.toml constraints.txt
	@echo "archstudy: setting up .venv (Python packages, about 3 GB, once; takes about five minutes); log: $(LOG)"
	@mkdir -p .venv
	@{ { test -x $(BIN)/python || $(PYTHON) -m venv .venv; } && \
		$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'; } \
		> $(LOG) 2>&1 || { tail -n 20 $(LOG); echo "archstudy: .venv is not complete; all of it: $(LOG)"; exit 1; }
	@touch $@

demo: setup
	$(BIN)/study run sweeps/demo.py

test: setup
	$(BIN)/python -m pytest -m 'not slow and not gpu and not cluster and not browser' -n 2

slow: setup
	$(BIN)/python -m pytest -m 'slow and not gpu and not cluster and not browser' -n 2

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

aot: setup
	TRITON_INTERPRET=0 TRITON_DEFAULT_FP_FUSION=1 $(BIN)/python -m kernels.aot --golden tests/golden/spills.json

# installs Debian's slurm-wlm, munge and shellcheck where they are missing
cluster-test: setup
	tests/cluster/install.sh
	$(BIN)/python -m pytest $(CLUSTER_TESTS) -n 2 --dist loadfile

# installs Debian's chromium, chromium-driver and texlive-latex where they are missing
browser-test: setup
	tests/browser/install.sh
	$(BIN)/python -m pytest tests/browser

bench: setup
	$(BIN)/python -m bench $(ROWS)

gpu: setup
	$(BIN)/python -m bench.gpu

# needs compute-sanitizer, of the CUDA toolkit; the shortest full-size problems, since it is slow
sanitize: setup
	PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --error-exitcode 1 \
		$(BIN)/python -m pytest -q tests/kernels/test_full_size.py -k '1000'

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
