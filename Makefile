# Everything runs in .venv, which each target makes if it is not there. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
IN_A_WORLD := $(firstword $(filter worldmodel plan,$(MAKECMDGOALS)))
ON_VIDEOS := $(if $(filter finetune labels segment,$(MAKECMDGOALS)),$(firstword $(filter finetune labels segment,$(MAKECMDGOALS))),$(if $(filter probe compare,$(MAKECMDGOALS)),probe,pretrain))
CONFIG ?= configs/$(if $(IN_A_WORLD),$(IN_A_WORLD)/two_rooms,$(if $(filter surprise,$(MAKECMDGOALS)),surprise/physics,$(ON_VIDEOS)/synthetic)).yaml
CHECKPOINT ?=
ARGS ?=
RESUME ?=

INSTALLED := $(VENV)/.installed
VJEPA := $(VENV)/bin/vjepa
# Only recipes on an embedded dataset need it, and only those of Two Rooms need its episodes. `make` itself looks for
# them, in CONFIG and the recipes that it starts from, since the environment may not be there yet.
LAYERS = $(shell recipe=$(CONFIG); for _ in 1 2 3 4 5 6 7 8; do echo $$recipe; \
	base=$$(sed -n 's,^base: *\([^ ]*\).*,\1,p' $$recipe 2>/dev/null); \
	[ -n "$$base" ] || break; recipe=$$(dirname $$recipe)/$$base; done)
# The first one that is named: a recipe's own manifests come before those of the recipe that it starts from.
DATA = $(addsuffix dataset.json,$(firstword $(shell sed -nE 's,^[^\#]*(data/(synthetic(_hard)?|physics)/).*,\1,p' $(LAYERS) 2>/dev/null)))
ROOT = $(firstword $(shell sed -n 's,^[^\#]*root: *\([^ ,}]*\).*,\1,p' $(LAYERS) 2>/dev/null))
EPISODES = $(addsuffix /episodes.json,$(filter data/two_rooms%,$(ROOT)))

# Threads that spin while they wait take up to 10 times as long beside a busy core.
export OMP_WAIT_POLICY ?= PASSIVE

# Worker processes and commands that tests start inherit these; without bytecode each would compile the package anew.
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= \
	$(VENV)/bin/python -m pytest --numprocesses=2 --dist=worksteal

.SECONDEXPANSION:
.PHONY: help install simulators data report pretrain probe finetune compare labels surprise segment worldmodel plan test kill-test test-quick test-without-decord test-lowest bench bench-data recipes docs notebooks check \
	format clean

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
	@$(MAKE) --no-print-directory simulators || echo 'Push-T and Reacher have no wheels for this machine; their tests will skip'
	@touch $@

# Without their dependencies: gym-pusht would replace OpenCV, and of dm_control only a model file is read. 30 s, 100 MB.
simulators:
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --only-binary=:all: --editable '.[pusht]' 'mujoco>=3.2,<4'
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --no-deps 'gym-pusht>=0.1.8,<0.2' 'dm_control>=1.0.20'

data: data/synthetic/dataset.json  ## render the embedded dataset to data/synthetic

data/synthetic/dataset.json: | $(INSTALLED)
	$(VJEPA) make-data

data/synthetic_hard/dataset.json: | $(INSTALLED)
	$(VJEPA) make-data --difficulty=hard

data/physics/dataset.json: | $(INSTALLED)
	$(VJEPA) make-data --world=physics

report: $(INSTALLED)  ## everything about the newest run, or of RUNS="folder folder" side by side, on one HTML page
	$(VJEPA) report $(or $(RUNS),runs) $(ARGS)

pretrain: $(INSTALLED) $$(DATA)  ## pretrain by CONFIG, with overrides ARGS; RESUME=1 goes on with the last run
	$(VJEPA) fit -c $(CONFIG) $(if $(RESUME),--ckpt_path=last) $(ARGS)

probe: $(INSTALLED) $$(DATA)  ## probe CHECKPOINT, or the newest one, by CONFIG: kNN, linear and attentive, beside baselines
	$(VJEPA) probe -c $(CONFIG) $(if $(CHECKPOINT),--checkpoint=$(CHECKPOINT)) $(ARGS)

finetune: $(INSTALLED) $$(DATA)  ## train CHECKPOINT, or the newest one, with labels by CONFIG; ARGS="--methods=[whole,lora,frozen,scratch]"
	$(VJEPA) finetune -c $(CONFIG) $(if $(CHECKPOINT),--checkpoint=$(CHECKPOINT)) $(ARGS)

compare: $(INSTALLED) $$(DATA)  ## the same encoder under several objectives, equal steps: docs/compare.md; ARGS="--steps=200 --seeds=[0,1,2]"
	$(VJEPA) compare -c $(CONFIG) $(ARGS)

labels: $(INSTALLED) $$(DATA)  ## labels saved by pretraining, by CONFIG: docs/labels.md with a picture; hours on two cores
	$(VJEPA) label-efficiency -c $(CONFIG) $(ARGS)

surprise: $(INSTALLED) $$(DATA)  ## does CHECKPOINT, or the newest one, expect what happens? Possible and impossible films of CONFIG: docs/surprise.md
	$(VJEPA) surprise -c $(CONFIG) $(if $(CHECKPOINT),--checkpoint=$(CHECKPOINT)) $(ARGS)

segment: $(INSTALLED) $$(DATA)  ## objects in the features of CHECKPOINT, or the newest one, by CONFIG: tables, pictures, mp4; 3 minutes
	$(VJEPA) segment -c $(CONFIG) $(if $(CHECKPOINT),--checkpoint=$(CHECKPOINT)) $(ARGS)

worldmodel: $(INSTALLED) $$(EPISODES)  ## collect episodes of Two Rooms if CONFIG asks for them, and train a world model by CONFIG
	$(VJEPA) fit -c $(CONFIG) $(if $(RESUME),--ckpt_path=last) $(ARGS)

data/%/episodes.json: | $(INSTALLED)
	$(VJEPA) collect -c configs/collect/$*.yaml

plan: $(INSTALLED)  ## plan with the world model CHECKPOINT, or the newest one, in closed loop by CONFIG: success beside baselines
	$(VJEPA) plan -c $(CONFIG) $(if $(CHECKPOINT),--checkpoint=$(CHECKPOINT)) $(ARGS)

test: $(INSTALLED)  ## run all tests: 12 to 15 minutes on two cores
	$(PYTEST) $(ARGS)

test-without-decord: $(INSTALLED)  ## run all tests as where decord has no wheel: Macs, Linux on Arm
	PYTHONPATH=tests/without_decord $(PYTEST) $(ARGS)

kill-test: $(INSTALLED)  ## 30 kills at random instants, some inside a write, on 1 and 2 ranks: each run ends bit for bit as the unbroken one; 5 minutes
	$(VENV)/bin/python -m tests.integration.kill_test $(ARGS)

test-quick: $(INSTALLED)  ## run the tests that are not marked as slow: about 1 minute
	$(PYTEST) -m 'not slow' $(ARGS)

# An environment of its own. On Linux torch 2.6.0 of PyPI brings 3 GB of CUDA libraries; INDEX=... names another index.
test-lowest: constraints/lowest.txt  ## import, and a run of 3 steps, with the lowest versions that pyproject.toml claims; Python 3.11
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install --quiet --constraint constraints/lowest.txt $(if $(INDEX),--index-url $(INDEX)) torch torchvision
	$(VENV)-lowest/bin/pip install --quiet --constraint constraints/lowest.txt .
	cd $$(mktemp -d) && $(CURDIR)/$(VENV)-lowest/bin/vjepa make-data --num_train=64 --num_val=12 --num_test=12 \
		&& $(CURDIR)/$(VENV)-lowest/bin/vjepa fit -c synthetic --trainer.max_steps=3

bench-data: $(INSTALLED)  ## time the data path against the released pipeline; ARGS="--source video.mp4"
	$(VENV)/bin/python benchmarks/bench_data.py $(ARGS)

bench: $(INSTALLED)  ## time step and masks beside plain references, to benchmarks/results, then a sweep of probes; 20 minutes
	$(VENV)/bin/python benchmarks/bench.py $(ARGS)
	$(VENV)/bin/python benchmarks/bench_probe.py

recipes: $(INSTALLED)  ## write configs/README.md, the list of recipes, from their headers
	$(VENV)/bin/python scripts/list_recipes.py

# Each has an extra of its own, installed when it is first wanted.
docs: $(VENV)/.docs  ## build the documentation site, links checked: site/index.html
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build
	@echo 'open site/index.html, or with its search: $(VENV)/bin/python -m http.server --directory site'

notebooks: $(VENV)/.notebooks data  ## run all notebooks in a copy; ARGS="features" for some of them
	$(VENV)/bin/python scripts/run_notebooks.py $(ARGS)

$(VENV)/.docs $(VENV)/.notebooks: $(VENV)/.%: $(INSTALLED)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

check: $(INSTALLED)  ## formatting, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(INSTALLED)  ## format the code
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

clean:  ## remove the environment, the embedded datasets and collected episodes; runs stay
	rm -rf $(VENV) data/two_rooms* data/synthetic_hard data/physics_* data/{synthetic,physics}/{videos,masks} data/{synthetic,physics}/*.{csv,json}
