"""What every test gets: a home of its own, no network, no prompts; and the shared data where it is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Pools for each strategy and property: `make test` tries a few, `make test-long` many.
settings.register_profile("few", max_examples=15)
settings.register_profile("many", max_examples=30)
settings.load_profile("few")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever token this machine has; Ray reads it once in a process


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for what lives longer than a test, so that it leaves nothing in the checkout."""
    home = tmp_path_factory.mktemp("session-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWPICK_HOME", str(home))
        yield home


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh `$ROWPICK_HOME` for every test."""
    home = tmp_path / "home"
    monkeypatch.setenv("ROWPICK_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small cases with their right values beside the checkout; absent, a test is skipped and says so."""
    folder = Path(os.environ.get("ROWPICK_SHARED", Path(__file__).parents[2] / "shared")) / "cases"
    if not folder.is_dir():
        pytest.skip(f"CASES ARE ABSENT: {folder} is not there; set ROWPICK_SHARED to run this test")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real rows and benchmark files beside the checkout; absent, the test is skipped and says so."""
    folder = Path(os.environ.get("ROWPICK_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"REAL DATA ABSENT: {folder} is not there; set ROWPICK_SHARED_DATA to run this test")
    return folder
