# Every target installs what it lacks by itself; see tools/setup.sh.
SHELL := /bin/bash
PYTHON_ENV := .venv/bin
# System tests wait most of the time, so several run at once.
JOBS ?= 3
.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build:  ## Install what is missing and build hipgw into .venv
	@tools/setup.sh run

.PHONY: demo
demo: build  ## Two endboxes bridge two LANs, live, with measured figures
	@$(PYTHON_ENV)/hipgw lab demo

.PHONY: test
test:  ## Everything: formatting, linters, types, Rust tests, Python tests, system tests
	@tools/setup.sh test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-rust
	@$(MAKE) --no-print-directory test-python
	@$(MAKE) --no-print-directory test-system

.PHONY: test-rust
test-rust:  ## Rust tests (no root needed)
	cargo test --release --locked --workspace

.PHONY: test-python
test-python:  ## Python tests that need no root
	$(PYTHON_ENV)/python -m pytest -q -m "not system" -n 2

.PHONY: test-system
test-system:  ## Real daemons in network namespaces (root)
	$(PYTHON_ENV)/python -m pytest -q -m "system and not alone" -n $(JOBS) --dist worksteal
	$(PYTHON_ENV)/python -m pytest -q -m "system and alone"

.PHONY: test-vm
test-vm: build  ## The kernel's own ESP, on Debian's kernel in an emulated machine (root; some 15 minutes)
	@$(PYTHON_ENV)/python tools/vm/boot.py --timeout 3600 -- env HIPGW_TEST_FORK=1 \
		$(PYTHON_ENV)/python -u -m pytest -v -rA --color=no -p no:cacheprovider $(or $(TESTS),tests/system/test_kernel_esp.py)

.PHONY: lint
lint:  ## ruff, mypy --strict, clippy -D warnings, rustfmt, generated documents
	$(PYTHON_ENV)/ruff check python tests bench cython tools
	$(PYTHON_ENV)/ruff format --check python tests bench cython tools
	$(PYTHON_ENV)/mypy
	$(PYTHON_ENV)/mypy bench/run.py bench/report.py bench/plot.py bench/handovers.py bench/mobile_router.py bench/spinat.py bench/ticks.py bench/stages.py bench/dnsperf.py
	$(PYTHON_ENV)/mypy tools/vm/boot.py
	$(PYTHON_ENV)/python tools/docs.py --check
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo clippy --release --locked -p esp_core --features stage-cycles -- -D warnings
	PYO3_PYTHON=$(CURDIR)/$(PYTHON_ENV)/python cargo clippy --release --locked -p esp_core --features python -- -D warnings

.PHONY: fmt
fmt:  ## Format everything
	$(PYTHON_ENV)/ruff check --fix python tests bench cython tools
	$(PYTHON_ENV)/ruff format python tests bench cython tools
	cargo fmt --all

.PHONY: bench
bench:  ## End-to-end beside other tunnels, and the micro benches; PEERS=DIR of bench/build_peers.sh for more of them
	@tools/setup.sh bench
	$(PYTHON_ENV)/python bench/run.py $(foreach peer,$(wildcard $(PEERS:%=%/bin/*)),--peer $(notdir $(peer))=$(peer))
	$(PYTHON_ENV)/python bench/spinat.py

.PHONY: bench-plot
bench-plot:  ## Draw the latest run: build/bench/latest.svg and latest.png
	@tools/setup.sh bench
	$(PYTHON_ENV)/python bench/plot.py

.PHONY: clean
clean:  ## Remove what was built, the virtual environment included
	rm -rf target build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find python -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
