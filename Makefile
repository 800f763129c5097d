# Everything runs in .venv, which each target makes if it is not there. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/$(if $(filter probe compare,$(MAKECMDGOALS)),probe,pretrain)/synthetic.yaml
CHECKPOINT ?=
ARGS ?=
RESUME ?=

INSTALLED := $(VENV)/.installed
VJEPA := $(VENV)/bin/vjepa
EMBEDDED_DATA := data/synthetic/dataset.json
# Only recipes on the embedded dataset need it.
DATA = $(shell grep -qs 'data/synthetic/' $(CONFIG) && echo $(EMBEDDED_DATA))

.SECONDEXPANSION:
.PHONY: help install data pretrain probe compare test bench bench-data check format clean

help:  ## list the targets
	@echo 'usage: make TARGET [CONFIG=recipe.yaml] [ARGS="--key=value ..."] [RESUME=1] [CHECKPOINT=last.ckpt]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

install: $(INSTALLED)  ## make the environment .venv

# torch first and pinned: a looser range would bring gigabytes of CUDA libraries to a machine without a GPU.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vjepa needs Python 3.11 or newer; give one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

data: $(EMBEDDED_DATA)  ## render the embedded dataset to data/synthetic

$(EMBEDDED_DATA): | $(INSTALLED)
	$(VJEPA) make-data

pretrain: $(INSTALLED) $$(DATA)  ## pretrain by CONFIG, with overrides ARGS; RESUME=1 goes on with the last run
	$(VJEPA) fit -c $(CONFIG) $(if $(RESUME),--ckpt_path=last) $(ARGS)

probe: $(INSTALLED) $$(DATA)  ## probe CHECKPOINT, or the newest one, by CONFIG: kNN, linear and attentive, beside baselines
	$(VJEPA) probe -c $(CONFIG) $(if $(CHECKPOINT),--checkpoint=$(CHECKPOINT)) $(ARGS)

compare: $(INSTALLED) $$(DATA)  ## the same encoder under several objectives, equal steps: docs/compare.md; ARGS="--steps=200 --seeds=[0,1]"
	$(VJEPA) compare -c $(CONFIG) $(ARGS)

test: $(INSTALLED)  ## run the tests
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses=2 $(ARGS)

bench-data: $(INSTALLED)  ## time the data path against the released pipeline; ARGS="--source video.mp4"
	$(VENV)/bin/python benchmarks/bench_data.py $(ARGS)

bench: $(INSTALLED)  ## time a sweep of probes on cached features against encoding anew in each epoch
	$(VENV)/bin/python benchmarks/bench_probe.py $(ARGS)

check: $(INSTALLED)  ## formatting, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(INSTALLED)  ## format the code
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

clean:  ## remove the environment and the embedded dataset; runs stay
	rm -rf $(VENV) data/synthetic/{videos,masks} data/synthetic/*.{csv,json}
