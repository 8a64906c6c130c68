"""The rooms: who may import whom, which names are not allowed, and that importing a module does nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("curate", "finetune", "evaluate_suite")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
UPSTREAM = {"curate": (), "finetune": ("curate",), "evaluate_suite": ("curate", "finetune")}
DOORS = (
    "curate.artifact",
    "curate.errors",
    "curate.console",
    "curate.page",
    "curate.rows",
    "curate.code",
    "curate.prompt",
    "curate.tokens",
    "curate.embedded_model",
    "curate.selection",
    "curate.hub",
    "finetune.config",
    "finetune.model",
    "finetune.run_record",
    "finetune.token_loss",
)
STUDY_DOORS = ("curate.config", "curate.pipeline", "finetune.train")
HEAVY = {
    "numpy", "pydantic", "pyarrow", "sklearn", "scipy", "statsmodels", "jinja2", "rich", "torch", "transformers", "trl",
    "peft", "sentence_transformers", "datasets", "wandb", "altair", "bitsandbytes", "pandas", "model2vec", "datasketch",
}  # fmt: skip
ONLY_IN = {
    "trl": {"finetune/trainer.py"},
    "peft": {"finetune/model.py"},
    "bitsandbytes": {"finetune/model.py"},
    "wandb": {"finetune/tracking/wandb_tracker.py"},
}
# Loaded by the function that needs them, never by --help: modules whose whole content is one heavy library's classes.
HEAVY_BY_NATURE = {"curate/artifact/manifest_schema.py", "finetune/config.py"}


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def top_level_imports(tree: ast.Module) -> set[str]:
    bodies = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {name.split(".")[0] for node in bodies for name, _ in imports(ast.Module([node], []))}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_upstream_only_and_only_through_doors(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    doors = DOORS + (STUDY_DOORS if path.relative_to(ROOT).as_posix() == "evaluate_suite/study/recipe.py" else ())
    wrong = []
    for name, line in imports(ast.parse(path.read_text(encoding="utf-8"))):
        other = name.split(".")[0]
        if other not in PACKAGES or other == package or name == other:
            continue
        through_door = any(name == door or name.startswith(door + ".") for door in doors)
        if other not in UPSTREAM[package] or not through_door:
            wrong.append(f"line {line}: {name}")
    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_a_telling_name_and_imports_nothing_heavy_at_the_top(path: Path) -> None:
    assert path.stem not in {"utils", "common", "helpers", "misc", "core"}
    place = path.relative_to(ROOT).as_posix()
    if place in HEAVY_BY_NATURE or place.startswith("finetune/kernels/"):
        return
    assert top_level_imports(ast.parse(path.read_text(encoding="utf-8"))) & HEAVY == set()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_with_one_home_is_imported_there_only(library: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if any(name.split(".")[0] == library for name, _ in imports(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert users == ONLY_IN[library]


@pytest.mark.parametrize("package", PACKAGES)
def test_help_loads_no_heavy_library(package: str) -> None:
    program = (
        f"import sys, contextlib, io\nfrom {package}.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    code = main(['--help'])\n"
        "print(code, sorted(set(sys.modules) & " + repr(HEAVY - {"rich"}) + "))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "0 []\n"
