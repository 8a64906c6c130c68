"""The Python API: what the three packages export, and that nothing of theirs hides it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import curate
import evaluate_suite
import finetune

PACKAGES = (curate, finetune, evaluate_suite)
ONLY_ON_A_GPU = {
    "finetune.kernels.fused",
    "finetune.kernels.fused_rows",
    "evaluate_suite.generation.slot_kernels",
}  # they need Triton


def modules_of(package: ModuleType) -> Iterator[str]:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name not in ONLY_ON_A_GPU and ".cell." not in module.name and not module.name.endswith(".__main__"):
            yield module.name


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_exported_name_is_what_its_home_has_also_when_every_module_was_imported(package: ModuleType) -> None:
    for name in modules_of(package):
        importlib.import_module(name)
    for name in package.__all__:
        exported = getattr(package, name)
        assert not isinstance(exported, ModuleType), name
        assert exported.__name__ == name
        assert callable(exported)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_importing_a_package_loads_no_heavy_library(package: ModuleType) -> None:
    heavy = {"torch", "transformers", "numpy", "sklearn", "scipy", "pyarrow", "pandas", "peft", "trl", "altair"}
    program = f"import sys, {package.__name__}; print(sorted(set(sys.modules) & {heavy!r}))"
    root = Path(__file__).parents[1]
    shown = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'curate' has no attribute 'slect'"):
        curate.slect  # noqa: B018
