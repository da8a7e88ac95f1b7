# Each target does its own set-up in .venv and repeats fast.
PYTHON ?= python3
VENV ?= .venv
TORCH_VENV ?= .venv-torch
BIN = $(VENV)/bin

.PHONY: demo test check fix parity clean

demo: $(VENV)/.demo  ## train BERT-Tiny on Python's own documentation
	$(BIN)/python -m bert_jax.train --config configs/tiny.py

test: $(VENV)/.test  ## run the test suite, two at a time
	$(BIN)/python -m pytest --numprocesses=2 $(ARGS)

check: $(VENV)/.dev  ## lint, format and type checks, of the shell scripts too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck launch/*

fix: $(VENV)/.dev  ## repair what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: $(TORCH_VENV)/.torch  ## compare with torch and transformers
	$(TORCH_VENV)/bin/python -m pytest -m torch tests/parity tests/speed $(ARGS)

clean:  ## remove the virtual environments; runs/ stays
	rm -rf $(VENV) $(TORCH_VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.demo: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

$(VENV)/.dev: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	@touch $@

# Apart: torch is large, and nothing else needs it.
$(TORCH_VENV)/.torch: setup.cfg
	$(MAKE) --no-print-directory VENV=$(TORCH_VENV) $(TORCH_VENV)/bin/python
	$(TORCH_VENV)/bin/python -m pip install --quiet --editable '.[test,torch]'
	@touch $@
