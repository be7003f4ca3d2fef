# `make demo` and `make test` do all the set-up that they need.
PYTHON ?= python3
BIN := .venv/bin
DEMO := examples/cifar10
MODEL := $(DEMO)/models/large_0.50_32_int8.onnx
TEST_ARGS ?=
ROWS ?=
BENCH_ARGS ?=
CALIBRATE_ARGS ?=

.PHONY: help venv demo test test-all types bench calibrate operators times lint ruff pyright imports clean
help:
	@echo "make demo   generate, simulate and compare the bundled model"
	@echo "make test   run the tests that find mistakes often (TEST_ARGS='-m \"not rtl\"' for those without simulators)"
	@echo "make test-all  run these, then the slow ones"
	@echo "make bench  measure what benchmarks/README.md tells (ROWS='vww kws' for some of it, BENCH_ARGS=--build for clocks)"
	@echo "make calibrate  fit what engines take in LUTs to netlists, anew (CALIBRATE_ARGS='--board icebreaker' for one family)"
	@echo "make operators  write docs/OPERATORS.md: which test shows which operator"
	@echo "make times  write what the last make test and make test-all took into CONTRIBUTING.md"
	@echo "make lint   ruff, pyright and import-linter (make ruff, make pyright, make imports for one of them)"
	@echo "make venv   only make .venv, with tepal in .venv/bin"

# $(call need,command,Debian package)
need = command -v $(1) >/dev/null || { echo "$(1) is needed and was not found: apt-get install $(2)" >&2; exit 2; }

venv: .venv/ready types
.venv/ready: requirements.lock pyproject.toml
	@# Neither venv nor setuptools nor the first line of a script takes these in a path; spaces are fine.
	@case "$$PWD" in *[\$$\:\{\}\%\"\\\`]*) \
		printf "%s\n" "$$PWD has one of the characters \$$ : { } % \" \\ \` in it, which Python's packages can't be installed under: move this folder" \
			>&2; exit 2;; esac
	@$(call need,$(PYTHON),python3)
	@$(call need,g++,g++)
	@$(call need,perl,perl)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; choose it with make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python's venv module is needed: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@# As pip does with all that is not editable: or each command would compile them where Python may not keep what it compiles.
	@$(BIN)/python -m compileall -q hdl quant sim boards host cli tepal
	@touch $@

# The folders under their import names, for pyright and import-linter.  Links that are there already stay untouched, for
# whoever reads them just now; those to what is gone go too.
types:
	@mkdir -p build/types/tepal
	@for name in hdl quant sim boards host cli tepal/*.py; do \
		link=build/types/tepal/$${name#tepal/}; [ "$$link" -ef "$$name" ] || ln -sfn "../../../$$name" "$$link"; done
	@find build/types -xtype l -delete

demo: venv
	$(BIN)/tepal generate $(MODEL) --board ulx3s-85f -o build/demo
	$(BIN)/tepal simulate $(MODEL) --board ulx3s-85f --input $(DEMO)/pictures.npz --classes $(DEMO)/classes.txt

PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope

test: venv
	$(PYTEST) --slow=no --junitxml=build/test.xml $(TEST_ARGS)

# No test is run by both.
test-all: test
	$(PYTEST) --slow=only --junitxml=build/test-all.xml $(TEST_ARGS)

bench: venv
	$(BIN)/python benchmarks/bench.py $(ROWS) $(BENCH_ARGS)

calibrate: venv
	$(BIN)/python benchmarks/calibrate.py $(CALIBRATE_ARGS)

operators: venv
	@rm -rf build/operators
	$(PYTEST) --slow=no --operators=build/operators tests/quant tests/sim/test_golden.py
	$(BIN)/python tests/operators.py

times: venv
	$(BIN)/python benchmarks/suite.py

lint: ruff pyright imports

ruff: venv
	$(BIN)/ruff check .

pyright: venv
	$(BIN)/pyright

# It looks for packages from where it is started.
imports: venv
	cd build/types && ../../.venv/bin/lint-imports ../../pyproject.toml --no-cache --no-logo

clean:
	rm -rf build .venv
