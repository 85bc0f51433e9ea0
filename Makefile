# Two commands do all the set-up: `make serve` and `make test`.
PYTHON ?= python3
SERVE := .venv/bin/python
DEV := .venv-dev/bin/python
DATA ?= data
SOURCES := service training tests benchmarks deploy

.DEFAULT_GOAL := help
.PHONY: help serve test lint train image check-image up down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: .venv/ready ## serve the models on http://127.0.0.1:8000
	@exec $(SERVE) -m service serve

test: lint ## everything that CI runs: format, lint, types, imports, tests
	$(DEV) -m pytest

lint: .venv-dev/ready
	$(DEV) -m ruff format --check $(SOURCES)
	$(DEV) -m ruff check $(SOURCES)
	$(DEV) -m mypy $(SOURCES)
	.venv-dev/bin/lint-imports

train: .venv-dev/ready ## train on Fashion-MNIST (DATA=folder) and export the next version
	$(DEV) -m training train fashion-mnist --data-dir $(DATA) --export

image: ## build the container image `convscope` (docs in Dockerfile)
	docker build --tag convscope --build-arg REVISION=$$(git rev-parse HEAD) \
	  --build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL --build-arg PIP_TRUSTED_HOST .

check-image: .venv-dev/ready ## try docker-compose.yml on this machine's Docker engine, under load and under fire
	$(DEV) deploy/check.py

up: ## the service and Prometheus in containers, on ports 8000 and 9090
	docker compose up --detach --build --wait

down: ## stop them
	docker compose down

gpu-check: .venv-gpu/ready ## on a CUDA machine: do its answers equal the CPU's, and how fast is each?
	.venv-gpu/bin/python -m benchmarks.gpu

clean: ## remove the virtual environments and caches
	rm -rf .venv .venv-dev .venv-gpu .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

.venv/ready: EXTRAS := cpu
.venv-dev/ready: EXTRAS := cpu,training,dev
.venv-gpu/ready: EXTRAS := gpu
.venv/ready .venv-dev/ready .venv-gpu/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@
