# Two commands for a newcomer: `make demo` and `make test`. Everything else is a part of them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# One profile for demo, tests, benches and CI: nothing heavy is built twice.
CARGO ?= cargo
BUILD := $(CARGO) build --release --locked
TEST := $(CARGO) test --release --locked
BIN := target/release/emberscope
VENV := target/venv
DEMO := datasets/demo/healthy.zstd datasets/demo/skewed.zstd datasets/demo/failures.zstd
# Seconds that each fuzz target runs in `make test`.
FUZZ_SECONDS ?= 5
PACKAGES := gcc g++ libc6-dev pkg-config python3 python3-venv
# What the Spark plugin and its tests need besides; building and the demo do not.
SPARK_PACKAGES := maven openjdk-17-jdk-headless liblttng-ust-dev lttng-tools babeltrace2

help: ## Show the targets.
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## Build, and diagnose real runs from datasets/.
	@$(BIN) diagnose $(DEMO)
	@echo
	@echo "Your own: $(BIN) diagnose LOG      A rule: $(BIN) rule data-skew      Tables: $(BIN) extract LOG --out DIR"

test: packages fmt clippy build unit docs-fresh figures-fresh python fuzz ## Run every check.
	@echo "make test: every check passed"

build: packages ## Build the emberscope binary.
	@$(BUILD) --workspace --bins

unit: packages
	@$(TEST) --workspace

# What is generated from the registries and committed must be what they give now.
docs-fresh: build
	@$(BIN) docs --check crates/emberscope/docs

fmt:
	@$(CARGO) fmt --all --check

clippy: packages
	@$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

spark-plugin: spark-packages ## Build the Spark plugin, one jar with its native library, in target/spark (Maven).
	@$(MAKE) --no-print-directory -C crates/emberscope-spark OUT=$(abspath target/spark)

# Of the Spark plugin's tests, those versions run that EMBERSCOPE_SPARK_VERSIONS names; they are the lab's.
python: build spark-plugin $(VENV)/ready
	@$(BUILD) --workspace --examples
	@$(VENV)/bin/ruff check --quiet datasets benches tests/python
	@EMBERSCOPE_BIN=$(abspath $(BIN)) $(VENV)/bin/python -m pytest -q tests/python

$(VENV)/ready: tests/python/requirements.txt
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
	@touch $@

fuzz: ## Run every fuzz target for FUZZ_SECONDS.
	@tests/fuzz/run.sh $(FUZZ_SECONDS)

bench: build ## Compare with a Python reader and spark-rapids-tools (makes a log of 300 MB with PySpark first).
	@benches/run.sh

LAB := /var/tmp/emberscope-lab
LAB_PYTHON := $(LAB)/venvs/spark-3.5.9/bin/python

bench-tracing: build spark-plugin $(LAB)/venvs/spark-3.5.9/ready ## Measure what tracing costs a Spark job of 100 ms tasks (PAIRS pairs; root, an idle machine, 10 minutes).
	@$(LAB_PYTHON) benches/tracing.py --pairs $(or $(PAIRS),20) --python $(LAB_PYTHON) --json target/bench-tracing.json

# The recorder runs under the first of the lab's versions of Spark; the others are installed when a run asks for them.
$(LAB)/venvs/spark-3.5.9/ready: datasets/lab/requirements.txt
	@python3 -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

lab: packages $(LAB)/venvs/spark-3.5.9/ready ## Record the lab's runs that are missing, or RUNS="NAME..." again (Java 17; an idle machine).
	@$(LAB_PYTHON) -m datasets.lab.record $(RUNS) $(if $(MINUTES),--minutes $(MINUTES))
	@$(LAB_PYTHON) -m datasets.lab.manifest

lab-advice: build $(LAB)/venvs/spark-3.5.9/ready ## Record the pairs of runs that try the advice, those that are missing, and print what came of it.
	@$(LAB_PYTHON) -m datasets.lab.advice $(TRIALS) $(if $(MINUTES),--minutes $(MINUTES))
	@$(BUILD) --workspace --bins
	@$(BIN) docs crates/emberscope/docs
	@cat crates/emberscope/docs/advice.md

lab-tables: build ## Write the feature tables of all the lab's runs to target/lab-tables.
	@$(BIN) extract datasets/lab/logs --out target/lab-tables

# Figures that docs show are those that the commands print now. Terminals differ in width, files do not.
FIGURES := datasets/lab/figures
EVALUATE := COLUMNS=100 $(BIN) evaluate --labels datasets/lab/labels.jsonl --no-models
TOGETHER := COLUMNS=100 $(BIN) evaluate --labels datasets/lab/labels.jsonl --split judged
WITHHELD := target/release/examples/withheld datasets/lab/labels.jsonl
CALIBRATE := COLUMNS=100 $(BIN) calibrate --labels datasets/lab/labels.jsonl --split training

lab-figures: build ## Write how good rules and models are on the labelled runs to datasets/lab/figures.
	@mkdir -p $(FIGURES)
	@$(BUILD) --workspace --examples
	@$(TOGETHER) >$(FIGURES)/judged-models.txt
	@$(WITHHELD) >$(FIGURES)/withheld.txt
	@$(EVALUATE) --split training >$(FIGURES)/training.txt
	@$(EVALUATE) --split judged >$(FIGURES)/judged.txt
	@$(CALIBRATE) >$(FIGURES)/calibration.txt

models: build ## Train the models that the program brings on the lab's training runs, and write their card (a quarter of an hour).
	@$(BIN) train --labels datasets/lab/labels.jsonl --split training --out models
	@$(BUILD) --workspace --bins

figures-fresh: build
	@$(BUILD) --workspace --examples
	@$(TOGETHER) | diff -u $(FIGURES)/judged-models.txt - || { echo "make lab-figures writes it" >&2; exit 1; }
	@$(WITHHELD) | diff -u $(FIGURES)/withheld.txt - || { echo "make lab-figures writes it" >&2; exit 1; }
	@for split in training judged; do \
	  $(EVALUATE) --split $$split | diff -u $(FIGURES)/$$split.txt - || { echo "make lab-figures writes it" >&2; exit 1; }; \
	done
	@$(CALIBRATE) | diff -u $(FIGURES)/calibration.txt - >/dev/null || { echo "calibration.txt is stale; make lab-figures writes it" >&2; exit 1; }

bless: build ## Write again what is generated: docs, schema, snapshots.
	@$(BIN) docs crates/emberscope/docs
	@INSTA_UPDATE=always EMBERSCOPE_BLESS=1 $(TEST) --workspace

# Debian packages that are missing are installed by root, and named to anybody else.
packages:
	@missing=""; \
	for package in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null; then \
	  missing=$$(echo " $$missing " | sed 's/ python3-venv / /; s/ python3 / /'); \
	fi; \
	if [ -n "$$(echo $$missing)" ]; then \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else \
	    echo "Missing Debian packages. Run: sudo apt-get install -y$$missing" >&2; exit 1; \
	  fi; \
	fi; \
	if ! command -v $(CARGO) >/dev/null; then \
	  echo "Rust is missing (1.95 or newer; see rust-version in Cargo.toml). Install it with rustup, https://rustup.rs" >&2; exit 1; \
	fi

spark-packages:
	@$(MAKE) --no-print-directory packages PACKAGES="$(SPARK_PACKAGES)"

.PHONY: help demo test build unit docs-fresh fmt clippy python spark-plugin spark-packages fuzz bench bench-tracing lab lab-advice lab-tables lab-figures figures-fresh models bless packages
