# `make run` starts all of Causeway, `make test` proves it. Both set .venv up by themselves.

PY := .venv/bin/python
LOCKS := requirements.txt tests/requirements.txt
# Lint needs settings and no server; what it writes stays out of a running installation's home.
LINT := CAUSEWAY_ENV=test DEMO=1 CAUSEWAY_HOME=.causeway/lint PYTHONWARNINGS=ignore
UV_COMPILE := $(PY) -m uv pip compile --quiet --universal --no-header --generate-hashes --python-version 3.11 $(UPGRADE)

.PHONY: help run test test-long benchmark lint reference lock .venv .venv-with-tests

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## /  make \1\t/p' Makefile

run: .venv ## start everything; Ctrl-C stops it
	@exec $(PY) manage.py up --follow-parent

test: .venv-with-tests ## run the tests; ARGS="..." goes to pytest, and leaves the coverage out
	@set -e; eval "$$(sh tests/browser.sh)"; exec $(PY) -m pytest -n 3 --dist worksteal -m "not long" --durations=10 \
		$(if $(ARGS),$(ARGS),--cov --cov-report=term)

test-long: .venv-with-tests ## run the long chaos and property tests
	@set -e; eval "$$(sh tests/browser.sh)"; exec $(PY) -m pytest -n 2 -m long -o faulthandler_timeout=3600 --durations=10 $(ARGS)

benchmark: .venv-with-tests ## measure NAME=plaid_sync (a file in benchmarks/); ARGS="..." goes to it
	@exec $(PY) -m benchmarks.$(NAME) $(ARGS)

lint: .venv-with-tests ## style, types, import direction, and generated files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(LINT) $(PY) manage.py makemigrations --check --dry-run
	@mkdir -p .causeway/lint
	$(LINT) $(PY) manage.py spectacular --validate --fail-on-warn --file .causeway/lint/openapi.yaml
	diff -u docs/reference/openapi.yaml .causeway/lint/openapi.yaml
	$(LINT) $(PY) manage.py role_matrix --check

reference: .venv ## write the generated pages of docs/reference anew
	$(LINT) $(PY) manage.py spectacular --validate --fail-on-warn --file docs/reference/openapi.yaml
	$(LINT) $(PY) manage.py role_matrix
	$(PY) -m tests.scenarios.page

lock: .venv-with-tests ## pin requirements.in; UPGRADE=--upgrade takes newer versions
	$(UV_COMPILE) requirements.in -o requirements.txt
	$(UV_COMPILE) tests/requirements.in -o tests/requirements.txt

.venv:
	@.ci/venv requirements.txt

.venv-with-tests:
	@.ci/venv $(LOCKS)
