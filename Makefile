# Two commands do all the set-up: `make serve` and `make test`.
PYTHON ?= python3
SERVE := .venv/bin/python
DEV := .venv-dev/bin/python
DATA ?= data
SOURCES := service training tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help serve test lint train clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: .venv/ready ## serve the models on http://127.0.0.1:8000
	@exec $(SERVE) -m service serve

test: lint ## everything that CI runs: format, lint, types, imports, tests
	$(DEV) -m pytest

lint: .venv-dev/ready
	$(DEV) -m ruff format --check $(SOURCES)
	$(DEV) -m ruff check $(SOURCES)
	$(DEV) -m mypy service training tests benchmarks
	.venv-dev/bin/lint-imports

train: .venv-dev/ready ## train on Fashion-MNIST (DATA=folder) and export the next version
	$(DEV) -m training train fashion-mnist --data-dir $(DATA) --export

clean: ## remove the virtual environments and caches
	rm -rf .venv .venv-dev .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

.venv/ready: EXTRAS := cpu
.venv-dev/ready: EXTRAS := cpu,training,dev
.venv/ready .venv-dev/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@
