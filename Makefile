.PHONY: demo test test-unit test-slow bench lint lock clean
.DEFAULT_GOAL := help

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export DO_NOT_TRACK := 1
export UV_PYTHON_DOWNLOADS := never

# If it is set, each process compiles torch, scikit-learn and Prefect again.
unexport PYTHONDONTWRITEBYTECODE

# One process more than cores, because some tests wait for servers, and one more for the slow tests, which mostly wait.
# tests/conftest.py sets the order.
SIDE_BY_SIDE := -n $(shell expr $$(nproc) + 1) --no-loadscope-reorder

# Only the files with such tests, because importing the other 500 would take each process 7 seconds.
SLOW_FILES = $(shell grep -lrE 'mark\.(slow|browser)\b' tests --include='test_*.py' | sort)

help:
	@echo "make demo       audit a built-in dataset with planted label errors and write the report"
	@echo "make test       run the tests (4 to 5 minutes on 2 cores)"
	@echo "make test-unit  run only the tests that start no process (about a minute)"
	@echo "make test-slow  run the slow tests and the browser tests (most of CI's 20 minutes)"
	@echo "make bench      compare the classifier's speed with a bare loop and skorch (about 10 minutes)"
	@echo "make lint       run ruff and mypy"
	@echo "make lock       resolve requirements.lock and the image's locks again"

# The stamp is newer than its inputs once the environment matches the lock.
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(VENV)/installed
	$(BIN)/labelaudit demo

test: $(VENV)/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-unit: $(VENV)/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/unit

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "slow or browser" $(SLOW_FILES)

bench: $(VENV)/installed
	$(BIN)/python benchmarks/estimator.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header

# The first lock constrains the image's locks, so that the image contains the tested versions.
lock:
	$(COMPILE) --group dev --extra ray --extra kubernetes --extra dashboard --extra encoders pyproject.toml -o requirements.lock
	$(COMPILE) --extra ray --extra kubernetes --extra dashboard --extra encoders -c requirements.lock pyproject.toml -o docker/requirements.lock
	$(COMPILE) --group image -o docker/build.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
