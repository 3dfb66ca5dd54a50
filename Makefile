# `make help` lists what can be made. Everything is made once, and again when it changed.

PYTHON ?= python3
CARGO ?= cargo
VENV := .venv
VENV_READY := $(VENV)/.ready
WHEEL_READY := $(VENV)/.wheel
REQUIREMENTS := python-shim/requirements-dev.txt
SOURCES := $(shell find roar-* python-shim -name target -prune -o -type f ! -name '*.pyc' -print) \
	Cargo.toml Cargo.lock

# What the tests run: the debug build, and a Python that has Ray.
export ROAR_BIN_DIR ?= $(CURDIR)/target/debug
export ROAR_TEST_PYTHON ?= $(CURDIR)/$(VENV)/bin/python
# What the tests of S3 have beside that: clients, and a server.
S3_REQUIREMENTS := tests/s3/requirements.txt
S3S := .cache/s3s/bin/s3s-fs
export ROAR_TEST_S3S ?= $(CURDIR)/$(S3S)
PYTEST := $(VENV)/bin/python -m pytest -p no:cacheprovider -q

.PHONY: help setup build debug venv venvs wheel demo test test-rust test-shim test-ways test-ray \
	test-s3 test-formats test-far test-clusters test-ray-versions check-aarch64 coverage soak \
	lint fmt clippy doc ci bench bench-s3 clean

help: ## What can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## System packages that are missing (Debian, Ubuntu; as root)
	.ci/setup

build: ## target/release/roar and target/release/roar-worker
	$(CARGO) build --release --locked -p roar-cli

debug:
	$(CARGO) build --locked --workspace --bins

venv: $(VENV_READY) ## .venv with Ray and what the tests need

$(VENV_READY): $(REQUIREMENTS) $(S3_REQUIREMENTS)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		$(addprefix -r ,$(REQUIREMENTS) $(S3_REQUIREMENTS))
	@rm -f $(WHEEL_READY)
	@touch $@

# The server of the tests that need S3.
$(S3S):
	$(CARGO) install --quiet s3s-fs --version 0.14.1 --locked --features binary --root .cache/s3s

wheel: $(WHEEL_READY) ## dist/roar_tracer-*.whl, installed into .venv

$(WHEEL_READY): $(SOURCES) $(VENV_READY)
	rm -f dist/roar_tracer-*.whl
	cd python-shim && ../$(VENV)/bin/maturin build --quiet --release --locked --out ../dist
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--force-reinstall dist/roar_tracer-*.whl
	@touch $@

demo: wheel ## A Ray pipeline under `roar run`, and its graph
	PYTHON=$(VENV)/bin/python examples/demo.sh .cache/demo

# What takes an installation of its own, or long.
FAR := $(patsubst %,tests/ray_e2e/test_%.py,containers languages nodes sink tls view)
# As long as all the others of Ray.
WAYS := tests/ray_e2e/test_ways.py
# Those of S3 that have a Ray.
FAR_S3 := $(patsubst %,tests/s3/test_%.py,addresses attribution pipeline)

# The oldest Ray with `py_executable`, and the newest that this was tried with.
RAY_VERSIONS ?= 2.43.0 2.60.0

test: test-rust test-shim test-clusters test-s3 test-formats ## All tests

# Clusters are waited for most of the time: two suites at once, each one's output when it ends.
test-clusters: debug venv $(S3S) ## Clusters on loopback
	$(MAKE) --jobs=2 --keep-going --output-sync=target test-ways test-ray

test-rust: debug venv $(S3S) ## Units; capture by both backends, with the accelerator and without; faults
	$(CARGO) test --locked --workspace --no-fail-fast
	ROAR_TEST_BACKEND=ptrace $(CARGO) test --locked --workspace --no-fail-fast \
		--test trace --test passthrough
	ROAR_TEST_ACCEL=off $(CARGO) test --locked --workspace --no-fail-fast --test trace

coverage: debug venv ## docs/coverage.md, from a run of its cases
	ROAR_WRITE_COVERAGE=1 $(CARGO) test --locked --workspace --test coverage

soak: debug venv ## Random programs, races, and deaths of the supervisor, by the thousand
	ROAR_SOAK=10000 $(CARGO) test --locked --workspace --test oracle -- --nocapture
	ROAR_HARMLESS_ROUNDS=$${ROAR_HARMLESS_ROUNDS:-1000} \
		$(CARGO) test --locked --workspace --test harmless -- --include-ignored

test-shim: venv
	$(PYTEST) tests/shim

test-ray: debug venv $(S3S)
	$(PYTEST) --durations=5 $(FAR:%=--ignore=%) --ignore=$(WAYS) tests/ray_e2e

test-ways: debug venv $(S3S) ## Every way to start a job, and every way to trace it
	$(PYTEST) --durations=5 $(WAYS)

test-far: debug venv $(S3S) ## Clusters in containers, behind TLS, with S3, and with other languages
	$(PYTEST) --durations=5 $(FAR)
	$(PYTEST) --durations=5 $(FAR_S3)

test-s3: debug venv $(S3S) ## Objects of S3, by every client
	$(PYTEST) --durations=5 $(FAR_S3:%=--ignore=%) tests/s3

# The programs that exports are for.
FORMATS := .cache/formats
FORMATS_READY := $(FORMATS)/.ready

$(FORMATS_READY): tests/formats/requirements.txt
	$(PYTHON) -m venv $(FORMATS)
	$(FORMATS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

test-formats: debug venv $(FORMATS_READY) ## Exports, by the programs that read them; the page, in a browser
	$(FORMATS)/bin/python -m pytest -p no:cacheprovider -q --durations=5 tests/formats

bench-s3: build venv $(S3S) ## Requests to S3, traced and untraced
	$(VENV)/bin/python bench/s3.py

.cache/ray-%/.ready: $(REQUIREMENTS)
	$(PYTHON) -m venv $(@D)
	sed -e 's/^ray\[default\]==.*/ray[default]==$*/' -e '/^maturin/d' -e '/^ray-cpp/d' \
		$(REQUIREMENTS) > $(@D)/requirements.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $(@D)/requirements.txt
	@touch $@

RAYS_READY := $(RAY_VERSIONS:%=.cache/ray-%/.ready)

# All that is installed from PyPI.
venvs: venv $(RAYS_READY) $(FORMATS_READY)

test-ray-versions: debug $(RAYS_READY) ## The graph, on older and newer Rays
	@for version in $(RAY_VERSIONS); do \
		echo "Ray $$version"; \
		ROAR_TEST_PYTHON=$(CURDIR)/.cache/ray-$$version/bin/python \
			.cache/ray-$$version/bin/python -m pytest -p no:cacheprovider -q \
			tests/ray_e2e/test_graph.py tests/ray_e2e/test_objects.py \
			-k "not ordinary" || exit 1; \
	done

ARM := aarch64-unknown-linux-gnu

check-aarch64: ## The crates compile for it, where rustup can install the target
	@if rustup target add $(ARM); then \
		CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
			$(CARGO) check --locked --target $(ARM) -p roar-worker -p roar-cli; \
	else echo "check-aarch64: left out: rustup cannot install $(ARM)"; fi

lint: fmt clippy ## Formatting and clippy, warnings denied

# Compiled by roar-worker's build script.
IN_PROGRAM := $(addprefix roar-tracee/in_program/,accelerator.rs preload.rs)

fmt:
	$(CARGO) fmt --all --check
	rustfmt --edition 2024 --check $(IN_PROGRAM)

clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc: ## The documentation of the crates, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

ci: ## All of it, and one line that says how it went
	.ci/steps

bench: wheel build ## Every workload, traced in every way and untraced; bench/results/
	$(CARGO) build --release --locked -p roar-lineage --example store_bench
	$(PYTHON) bench/run.py

clean: ## Removes all that was made here
	rm -rf target dist .cache $(VENV)
