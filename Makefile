# The short commands of the project; `make help` lists them. CMake does the work (CMakePresets.json).
.DEFAULT_GOAL := help
.PHONY: help setup build run test lint format bench docs asan tsan fuzz neon conformance install clean
MAKEFLAGS += --no-print-directory

PROMPT ?= What is the capital of France?
PREFIX ?= $(HOME)/.local
FUZZ_SECONDS ?= 60
export PROMPT

# Configures a preset once; afterwards Ninja does it when a CMake file has changed.
build/%/build.ninja:
	@cmake --preset $*

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup:  ## install what is missing (as root or with sudo), fetch the default model
	@tools/bootstrap run
	@tools/fetch-model >/dev/null

build: setup  ## build the command: build/release/bin/mlxcpp
	@$(MAKE) build/release/build.ninja
	@cmake --build --preset release

run: build  ## answer PROMPT="..." with the default model
	@build/release/bin/mlxcpp generate --prompt "$$PROMPT"

test:  ## build with warnings as errors and run every test and check
	@.ci/run

lint:  ## formatting, arrows, ceilings, documents, clang-tidy
	@tools/bootstrap dev
	@$(MAKE) build/dev/build.ninja
	@tools/lint build/dev

format:  ## format the C++ code in place
	@tools/check-format --fix

bench: build  ## measure load, prompts, decoding and memory with the default model
	@build/release/bin/mlxcpp bench --prompt 32,512 --depth 0,512 --batch 1,4

docs:  ## check that the code in documents stands in compiled files
	@tools/check-docs

asan: setup  ## run the fast tests under the address and undefined behaviour sanitizers
	@tools/bootstrap test
	@$(MAKE) build/asan/build.ninja
	@cmake --build --preset asan
	@ctest --preset asan

tsan: setup  ## run the fast tests under the thread sanitizer
	@tools/bootstrap test
	@$(MAKE) build/tsan/build.ninja
	@cmake --build --preset tsan
	@ctest --preset tsan

fuzz:  ## run each fuzzer for FUZZ_SECONDS
	@tools/bootstrap dev
	@$(MAKE) build/fuzz/build.ninja
	@cmake --build --preset fuzz
	@tools/fuzz build/fuzz $(FUZZ_SECONDS)

neon:  ## build the AArch64 tiers with a cross compiler, and question them under an emulator
	@tools/bootstrap dev
	@tools/check-neon

conformance: setup  ## compare tokenizers and chat templates with Python's (downloads what it compares with)
	@tools/bootstrap conformance
	@$(MAKE) build/ci/build.ninja
	@cmake --build --preset ci --target conformance
	@tools/conformance/run build/ci/bin/conformance

install: build  ## install into PREFIX (default ~/.local)
	@cmake --install build/release --prefix "$(PREFIX)"

clean:  ## remove build/, downloads included
	rm -rf build
