# Everything sets itself up in .venv: `make run` and `make test` need Python 3.11+, a C++ compiler and make.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := CMakeLists.txt $(wildcard elkyn/native/*.cpp elkyn/native/*.hpp)
CPP    := $(wildcard elkyn/native/*.?pp elkyn/native/tests/*.?pp leakcheck/adapters/*.h)
UV     := $(shell command -v uv 2>/dev/null)
# Where lmdb has no wheel for a Python yet, its source is changed by `patch` before it is compiled, unless told not to.
export LMDB_PURE := $(if $(shell command -v patch),,1)

.PHONY: help
help:  ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: pyproject.toml $(NATIVE)
ifneq ($(UV),)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --editable . --group test --group lint
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group test --group lint
endif
	@# pytest finds the loader of an editable install imported before it, and would warn: an error in suites that want it so.
	@$(BIN)/python -c "import pathlib, _editable_skbc_elkyn_leakcheck as loader; file = pathlib.Path(loader.__file__); \
	text = file.read_text(); 'PYTEST_DONT_REWRITE' in text or file.write_text('\"\"\"PYTEST_DONT_REWRITE\"\"\"\n' + text)"
	@touch $@

.PHONY: setup
setup: $(VENV)/.ready  ## Build the native part and install all of it into .venv

.PHONY: run
run: setup  ## Run Elkyn's scenario suite: a verdict for each scenario, and reports/latest/index.html
	$(BIN)/elkyn-leakcheck run scenarios/

.PHONY: test
test: setup  ## Run the quick tests
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

.PHONY: test-slow
test-slow: setup  ## Run the tests that take their time (kill -9 loops, soaks, long property tests)
	$(BIN)/python -m pytest -m slow

PYTHONS ?= 3.11 3.12 3.13 3.14 3.15 3.14t
.PHONY: pythons
pythons: setup  ## The tests in each Python (PYTHONS=...), and each measured from this one; see docs/pythons.md
	ci/run-pythons $(PYTHONS)

.PHONY: native-test
native-test:  ## C++ tests of the ring under ASan+UBSan, TSan and valgrind
	elkyn/native/tests/run.sh

.PHONY: lint
lint: setup  ## Format, lint, types, import contract, C++ format
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror $(CPP)

.PHONY: format
format: setup  ## Format Python and C++
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP)

.PHONY: detection
detection: setup  ## The benchmark of detection: every case, our tool and its peers, one table (see benchmarks/detection)
	$(BIN)/python -m benchmarks.detection $(if $(ARGS),$(ARGS),--places)

.PHONY: sweep
sweep: setup  ## Sweep Elkyn's native core for leaks that no scenario has
	$(BIN)/elkyn-leakcheck sweep elkyn._native elkyn.values --seeds tests/elkyn/sweep_seeds.py --time-per-target 1 --report reports/sweep

.PHONY: peers-own
peers-own: setup  ## The leaks and innocents that peers plant to test themselves, judged by our tool
	$(BIN)/python -m benchmarks.peers_own

.PHONY: screenshots
screenshots: setup  ## The pictures of the documentation, from its own examples (needs Chromium, npx)
	$(BIN)/python docs/make_screenshots.py
	$(BIN)/python docs/make_curves.py
	$(BIN)/python docs/make_recording.py

.PHONY: bench
bench: setup  ## Elkyn's speed as ratios against named peers in the same run
	$(BIN)/python -m benchmarks.elkyn

.PHONY: soak
soak: setup  ## Six minutes of a service whose leak starts half-way, watched from inside and outside
	$(BIN)/python benchmarks/soak.py

.PHONY: clean
clean:  ## Remove builds, caches and the virtual environment
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
