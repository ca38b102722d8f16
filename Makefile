# make demo | test | test-deep | check | docs | proofs | bench. All of it runs in .venv, made on first use with the pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch first and alone: another package asking for it would fetch the CUDA build
STAMP := $(VENV)/.installed
CHECKPOINT ?=

.PHONY: demo test test-deep check docs proofs bench clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m tensortrain.demo $(CHECKPOINT)
	$(BIN)/python -m zoo.demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

# property tests with fresh seeds and ten times the examples; not in CI, which must not fail by chance
test-deep: $(STAMP)
	$(BIN)/python -m pytest -n 2 --hypothesis-profile=deep

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# sphinx and its theme are needed for this alone
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

proofs:
	$(MAKE) -C proofs -j 2 --output-sync

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchTT tntorch tensorly-torch
	for program in tests/benchmarks/*.py; do $(BIN)/python $$program || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info out
