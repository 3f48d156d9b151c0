# Each command does all its set-up: `make demo`, `make test`; while working on the code `make check`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
# Processes that run the tests, of one thread each.
WORKERS ?= 2
# How often `make test-kill` kills something.
ROUNDS ?= 25
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15

.PHONY: demo check test test-kill test-slurm lint clean-environment

demo: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) --config overrides=experiment=demo

# Linters, types, and all tests that start neither Blender nor snakemake nor load the shipped networks.
check: $(VENV)/.installed
	$(PYTEST) -m 'not slow and not gpu and not slurm and not kill' tests

test: $(VENV)/.installed
	$(PYTEST)

# Kills snakemake, stages and Blender in mid-render at random moments; the results must not notice.
test-kill: $(VENV)/.installed
	KILL_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s -m kill

test-slurm: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[slurm]'
	$(BIN)/python -m pytest -m slurm

lint: $(VENV)/.installed
	$(PYTEST) tests/house

# requirements.lock pins every version. pip brings torch, as it finds the CPU build that a machine may hold; uv
# brings the rest in a fifth of pip's time, and where it cannot (it knows no pip.conf) pip does.
INSTALL := pip install --quiet --constraint requirements.lock
$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m $(INSTALL) --no-compile torch uv
	$(BIN)/uv $(INSTALL) --python $(BIN)/python --editable '.[dev]' || $(BIN)/python -m $(INSTALL) --editable '.[dev]'
	touch $@

clean-environment:
	rm -rf $(VENV)
