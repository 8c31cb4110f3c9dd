# `make` alone lists what there is. Every target sets up what it needs in .venv; the machine itself needs no more
# than make and Python 3.11, 3.12 or 3.13 with venv. `make PYTHON=python3.12 test` chooses the Python, `make demo
# TORCH_INDEX=URL` a PyTorch without CUDA.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# literal.py is what forward.py times ours against, steady.py what pipeline.py and gpu.py share.
BENCHMARKS := $(filter-out benchmarks/literal.py benchmarks/steady.py,$(sort $(wildcard benchmarks/*.py)))

# A Python that was asked for gets its own stamp, so that an environment made with another one is made again.
MADE := $(VENV)/.made$(if $(filter-out file default undefined,$(origin PYTHON)),-with-$(notdir $(PYTHON)))

# Waiting threads sleep: without it two threads on busy cores were ten times slower than one.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiling all that is installed takes as long as installing it, and most of it is never imported. So Python compiles
# what is imported, the first time that it is; in many images it is told to keep nothing of that.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --no-compile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test chaos soak quality format bench results stack

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-16s %s\n", $$1, $$2 }'

demo: $(VENV)/.installed-runtime ## make a small archive, fuse it and write the report, all into demo/
	$(BIN)/upfusion demo --out demo

stack: $(VENV)/.installed-runtime $(VENV)/.installed-stack ## start a cluster here: S3, MLflow, Ray; ARGS=status, ARGS=stop
	@$(BIN)/python -m infra.stack $(or $(ARGS),start)

test: $(VENV)/.installed-runtime $(VENV)/.installed-test ## run the tests; some: make test ARGS=tests/pipelines
	@# Files side by side, except that those which share a Ray follow each other; these and slow ones come first
	@# (tests/scheduling.py). With more than two at once on two cores, nodes of Ray miss their time to start.
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(VENV)/.installed-runtime $(VENV)/.installed-test ## kill, break and flood jobs on purpose, soak included (about 55 minutes)
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m extended $(ARGS)
	$(if $(ARGS),,$(MAKE) soak)

soak: $(VENV)/.installed-runtime $(VENV)/.installed-test ## kill small jobs at random moments; make soak ROUNDS=1000
	$(BIN)/python -m tests.chaos.soak --rounds $(or $(ROUNDS),20) --figures soak.json $(ARGS)

quality: $(VENV)/.installed-runtime $(VENV)/.installed-quality ## check lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --num-workers auto

format: $(VENV)/.installed-quality ## repair the format, and lint where that is safe
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(VENV)/.installed-runtime $(VENV)/.installed-bench ## run the timed comparisons in benchmarks/
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script"; done

results: $(VENV)/.installed-runtime ## write docs/results.md anew: evaluations, ablations, costs (about 2 hours)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.results

$(VENV)/.installed-runtime: pyproject.toml $(MADE)
	@echo "installing upfusion and what it runs on into $(VENV): a few minutes the first time, $(if $(TORCH_INDEX),2.5,6) GB"
	@# What PyTorch needs comes with upfusion: an index of PyTorch's own has its wheels, and few others.
	@$(if $(TORCH_INDEX),$(INSTALL) --no-deps --index-url $(TORCH_INDEX) torch torchvision)
	@# setuptools warns of folders that an editable installation could take for packages; they are meant to be.
	@PYTHONWARNINGS="ignore:Editable installation." $(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test $(VENV)/.installed-quality $(VENV)/.installed-bench $(VENV)/.installed-stack: $(VENV)/.installed-%: pyproject.toml $(MADE)
	@echo "installing the tools of the group '$*' into $(VENV)"
	@$(INSTALL) --group $*
	@touch $@

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "upfusion needs Python 3.11, 3.12 or 3.13; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "$(PYTHON) lacks venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@# pip knows dependency groups from 25.1 on
	@$(INSTALL) --upgrade 'pip>=25.1'
	@touch $(VENV)/.made $@
