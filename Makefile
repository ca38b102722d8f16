# make demo | test | test-deep | check | docs | proofs | bench. All of it runs in .venv, made on first use with the pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch first and alone: another package asking for it would fetch the CUDA build
STAMP := $(VENV)/.installed
CHECKPOINT ?=
DATA ?=

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
	$(BIN)/python -m pytest -n 2 --dist worksteal

# property tests with fresh seeds and ten times the examples; not in CI, which must not fail by chance
test-deep: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal --hypothesis-profile=deep

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

# what needs no arguments, and with make bench DATA=FOLDER what needs the data; programs that compare with an earlier
# commit or train for hours are started by hand
BENCHMARKS := certificates conv_layers growth libraries loading long_kernels planner quantised tt_formats
DATA_BENCHMARKS := compression real_kernels
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchTT tntorch tensorly-torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt teneva quimb
	for program in $(BENCHMARKS); do $(BIN)/python -m tests.benchmarks.$$program || exit 1; done
	test -z "$(DATA)" || for program in $(DATA_BENCHMARKS); do \
		$(BIN)/python -m tests.benchmarks.$$program "$(DATA)" || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info out
