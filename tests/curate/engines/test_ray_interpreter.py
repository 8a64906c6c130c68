"""A Python installed below a folder with a blank."""

import pytest

from curate.engines.ray_interpreter import interpreter_for_ray


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/opt/py/bin/python", {}), ("/home/a b/bin/python", {"py_executable": "'/home/a b/bin/python'"})],
)
def test_ray_is_told_an_interpreter_whose_path_a_shell_would_cut(
    path: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", path)
    assert interpreter_for_ray() == expected
