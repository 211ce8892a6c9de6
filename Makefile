# Everything a fresh machine needs: Python >= 3.11, a C compiler, make.

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build
BIN := $(VENV)/bin
SOURCES := $(shell find gpu_narration kernels -name '*.py' -o -name '*.pyi' -o -name '*.[ch]' -o -name '*.cu' -o -name '*.toml')

.DEFAULT_GOAL := help
.PHONY: help demo test test-cupy lint types native examples bench bench-calls bench-off bench-peers bench-check endurance check clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.for-demo ## run a tiny model and some kernels, traced, and show what happened
	@$(BIN)/gpu-narration demo

test: $(VENV)/.for-test ## run the whole test suite on the installed package
	$(BIN)/pytest $(TESTS)

test-cupy: ## the tests that need the real CuPy, in an environment of their own; no GPU needed
	$(MAKE) VENV=$(VENV)-cupy PYTHON=$(PYTHON) cupy-tests

.PHONY: cupy-tests
cupy-tests: $(VENV)/.for-cupy
	$(BIN)/pytest tests/integration/test_real_cupy.py

lint: $(VENV)/.for-dev ## ruff: rules and format; and the rules for our own narration
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/gpu-narration lint gpu_narration examples bench kernels

types: $(VENV)/.for-dev ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy kernels
	MYPYPATH=bench $(BIN)/mypy bench/*.py
	$(BIN)/mypy -p bench.gpu_check

native: ## the C core alone, under ASan+UBSan, under TSan, and with all warnings
	$(MAKE) -C tests/native/core BUILD=$(abspath $(BUILD))/native

examples: $(VENV)/.for-test ## run every example
	$(BIN)/python examples/run_all.py

bench: $(VENV)/.for-bench ## what the recorder costs here, in ratios, with the ceilings
	$(BIN)/python bench/ratios.py

bench-calls: $(VENV)/.for-bench ## pytest-benchmark: every call in four states
	$(BIN)/python bench/suites.py

bench-off: $(VENV)/.for-test ## what the levels of off cost: stripped, not started, filtered, thinned
	$(BIN)/python bench/off.py

bench-peers: $(VENV)/.for-bench ## one event here and in other libraries, side by side
	$(BIN)/python bench/peers.py

bench-check: $(VENV)/$(if $(filter instructions,$(ONLY)),.for-test,.for-bench) ## fail past a ceiling of bench/budgets.toml; ONLY=instructions for busy machines
	$(BIN)/python bench/check.py $(if $(ONLY),--only $(ONLY))

endurance: $(VENV)/.for-test ## the recorder at full length: minutes, and some GB of disk
	$(BIN)/python bench/endurance.py all

check: lint types native test examples ## lint, types, native, test and examples

clean: ## remove what was built
	rm -rf $(BUILD) $(VENV) *.egg-info

# The package is installed, not linked: what is tested is what users get.
define install
	@rm -rf build/lib* build/bdist* build/temp*
	@echo "Installing $(1) into $(VENV); the first time it downloads some $(or $(2),60) MB"
	@$(BIN)/pip install --quiet --disable-pip-version-check '$(1)'
	@touch $@
endef

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gpu_narration needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.for-demo: $(VENV)/.made pyproject.toml setup.py $(SOURCES)
	$(call install,.[demo])

$(VENV)/.for-test: export GPU_NARRATION_WERROR = 1
$(VENV)/.for-test: $(VENV)/.made pyproject.toml setup.py $(SOURCES)
	$(call install,.[test])

$(VENV)/.for-cupy: $(VENV)/.made pyproject.toml setup.py $(SOURCES)
	$(call install,.[test-cupy],160)

$(VENV)/.for-dev: $(VENV)/.for-test
	$(call install,.[dev])

$(VENV)/.for-bench: $(VENV)/.for-test
	$(call install,.[bench])
