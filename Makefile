PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

# Most tests wait for workers, leases and locks, so there are more processes than processors. A file
# is run by one of them, because what it starts is shared within the file.
PROCESSES ?= 4
PARALLEL = --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

MEASURED := --results benchmarks/results/latest.json --report docs/performance.md

RACES = $(shell grep -lwE "TIMES|Moment" tests/integration/*.py)

.DEFAULT_GOAL := help
.PHONY: help install demo serve check test cover faults soak faults-compare bench bench-io bench-quick matrix lint format reference release lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything that is locked

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## Watch sagas succeed, roll back and survive a killed worker
	$(BIN)/python -m examples.shop.demo

serve: install ## The shop and the admin in a browser, with a worker
	$(BIN)/python -m examples.shop.serve

check: install ## Format, rules, types, layers and the unit tests: what to run before each commit
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	SAGAS_TEST_DATABASE=sqlite $(BIN)/pytest tests/unit --quiet

# The unit tests open no database, so the first run is enough for them.
test: install ## Run every test, on SQLite and on PostgreSQL with Redis and RabbitMQ
	SAGAS_TEST_DATABASE=sqlite $(BIN)/pytest tests/unit tests/integration $(PARALLEL) \
		-m "not acceptance and not redis and not rabbitmq and not slow" $(MORE)
	SAGAS_TEST_DATABASE= $(BIN)/pytest $(PARALLEL) --ignore=tests/unit -m "not slow" $(MORE)
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/lint-imports --no-cache

cover: install ## Run every test and say which lines none of them ran
	rm -f .coverage
	$(MAKE) test MORE="--cov --cov-append --cov-report="
	$(BIN)/coverage report

faults: install ## Kill, cut and raise at every boundary of the engine, and print the table
	SAGAS_TEST_DATABASE=postgresql SAGAS_RACES=200 $(BIN)/pytest $(RACES)
	SAGAS_TEST_DATABASE=sqlite SAGAS_STORIES=600 $(BIN)/pytest tests/integration/test_history.py
	SAGAS_TEST_DATABASE=postgresql $(BIN)/pytest -m "faults or slow"

soak: install ## N=10000 sagas while everything is killed, stopped, flushed and cut
	$(BIN)/python -m benchmarks.faults.soak --sagas $(N) --report docs/faults.md

faults-compare: install ## The same faults on plain Celery and on the celery-saga package
	$(BIN)/python -m benchmarks.faults.compare --report docs/faults.md

bench: install ## Measure speed beside what people use instead, and how it grows: 18 minutes
	$(BIN)/python -m benchmarks.speed.compare $(MEASURED) --scaling docs/scaling.md
	$(BIN)/python -m benchmarks.speed.starting $(MEASURED)
	$(BIN)/python -m benchmarks.speed.growth.measure $(MEASURED)
	$(BIN)/python -m benchmarks.speed.waiting $(MEASURED)

bench-io: install ## Steps that wait, on threads, greenlets and processes: 3 minutes
	$(BIN)/python -m benchmarks.speed.waiting $(MEASURED)

bench-quick: install ## The same in 3 minutes, with fewer contenders, for a look
	$(BIN)/python -m benchmarks.speed.compare --rounds 2 --seconds 1 --latencies 10 \
		--only in-place --only per-step --only django-db --only dbos
	$(BIN)/python -m benchmarks.speed.starting --rounds 2 --number 200
	$(BIN)/python -m benchmarks.speed.growth.measure --rounds 1 --seconds 1 \
		--finished 0 10000 --processes 1 2 --waiting 5000

matrix: install ## The tests with every Python that is there, every Django, the oldest and the newest (WHOLE=1: all)
	$(BIN)/python -m benchmarks.compatibility.matrix --processes $(PROCESSES) \
		$(if $(WHOLE),--whole) --report docs/compatibility.md

lint: install ## Check formatting, rules, types and layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install ## Put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

reference: install ## Write docs/reference from the code
	$(BIN)/python -m tools.reference

release: install ## Check that VERSION=x.y.z is whole, build it into dist/; nothing is published
	$(BIN)/python -m tools.release $(VERSION)

lock: ## Take the newest versions into requirements.lock (needs uv)
	uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" \
		--extra binary --group build --group test --group lint \
		--output-file requirements.lock

clean: ## Remove the environment, the embedded data and every trace of a run
	rm -rf .venv .venv-matrix var build dist htmlcov reports .coverage .coverage.* .hypothesis \
		.mypy_cache .ruff_cache .pytest_cache .import_linter_cache .grimp_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
