# `make book` and `make test` set up what they need. Python ≥ 3.11 and the usual registries suffice.
PYTHON ?= python3
PROFILE ?= default
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Compiled modules are kept beside their sources: compiling torch's at every start takes seconds each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup book test portable lint bench picture lab lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY) ## the environment in .venv, from requirements.lock

$(READY): requirements.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"; }
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	test -x $(BIN)/python || $$uv venv -q --python $(PYTHON) $(VENV); \
	$$uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock && \
	$$uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

book: $(READY) ## execute the chapters and build _build/html (PROFILE=full recomputes everything)
	$(BIN)/rarefire book --profile $(PROFILE)

test: $(READY) ## all tests; warnings are errors
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

portable: $(READY) ## the numeric tests with the kernels of other processors
	$(BIN)/python tests/portable.py

lint: $(READY) ## style, types, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-id index.ipynb notebooks/*.ipynb

bench: $(READY) ## benchmarks: tab-separated on standard output, readable on standard error
	@$(BIN)/python bench/run.py

picture: book ## the README's picture, taken anew from the built landing page
	$(BIN)/python tests/picture.py

lab: $(READY) ## the chapters in JupyterLab
	$(BIN)/jupyter lab index.ipynb

lock: ## resolve the versions anew
	uv pip compile -q --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements.lock

clean: ## remove everything built (not the cache of data and results)
	rm -rf _build $(VENV) .pytest_cache .mypy_cache .ruff_cache
