PYTHON ?= python3
BIN := .venv/bin
# Half of the time of an installation is the compilation of modules that nobody imports; the others are at first import.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

# Hundreds of processes are started here, by the steps of a run and by the tests: each would compile our modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install dev docs retrain serve deploy test pytest lint style types bench clean

install: .venv/installed
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11 " + "install")'
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.lock
	$(PIP) --no-deps -e .
	@touch $@

dev: .venv/installed-dev
.venv/installed-dev: .venv/installed-docs requirements-dev.lock
	$(PIP) -r requirements-dev.lock
	@touch $@

docs: .venv/installed-docs  ## the site in site/; for its search: python -m http.server -b 127.0.0.1 -d site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # not --quiet: warnings that are not shown are not counted
	@echo site/index.html

.venv/installed-docs: .venv/installed requirements-docs.lock
	$(PIP) -r requirements-docs.lock
	@touch $@

retrain: install  ## the main job on the embedded alloys
	$(BIN)/cgcnn retrain

serve: install  ## a server with UI, deployments, a worker and the reports; Ctrl-C stops it all
	$(BIN)/python deployments/serve.py

deploy: install  ## pools and deployments on the server of PREFECT_API_URL; STORE=, TYPE=, GPUS=, NOTIFY=
	$(BIN)/python deployments/apply.py $(if $(STORE),--store $(STORE)) $(if $(TYPE),--type $(TYPE)) $(if $(GPUS),--gpus $(GPUS)) $(if $(NOTIFY),--notify $(NOTIFY))

test: install
	$(BIN)/cgcnn --help > /dev/null  # before any development dependency is there
	$(MAKE) style
	$(MAKE) --jobs 2 types pytest  # side by side: there are moments in which the tests wait for something

pytest: dev
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: style types

style: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: dev
	$(BIN)/mypy
	$(BIN)/mypy deployments/*.py
	$(BIN)/mypy docs/hooks.py

bench: dev  ## those that need no data; the others say in their first lines what they take
	for script in neighbors epoch ranks materials_project; do $(BIN)/python benchmarks/$$script.py || exit 1; done

clean:
	rm -rf .venv store site
