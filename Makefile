# `make` alone prints the targets. Everything runs in .venv, which `setup` makes and keeps up to date.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON := .venv/bin/python
READY := .venv/.ready
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(PYTHON) -m pytest -q -n $(WORKERS)
QUICKSTART := outputs/quickstart

.PHONY: help setup quickstart test test-slow parity check bench bench-bccd bench-explain clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup: $(READY) ## make .venv with everything (again only when a dependency changed)

$(READY): pyproject.toml constraints.txt
	@for python in python3.11 python3 python; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then echo "error: Python 3.11 or newer is needed, and neither python3.11 nor python3 is one." >&2; exit 2; fi; \
	test -x $(PYTHON) || "$$python" -m venv .venv
	$(PYTHON) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(READY)

quickstart: setup ## generated data, a detector from scratch, its score and pictures: about 5 minutes where the processor has bf16, else about 13
	$(PYTHON) tools/train.py experiment=quickstart data.root=datasets/quickstart output=$(QUICKSTART)
	$(PYTHON) tools/demo.py checkpoint=$(QUICKSTART)/checkpoints/best.pt \
	  source="$$(ls -td datasets/quickstart/*/coco/val | head -n 1)" limit=12 output=$(QUICKSTART)/demo

test: setup ## all tests but the slow ones
	@$(PYTEST)

parity: setup ## every network beside torchvision's: contract, logits, gradients, one training step each: minutes
	@$(PYTEST) -m parity

test-slow: setup ## the tests that train for minutes
	@$(PYTEST) -m slow

check: setup ## style, types and floors
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

bench: setup ## operations, training steps, the input pipeline and the region line, beside torchvision's where it has them: half an hour
	@set -e; for name in ops faster_rcnn_step classifier_step loader_memory shards sliding_windows svd region_memory lineage_times; do \
	  echo "== benchmarks/$$name.py"; OMP_WAIT_POLICY=passive $(PYTHON) benchmarks/$$name.py; done

bench-bccd: setup ## AP on real blood cells beside torchvision's, two seeds each: an hour
	OMP_WAIT_POLICY=passive $(PYTHON) benchmarks/bccd.py

bench-explain: setup ## what explanations cost and agree on, equivariance, lesions, turned digits; wants the real data and weights: an hour
	@set -e; for name in occlusion grad_cam_cost invariance lesions rotation; do \
	  echo "== benchmarks/$$name.py"; OMP_WAIT_POLICY=passive $(PYTHON) benchmarks/$$name.py; done

clean: ## remove caches; .venv, data sets and outputs stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find visionkit tools tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
