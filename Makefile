# Two commands: `make demo` and `make test`; each does all its set-up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all

.PHONY: demo test test-slurm lint clean-environment

demo: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) --config overrides=experiment=demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-slurm: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[slurm]'
	$(BIN)/python -m pytest -m slurm

lint: $(VENV)/.installed
	$(BIN)/python -m pytest tests/test_style.py

# requirements.lock pins every version; where pip finds a CPU build of the pinned torch, it takes that.
$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	touch $@

clean-environment:
	rm -rf $(VENV)
