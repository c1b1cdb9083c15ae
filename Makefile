CARGO  ?= cargo
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint install-deps

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Builds and runs the demonstration: plaintext against TLS, both latency histograms
	$(CARGO) run --release -- demo

test: install-deps ## Runs everything: lint, cargo's tests, real servers and clients
	@$(PYTHON) tests/run.py

soak: install-deps ## Runs the tests with real servers for longer
	@SOAK=1 $(PYTHON) tests/run.py real

lint: ## Checks format, lints and documentation; warnings are errors
	@$(PYTHON) tests/run.py lint

install-deps: ## As root on Debian: lists, then installs what the tests need; elsewhere does nothing
	@tests/install-deps

include packaging/library.mk
