# make demo | serve | test | test-load | check | bench | fuzz        ARGS="…" is passed on
# Everything is set up in .venv on first use; nothing has to be installed by hand but Python 3.11+ and make.

SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
DEV_READY := .venv/.ready-dev
ARGS ?=

.PHONY: demo serve test test-load check bench fuzz

demo: $(READY)
	@$(BIN)/active-call demo $(ARGS)

serve: $(READY)
	@$(BIN)/active-call serve $(ARGS)

test: $(DEV_READY)
	@sh tools/install_peers.sh || echo "Tests that need these programs will be skipped."
	@PYTHON=$(BIN)/python sh tools/run_tests.sh $(ARGS)

# What judges load, timing or a whole machine. Nothing else should run beside it.
test-load: $(DEV_READY)
	@sh tools/install_peers.sh || echo "Tests that need these programs will be skipped."
	@PYTHON=$(BIN)/python sh tools/run_tests.sh load $(ARGS)

check: $(DEV_READY)
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/import_cycles.py

bench: $(DEV_READY)
	@$(BIN)/python benchmarks/media.py $(ARGS)
	@$(BIN)/python benchmarks/sip.py

fuzz: $(DEV_READY)
	@$(BIN)/python -m pytest tests -m "hypothesis and not slow" --hypothesis-profile=long --timeout=7200 $(ARGS)

$(READY): pyproject.toml requirements/lock.txt tools/make_venv.sh
	@PYTHON="$(PYTHON)" sh tools/make_venv.sh local
	@touch $@

$(DEV_READY): $(READY) requirements/lock.txt
	@PYTHON="$(PYTHON)" sh tools/make_venv.sh local,dev
	@touch $@
