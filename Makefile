# Everything sets itself up: a machine needs Python >= 3.11 and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
DATA_ROOT ?= $(or $(ELASTIC_JAX_DATA),$(HOME)/.cache/elastic_jax)
ARGS ?=

.PHONY: help install demo test test-slow test-proofs lint types prove bench data test-data docs site clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python >= 3.11 is needed: make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[test]'
	@touch $@

install: $(VENV)/.installed  ## the library and its tests, in a virtual environment

demo: install  ## the main job: train a CNN on real digits with each family of methods (ARGS=--all for every variant)
	$(BIN)/elastic-jax reproduce families_on_digits $(ARGS)

test: install  ## all tests that need no download
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m 'not realdata and not slow and not proofs' $(ARGS)

test-slow: install  ## tests that kill processes and wait for them, and law 8 in float32
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m 'slow and not realdata' $(ARGS)

test-proofs: install  ## every statement of the theory in all its settings, and every bug that is planted for it
	$(BIN)/python -m pytest -q -m proofs $(ARGS)

lint: install  ## style and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## static types
	$(BIN)/mypy

prove: install  ## the theory's statements, checked numerically
	$(BIN)/elastic-jax prove $(ARGS)

bench: install  ## step times against hand-written loops
	$(BIN)/elastic-jax bench $(ARGS)

data: install  ## fetch MNIST, Fashion-MNIST, CIFAR-10 and the help pages
	$(BIN)/elastic-jax data fetch mnist --root $(DATA_ROOT)
	$(BIN)/elastic-jax data fetch fashion_mnist --root $(DATA_ROOT)
	$(BIN)/elastic-jax data fetch cifar10 --root $(DATA_ROOT)
	$(BIN)/elastic-jax data fetch help_en_de --root $(DATA_ROOT)

test-data: install  ## tests on the fetched data sets
	ELASTIC_JAX_DATA=$(DATA_ROOT) $(BIN)/python -m pytest -q -m realdata $(ARGS)

docs: install  ## write the generated tables of README.md and docs/ anew
	$(BIN)/elastic-jax list --write-tables

site: install  ## the reference of every module as a web site, in site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[docs]'
	$(BIN)/python -m pdoc --docformat google --math -o site elastic_jax proofs_check experiments

clean:  ## remove what was made
	rm -rf $(VENV) runs site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
