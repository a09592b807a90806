# Everything is set up by the targets themselves: `make demo` and `make test` need only a Python ≥ 3.11.
PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= dev
STAMP  := $(VENV)/.installed
RUN    := $(VENV)/bin

.PHONY: demo test test-all lint typecheck bench lock clean

demo: $(STAMP)            ## the main job on the embedded default: a simulated region → a published month
	$(RUN)/landfuse demo demo

test: $(STAMP) lint       ## the quick suite
	$(RUN)/pytest

test-all: $(STAMP) lint   ## the quick suite and everything marked slow
	$(RUN)/pytest -m ''

lint: $(STAMP)
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-cache

bench: $(STAMP)           ## where the time of the whole way goes
	$(RUN)/python benchmarks/end_to_end.py

lock: $(STAMP)            ## write constraints.txt from what is installed, without local versions
	$(RUN)/pip freeze --exclude-editable | sed -E 's/\+[a-z0-9.]+$$//' > constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
