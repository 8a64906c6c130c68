"""Every command's help ends with two examples, and each is a command line that the program understands."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main

MODULES = {"curate": "curate.cli", "finetune": "finetune.cli", "evalsuite": "evaluate_suite.cli"}


def commands_of(program: str) -> dict[str, Any]:
    group: Any = typer.main.get_command(importlib.import_module(MODULES[program]).app)
    return dict(group.commands)


@pytest.mark.parametrize(("program", "name"), [(program, name) for program in MODULES for name in commands_of(program)])
def test_help_ends_with_two_examples_that_parse(program: str, name: str) -> None:
    commands = commands_of(program)
    examples = re.findall(rf"^ *(?:Examples: +)?({program} .+?) *$", commands[name].epilog or "", re.MULTILINE)
    assert len(examples) == 2
    typed = [shlex.split(example)[1:] for example in examples]
    assert name in [words[0] for words in typed]
    for words in typed:
        commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("module", MODULES.values())
def test_help_loads_no_heavy_library(module: str) -> None:
    heavy = {
        "torch", "transformers", "numpy", "sklearn", "scipy", "pyarrow", "pandas", "peft", "trl", "altair", "jinja2",
        "pydantic", "yaml", "filelock", "importlib.metadata", "curate.artifact",
    }  # fmt: skip
    program = (
        f"import sys, contextlib, io\nfrom {module} import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    code = main(['--help'])\n"
        f"print(code, sorted(set(sys.modules) & {heavy!r}))"
    )
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout == "0 []\n"


@pytest.mark.parametrize("module", ["curate.config", "evaluate_suite.config", "finetune.config"])
def test_settings_load_no_library_of_data(module: str) -> None:
    heavy = {"torch", "transformers", "numpy", "pyarrow", "pandas", "datasets", "fsspec"}
    program = f"import sys, {module}; print(sorted(set(sys.modules) & {heavy!r}))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("module", MODULES.values())
def test_every_command_shows_its_version(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module(module).main(["--version"]) == 0
    assert capsys.readouterr().out == f"rowpick {version('rowpick')}\n"
