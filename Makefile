# Two commands do everything on a fresh machine: `make demo` trains, `make test` proves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
DEMO_MINUTES ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint types sanitize acceptance bench pages notebooks clean

demo: $(STAMP)  ## train on the embedded text for a minute; ends with the table and a continuation
	$(BIN)/elman train python-docs --minutes $(DEMO_MINUTES) $(if $(DEMO_RUN),--run $(DEMO_RUN))

test: $(STAMP)  ## the test suite, on two processes
	$(PYTEST) -n 2 --dist loadfile --max-worker-restart 2 -m "not acceptance"

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

sanitize: $(STAMP)  ## the native engine under the address and undefined-behaviour sanitizers, and for other processors
	native/sanitized $(BIN)/python
	native/portable

acceptance: $(STAMP)  ## published results, minutes each; needs The Time Machine (ELMAN_DATA_HOME or a download)
	$(PYTEST) -m acceptance -s

bench: $(STAMP)  ## speed against plain PyTorch, interleaved; writes benchmarks/results/
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/hybrid.py
	$(BIN)/python benchmarks/generating.py
	$(BIN)/python benchmarks/counting.py
	$(BIN)/python benchmarks/reading.py > benchmarks/results/reading.json
	$(BIN)/python benchmarks/tables.py

pages: $(STAMP)  ## what scripts write into the documents: the map, the table of settings, the tables of results
	$(BIN)/python tools/house.py --write
	$(BIN)/python tools/settings.py
	$(BIN)/python benchmarks/tables.py

notebooks: $(STAMP)  ## examples/notebooks/*.py as files that Jupyter opens
	$(BIN)/jupytext --to ipynb examples/notebooks/*.py

$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group all --editable ".[all]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
