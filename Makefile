# Every check that CI or a commit hook runs is a target here. `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PROTOS := $(wildcard protos/kosearch/v1/*.proto)

# On all cores, where pip takes one, and ours too: a stack is five processes, each of which would compile what it imports
# where Python is told to write no bytecode. Files of other Pythons' syntax among them make it fail, and nothing else.
COMPILE = @$(BIN)/python -m compileall -q -j 0 -x '/tests?/|/transformers/models/[^ab_]' $(VENV)/lib \
	kosearch encoder_service indexer_worker standalone protos trainer >/dev/null 2>&1 || true

.DEFAULT_GOAL := help
.PHONY: help demo test check unit protos lock qdrant peers clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.runtime ## set up, index the sample corpus, answer the README's queries, stop
	$(BIN)/python -m standalone.demo

# Much of the time goes by in waiting for processes that start, crash and come back: two at once, file by file.
test: $(VENV)/.development qdrant check ## set up, check and test everything
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(VENV)/.development ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.development ## the tests that take seconds
	$(BIN)/python -m pytest tests/unit

qdrant: $(VENV)/.runtime ## fetch the Qdrant server that the contract tests compare with (tests only)
	@$(BIN)/python tests/fetch_qdrant.py || echo "no Qdrant server: its half of the contract tests is skipped"

protos: $(VENV)/.development ## generate the gRPC code again
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. \
		--python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. $(PROTOS)

peers: ## set up the environment of the libraries that benchmarks/encoder compares with, in .cache/peers
	$(PYTHON) -m venv .cache/peers
	.cache/peers/bin/pip install --quiet "$$(grep '^torch==' benchmarks/encoder/peers.txt)"
	.cache/peers/bin/pip install --quiet --requirement benchmarks/encoder/peers.txt

lock: ## resolve the newest versions that fit and write constraints.txt
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/pip install --quiet "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	.lock/bin/pip install --quiet ".[dev,trainer]"
	.lock/bin/pip freeze --exclude kosearch | sed -E 's/^torch==([0-9.]+).*/torch==\1/; / @ /d' > constraints.new
	mv constraints.new constraints.txt && rm -rf .lock

clean: ## remove what the other targets made
	rm -rf $(VENV) .cache .demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What runs the service: no torch.
$(VENV)/.runtime: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --no-compile --constraint constraints.txt --editable .
	$(COMPILE)
	touch $@

# torch first and by its own version: anything that depends on it would take the newest, with gigabytes of CUDA.
$(VENV)/.development: $(VENV)/.runtime
	$(PIP) install --no-compile --constraint constraints.txt torch
	$(PIP) install --no-compile --constraint constraints.txt --editable ".[dev,trainer]"
	$(COMPILE)
	touch $@
