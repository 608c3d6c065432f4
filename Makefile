# The front door. V=1 shows what passes as well as what fails.
PREFIX ?= /usr/local
V ?= 0
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest $(if $(filter 1,$(V)),-v,-q)
# The builds whose unit tests `make check` runs; the first one serves all other tests.
CHECK_PRESETS := dev release asan ubsan tsan
UNIT_TEST_PRESETS := $(filter-out release,$(CHECK_PRESETS))
export V

.PHONY: help setup build demo check check-quick format bench bench-peers soak install
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
check: setup  ## all tests, half an hour
	@STEP='step 3/4' scripts/build $(CHECK_PRESETS) pages
	@echo 'step 4/4: tests, about 25 min'
	@POIREAU_CHECK_PRESETS='$(UNIT_TEST_PRESETS)' $(PYTEST) tests

check-quick: export STEPS := 4
check-quick: setup  ## the tests that take less than a minute together
	@STEP='step 3/4' scripts/build dev pages
	@$(PYTEST) -m 'not slow' tests

format: setup  ## format the sources and write what is generated from the options' table
	@scripts/build dev pages
	@scripts/format

bench: build  ## what the library costs, in a table and as JSON
	@/usr/bin/python3 tests/bench/bench.py

bench-peers: build  ## the same under the other profilers on this machine
	@/usr/bin/python3 tests/bench/peers.py

soak: setup  ## the long forms of stress, fuzz and statistics tests, for hours
	@scripts/build $(CHECK_PRESETS) pages
	@POIREAU_SOAK=1 POIREAU_CHECK_PRESETS='$(UNIT_TEST_PRESETS)' $(PYTEST) tests

install: build  ## install to PREFIX (/usr/local)
	@cmake --install build/release --prefix '$(PREFIX)'
