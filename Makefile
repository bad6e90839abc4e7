# Everything a new user runs. `make venv` is the shared set-up step; done once, it costs nothing again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests, whole files, so that what a file shares is made once; each takes up to 3 GiB.
TEST_JOBS ?= 2
RUN_DIR ?= runs/cluttered_digits
DETECT_DIR ?= runs/digit_scenes

.PHONY: train detect test test-all lint format venv benchmark clean

venv: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11, or name another with 'make PYTHON=...'"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

train: venv
	$(BIN)/python -m sact_tf.studies.first_run --run_dir="$(RUN_DIR)"

# The same two steps for object detection.
detect: venv
	$(BIN)/python -m sact_tf.studies.first_detection --run_dir="$(DETECT_DIR)"

test: venv
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist=loadfile

# The long proofs as well: more kills, lost workers, hundreds of damaged files.
test-all: venv
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist=loadfile -m ""

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: venv
	$(BIN)/python benchmarks/model_step.py

# What was trained, in runs/, stays.
clean:
	rm -rf $(VENV) *.egg-info
