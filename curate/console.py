"""What people see (stderr, rich) and what programs read (stdout); and how an error becomes an exit code."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
import typer.main
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from curate.errors import UserError

EXIT_INTERRUPTED = 130
SECONDS_BETWEEN_LINES = 10  # of progress, where stderr is no terminal


def console() -> Console:
    """A rich console on stderr. Made anew each time, because tests swap `sys.stderr`."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def say(message: str) -> None:
    """One line for people. Markup is off: paths and rows contain brackets."""
    console().print(message, markup=False)


def print_result(result: str | Path | Mapping[str, Any]) -> None:
    """The command's result on stdout: a path as it is, a mapping as JSON; what stdout cannot encode is escaped."""
    if isinstance(result, Mapping):
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(result, indent=2, allow_nan=False)
        print(text)
    else:
        print(result)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far a piece of work is: a bar, or, where stderr is no terminal, a line now and then.

    Yield the function that is told how many more items are done.
    """
    out = console()
    if not out.is_terminal:
        yield _line_by_line(description, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda n: bar.update(task, advance=n)


def _line_by_line(description: str, total: int | None) -> Callable[[int], None]:
    started = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal last, done
        done += n
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            say(f"{description}: {done:,}{f' of {total:,}' if total else ''} after {now - started:.0f} s")

    return advance


def summary_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """The one table at the end of a command: name and value, on stderr."""
    table = Table(title=title, show_header=False, title_justify="left", box=None, padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    console().print(table)


def columns_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a head, on stderr: the first column is the name of each row, the others stand right."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True, vertical="bottom")
    for row in rows:
        table.add_row(Text(row[0], style="bold"), *map(Text, row[1:]))
    out = console()
    whole = Measurement.get(out, out.options.update(max_width=1000), table).maximum
    out.width = max(out.width, whole)  # a narrow terminal wraps the lines; figures are never cut
    out.print(table)


def typed_command(program: str) -> list[str]:
    """The command line as people type it, for manifests: the program by its name, wherever it is installed."""
    return [program, *sys.argv[1:]]


def add_version(app: typer.Typer) -> None:
    """Give a command the option `--version`."""

    @app.callback()
    def options(version: bool = VERSION_OPTION) -> None: ...


def _show_version(asked: bool) -> None:
    if asked:
        print(f"rowpick {importlib.import_module('importlib.metadata').version('rowpick')}")
        raise typer.Exit


VERSION_OPTION = typer.Option(
    False, "--version", callback=_show_version, is_eager=True, help="Show the version, and exit."
)


def run_command(app: typer.Typer, argv: Sequence[str] | None) -> int:
    """Run a typer app and return its exit code.

    0 done, 1 expected failure, 2 usage, 3 a gate failed, 130 interrupted. Bugs show their traceback.
    """
    if not sys.warnoptions:  # notices to developers of other libraries are no use to the people who run this
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
    # On import it recommends a package that would fetch a compiled kernel from the hub.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

    # typer brings its own copy of click from 0.27 on, so its exception classes are found through the public one.
    click_error: type[Exception] = next(
        base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
    )
    command = typer.main.get_command(app)
    try:
        result = command.main(args=None if argv is None else list(argv), standalone_mode=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except click_error as error:
        shown: Any = error
        shown.show(sys.stderr)
        return int(shown.exit_code)
    return result if isinstance(result, int) else 0
