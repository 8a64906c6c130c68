"""A real browser for the tests of pages. Outside CI they are skipped where it is absent; in CI that is a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.headless_browser import find_axe, find_browser, open_browser


def absent(what: str) -> None:
    """Fail in CI, skip elsewhere, and say what is absent."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} must be installed in CI")
    pytest.skip(f"PAGES WERE NOT TESTED: {what} is not installed")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium under Selenium's control."""
    if find_browser() is None:
        absent("chromium with chromedriver")
    with open_browser() as driver:
        yield driver


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The script of axe-core."""
    source = find_axe()
    if source is None:
        absent("axe-playwright-python")
    assert source is not None
    return source
