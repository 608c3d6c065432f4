# The front door. V=1 shows what passes as well as what fails.
PREFIX ?= /usr/local
V ?= 0
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest $(if $(filter 1,$(V)),-v,-q)
# The build that `make check` tests, and those that `make soak` does.
CHECK_PRESET := dev
SOAK_PRESETS := $(CHECK_PRESET) asan ubsan tsan release
# Tests of programs in which every block is protected.
PROTECT_TESTS := $(addprefix tests/e2e/,protect_test.py sweep_test.py failing_test.py harsh_test.py) tests/misuse tests/cwe tests/real/protect_test.py
export V

.PHONY: help setup build demo check check-quick format bench bench-peers soak soak-protect install
.NOTPARALLEL:

help:  ## show this list
	@echo 'make TARGET, where TARGET is one of:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## install what is missing: Debian packages, and a Python environment in .venv
	@scripts/setup

build: setup  ## build the library, its tests and tools
	@scripts/build release dev pages

demo: export STEPS := 3
demo: setup  ## see it at work on a server that leaks, in a minute; leaves pages in build/demo
	@STEP='step 3/3' scripts/build release dev pages
	@scripts/demo

check: export STEPS := 4
check: setup  ## all tests in their short form, 20 min
	@STEP='step 3/4' scripts/build $(CHECK_PRESET) pages
	@echo 'step 4/4: tests, about 14 min'
	@scripts/test $(PYTEST)

check-quick: export STEPS := 4
check-quick: setup  ## the tests that take less than a minute together
	@STEP='step 3/4' scripts/build $(CHECK_PRESET) pages
	@$(PYTEST) -m 'not slow' tests

format: setup  ## format the sources and write what is generated from the options' table
	@scripts/build dev pages
	@scripts/format

bench: build  ## what the library costs, in a table and as JSON
	@/usr/bin/python3 tests/bench/bench.py

bench-peers: build  ## the same under the other profilers on this machine
	@/usr/bin/python3 tests/bench/peers.py

soak: setup  ## all tests in their long form and under sanitizers, for hours
	@scripts/build $(SOAK_PRESETS) pages
	@POIREAU_SOAK=1 POIREAU_CHECK_PRESETS='$(filter-out release,$(SOAK_PRESETS))' $(PYTEST) tests

soak-protect: setup  ## those of them that are about protection of every block, 3 hours
	@scripts/build $(SOAK_PRESETS) pages
	@POIREAU_SOAK=1 POIREAU_CHECK_PRESETS='$(filter-out release,$(SOAK_PRESETS))' $(PYTEST) tests/gtest_test.py $(PROTECT_TESTS) \
	  -k 'not gtest_test or remap or records or homes or stop_test'
	@POIREAU_PRELOADED=release $(PYTEST) $(PROTECT_TESTS)

install: build  ## install to PREFIX (/usr/local)
	@cmake --install build/release --prefix '$(PREFIX)'
