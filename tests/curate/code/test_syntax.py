"""Python's parser, called from several threads."""

import ast
import gc
import threading
import time
from collections.abc import Iterator

import pytest

from curate.code.syntax import parse_python

SOURCE = "\n".join(f"x{i} = [{i}, (a.b + {i}) * f({i})]" for i in range(200))


@pytest.fixture
def collector_that_yields() -> Iterator[None]:
    """Let other threads run in the middle of the building of a tree, at each collection of garbage."""

    def pause(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            time.sleep(0.0002)

    before = gc.get_threshold()
    gc.callbacks.append(pause)
    gc.set_threshold(200)
    yield
    gc.callbacks.remove(pause)
    gc.set_threshold(*before)


def test_threads_at_different_depths_of_calls_each_get_their_whole_tree(collector_that_yields: None) -> None:
    trees: list[str] = []

    def parse_below(calls: int) -> None:
        if calls:
            parse_below(calls - 1)
            return
        for _ in range(20):
            trees.append(ast.dump(parse_python(SOURCE)))

    threads = [threading.Thread(target=parse_below, args=(calls,)) for calls in (0, 7, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trees) == 60
    assert len(set(trees)) == 1


def test_old_escapes_in_strings_are_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert isinstance(parse_python(r"x = '\d'"), ast.Module)
    assert not recwarn.list
