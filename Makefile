# make help lists the targets. `make demo` and `make test` set themselves up on a machine that has only Python >= 3.11.

PYTHON ?= python3
VENV   ?= .venv
# GPU=1 takes the CUDA build of torch, GPU=0 the CPU build; without either the machine decides.
GPU    ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo 1 || echo 0)
BIN    := $(VENV)/bin
TORCH  := 2.13.0
STAMP  := $(VENV)/.installed-gpu$(GPU)
# The CPU build has a version of its own, so that pip cannot take the large CUDA build for it. macOS has one build only.
ifeq ($(GPU)$(shell uname -s),0Linux)
TORCH_REQUIREMENT := torch==$(TORCH)+cpu --extra-index-url https://download.pytorch.org/whl/cpu
TORCH_BUILD := its build for CPUs (190 MB)
else
TORCH_REQUIREMENT := torch==$(TORCH)
TORCH_BUILD := the build of PyPI (with NVIDIA's libraries gigabytes)
endif
# Each process begins with one half of the tests and takes over what the other has left.
SIDE_BY_SIDE := -n 2 --dist worksteal --durations=15
# Waiting threads that spin slow other processes down; small tensors gain nothing from a second thread.
QUIET  := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1

.PHONY: help install demo test test-fast faults lint types format bench docker clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv with pinned versions (GPU=1 for the CUDA build of torch)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] < (3, 14) else \
	  f"llpp needs Python 3.11 to 3.13, $(PYTHON) is {v[0]}.{v[1]}; set PYTHON=python3.12, for example")'
	@echo "install, 1 of 3: a virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "install, 2 of 3: torch $(TORCH), $(TORCH_BUILD); pip says nothing until it is there, which may take minutes"
	@$(BIN)/python -m pip install --quiet --retries 2 $(TORCH_REQUIREMENT)
	@echo "install, 3 of 3: llpp in place, its extras, and what tests and lint need (versions of constraints.txt; minutes)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[label,export,wandb,tensorboard,sweep,test,dev]"
	@rm -f $(VENV)/.installed-*
	@touch $@
	@echo "install: done; $(BIN)/llpp --help says what there is"

demo: $(STAMP) ## the main job on drawn figures: learned selection beside random, then the report (< 5 minutes)
	$(QUIET) $(BIN)/llpp run -m experiment=demo acquisition=predicted_loss,random seed=0,1 \
	  hydra/launcher=joblib hydra.launcher.n_jobs=2
	$(BIN)/llpp report runs/demo

test: lint types ## lint, types and the whole test suite
	$(QUIET) $(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-fast: $(STAMP) ## the tests that take no subprocess, no training and no pictures
	$(QUIET) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

faults: $(STAMP) ## hurt runs in every way for a quarter of an hour: 45 kills at random moments, hangs, launchers
	LLPP_FAULT_KILLS=30 $(QUIET) $(BIN)/python -m pytest tests/faults tests/launch/test_sweep.py \
	  tests/labelling/test_journey.py tests/labelling/test_tools.py -s --durations=15

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

format: $(STAMP) ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## measure the claims about speed, one JSON line each (a quarter of an hour)
	$(BIN)/python -m benchmarks

docker: ## build the image (BASE=pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime for GPUs)
	docker build -f docker/Dockerfile $(if $(BASE),--build-arg BASE=$(BASE)) -t llpp .

clean: ## remove what the other targets made, but not runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
