# Each command does all its set-up: `make demo`, `make test`; while working on the code `make check`.
# Packages come uncompiled: what is imported is compiled once and kept, whatever the caller's environment says, or every
# process compiles it anew.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
# Processes that run the tests, of one thread each: one more than a small machine has cores, since some wait for a browser
# or for what others make. Where none waits, an import less of the large libraries is worth more.
WORKERS ?= 3
check lint: WORKERS = 2
# Examples that `make test-fuzz` makes of every kind of file: 2500 take about ten minutes.
EXAMPLES ?= 2500
# How often `make test-kill` kills something.
ROUNDS ?= 25
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15

.PHONY: demo studio check test test-fuzz test-faults test-kill test-disks test-slurm lint clean-environment

demo: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) --config overrides=experiment=demo

# A local web page for SCENE, such as make studio SCENE=coffee_figure; Ctrl-C ends it.
SCENE ?= coffee
studio: $(VENV)/.installed
	$(BIN)/i2v3d studio scene=$(SCENE)

# Linters, types, and all tests that start neither Blender nor snakemake, nor load the shipped networks, nor take seconds.
check: $(VENV)/.installed
	$(PYTEST) -m 'not slow and not gpu and not slurm and not kill and not disk and not faults' tests

test: $(VENV)/.installed
	$(PYTEST)

# Kills snakemake, stages and Blender in mid-render at random moments; the results must not notice.
test-kill: $(VENV)/.installed
	KILL_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s -m kill

# Fills the disk under every stage, and takes away the right to write; as root, in a minute or two a stage.
test-disks: $(VENV)/.installed
	$(BIN)/python -m pytest -m disk

# Types some two hundred bad inputs as users do: a line and code 2 each, and nothing finished changes.
test-faults: $(VENV)/.installed
	$(BIN)/python -m pytest -m faults

test-fuzz: $(VENV)/.installed
	I2V3D_FUZZ=$(EXAMPLES) $(BIN)/python -m pytest tests/inputs/test_fuzz.py tests/inputs/test_fuzz_scenes.py

test-slurm: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[cluster,slurm]'
	$(BIN)/python -m pytest -m slurm

lint: $(VENV)/.installed
	$(PYTEST) tests/house

# Versions are those of requirements.lock. PYTHON=... names the interpreter to take.
$(VENV)/.installed: pyproject.toml requirements.lock environment.sh
	PYTHON='$(PYTHON)' sh environment.sh $(VENV)
	touch $@

clean-environment:
	rm -rf $(VENV)
