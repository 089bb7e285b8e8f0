# Everything a person types. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help setup build all demo test asan asan-readers fuzz test-all check-debugger bench format check-format check

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: ## install what packages.txt lists and the machine lacks
	@scripts/setup.sh

build: setup ## build/release/bin/lockstep
	@cmake --preset release
	@cmake --build --preset release --target lockstep

all: setup ## the program, its tests and benchmarks
	@cmake --preset release
	@cmake --build --preset release

demo: build ## the example model against its reference, then a conversation with it
	@scripts/demo.sh

test: all ## the tests of the release build
	@scripts/run_tests.py build/release

asan: setup ## the tests under the address and undefined-behaviour sanitizers
	@cmake --preset asan
	@cmake --build --preset asan
	@scripts/run_tests.py build/asan

asan-readers: setup ## the same for what reads files from outside, and its fuzz targets
	@cmake --preset asan
	@cmake --build --preset asan --target readers
	@scripts/run_tests.py build/asan -R '^(tensor|hub|text)_test$$'

fuzz: setup ## every fuzz target, the server's too, FUZZ_SECONDS each (60)
	@cmake --preset asan
	@cmake --build --preset asan --target fuzzers
	@scripts/fuzz.sh $(FUZZ_SECONDS)

test-all: test asan fuzz check-debugger ## all of the above

check-debugger: all ## every planted fault, judged blindly: docs/debugger-checks.md
	@build/release/bin/lockstep_mutants --triples 100 --table docs/debugger-checks.md \
	  --commit $$(git rev-parse --short HEAD)

bench: all ## every benchmark; results in build/bench
	@scripts/bench.sh

format: ## clang-format the tracked sources
	@scripts/format.sh

check-format: ## say what `make format` would change
	@scripts/format.sh --check

check: all check-format ## include layers, self-contained headers, formatting, clang-tidy on what changed
	@scripts/check_layers.py
	@cmake --build --preset release --target check_headers
	@scripts/tidy.sh
