"""The interpreter that Ray starts its workers with."""

from __future__ import annotations

import shlex
import sys


def interpreter_for_ray() -> dict[str, str]:
    """Return what a Ray job's runtime environment must say where this interpreter's path has a blank.

    Ray hands the path to a shell as it is, which cuts it at the blank: workers never start, and nothing says why.
    """
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}
