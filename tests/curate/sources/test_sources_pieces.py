"""Large sources are read in pieces by an engine's workers: the same pool as when they are read from end to end."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from curate.engines.local import LocalEngine
from curate.errors import UserError
from curate.pool import writer
from curate.pool.read_options import ReadOptions
from curate.sources import load_rows, pieces
from curate.sources.types import LoadedPool


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2_000)


def content(pool: LoadedPool) -> tuple[object, ...]:
    return list(pool.rows), pool.digest, pool.rows.order_digest(), pool.inputs, pool.notes, pool.excluded


def write_source(folder: Path) -> None:
    """Two Parquet files, one of many row groups; JSONL with conversations, system messages and words for no input."""
    records = [
        {
            "instruction": f"Say {n}.",
            "input": "N/A" if n % 5 == 0 else "",
            "output": f"print({n % 90})",
            "license": "MIT",
        }
        for n in range(600)
    ]
    table = pyarrow.Table.from_pylist(records)
    pyarrow.parquet.write_table(table, folder / "a.parquet", row_group_size=40)
    pyarrow.parquet.write_table(table.slice(0, 70), folder / "b.parquet")
    talks = [
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": f"Ask {n}"},
                *([{"role": "assistant", "content": f"Tell {n}"}] if n % 7 else []),
            ]
        }
        for n in range(80)
    ]
    for number in range(4):
        lines = [json.dumps(talk) for talk in talks[number * 20 : number * 20 + 20]]
        (folder / f"c{number}.jsonl").write_text("\n".join(lines))


@pytest.mark.usefixtures("small_pieces")
def test_a_source_read_in_pieces_is_the_one_read_from_end_to_end(tmp_path: Path) -> None:
    write_source(tmp_path)
    whole = load_rows(str(tmp_path))
    for engine in (LocalEngine(workers=1), LocalEngine(2, 1, few_blocks=0)):
        assert content(load_rows(str(tmp_path), engine=engine)) == content(whole)
        engine.close()
    assert len(whole.rows) == 750
    assert [record.rows for record in whole.inputs] == [600, 70, 20, 20, 20, 20]
    assert any("134 rows say in a word that they have no input" in note for note in whole.notes)


@pytest.mark.usefixtures("small_pieces")
def test_a_parquet_file_of_many_row_groups_is_cut_and_its_record_is_of_the_whole(tmp_path: Path) -> None:
    write_source(tmp_path)
    path = tmp_path / "a.parquet"
    cut = pieces.cut_pieces([pieces.SourceFile(str(path), "a.parquet", path.stat().st_size)])
    assert len(cut) > 3
    assert [piece[0].groups[0] for piece in cut[1:]] == [piece[-1].groups[1] for piece in cut[:-1]]  # type: ignore[index]
    assert cut[-1][-1].groups is not None and cut[-1][-1].groups[1] == 15


@pytest.mark.usefixtures("small_pieces")
def test_columns_mean_in_every_piece_what_they_meant_where_they_were_first_seen(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Tell"}]
    for number in range(3):
        records = [{"prompt": f"Ask {number} {n}", "completion": "x" * 30, "conversations": talk} for n in range(40)]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    whole, engine = load_rows(str(tmp_path)), LocalEngine(2, 1, few_blocks=0)
    assert content(load_rows(str(tmp_path), engine=engine)) == content(whole)
    engine.close()


@pytest.mark.usefixtures("small_pieces")
def test_of_several_broken_files_the_first_is_named_with_its_line(tmp_path: Path) -> None:
    write_source(tmp_path)
    for number in (1, 3):
        with (tmp_path / f"c{number}.jsonl").open("a") as file:
            file.write('\n{"messages": \n' + json.dumps({"x": "y" * 3_000}))
    engine = LocalEngine(2, 1, few_blocks=0)
    with pytest.raises(UserError, match=r"c1\.jsonl:21: broken JSON"):
        load_rows(str(tmp_path), options=ReadOptions(), engine=engine)
    engine.close()


def test_a_full_or_closed_cache_is_told_as_that_and_not_as_an_error_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(tmp_path)

    def refuse(error: OSError) -> Callable[..., object]:
        def opened(*args: object, **kwargs: object) -> object:
            raise error

        return opened

    monkeypatch.setattr(writer, "RUN_ROWS", 50)
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"^Could not write .*pools.*No space left"):
        patch.setattr(pyarrow, "OSFile", refuse(OSError(errno.ENOSPC, "No space left on device")))
        load_rows(str(tmp_path))
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"^Could not write .*pools: Permission denied"):
        patch.setattr(tempfile, "TemporaryDirectory", refuse(PermissionError(errno.EACCES, "Permission denied")))
        load_rows(str(tmp_path))
