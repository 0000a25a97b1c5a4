# `make demo` and `make test` set up .venv by themselves; they need Python 3.11 or newer, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
QUIETLY := -qq --disable-pip-version-check

.PHONY: install demo test conformance lint format lock clean

install: $(READY)

# The pip that comes with Python 3.11 takes twice as long, and every pip compiles on one core.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(QUIETLY) --upgrade --constraint requirements.lock pip
	$(BIN)/python -m pip install $(QUIETLY) --no-compile -r requirements.lock
	@# Some packages carry files that are templates, or of another Python, which do not compile.
	@$(BIN)/python -m compileall -qq --workers 0 $(VENV) >$(VENV)/compiled.log 2>&1 || true
	$(BIN)/python -m pip install $(QUIETLY) --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: install
	@$(BIN)/python -m kb.demo

# Two at once, for most tests wait for processes of their own; those of a file share servers. The quick ones come last.
test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Against real vLLM and infinity, which the scripts in $$PDFKB_PEERS (default: ../shared/peers) install and start.
conformance: install
	$(BIN)/python -m pytest tests/conformance -m "peers or not peers"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pins everything anew from pyproject.toml. A local build tag (+cpu) would tie the pins to one machine.
lock: install
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--extra server --extra notebooks --extra dev --allow-unsafe --output-file requirements.lock pyproject.toml
	sed -i.bak -E 's/^([a-z0-9-]+==[^+ ]+)\+[a-z0-9.]+/\1/' requirements.lock && rm requirements.lock.bak

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
