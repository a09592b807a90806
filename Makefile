# Everything is set up by the targets themselves: `make demo` and `make test` need only a Python ≥ 3.11.
PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= dev
STAMP  := $(VENV)/.installed
RUN    := $(VENV)/bin
PGVENV ?= .venv-pgstac
POSTGIS := $(wildcard /usr/share/postgresql/*/extension/postgis.control)
APT    := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20

.PHONY: demo test test-all lint typecheck bench lock pgstac postgis clean

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

# In an environment of its own: the API wants a newer FastAPI than Prefect can live with.
pgstac: $(PGVENV)/.installed $(if $(POSTGIS),,postgis)   ## the STAC API on PostgreSQL of tests/integration/test_pgstac.py

postgis:                  ## a PostgreSQL server from Debian or Ubuntu; needs root
	$(APT) update
	$(APT) install -y --no-install-recommends postgresql-15 postgresql-15-postgis-3 >/dev/null

$(PGVENV)/.installed: deploy/pgstac-requirements.txt
	$(PYTHON) -m venv $(PGVENV)
	$(PGVENV)/bin/pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 -r $<
	touch $@

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) $(PGVENV) demo build dist *.egg-info
