"""One writer a folder, and caches that notice what is not theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.artifact import atomic_file, digest_file, one_writer, read_jsonl, record_file, write_jsonl, write_text
from curate.artifact.array_cache import cached_array
from curate.artifact.sealed import (
    append_sealed,
    read_folder_seal,
    read_sealed,
    seal_folder,
    sealed,
    write_sealed,
)
from curate.errors import UserError

HOLD = """
import sys, time
from curate.artifact import one_writer
with one_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_writer_of_a_folder_is_told_who_is_at_work_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "s"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        sentence = rf"s is being written by process {holder.pid} \(-c .*/new/s\). Wait until that ends, or name"
        with pytest.raises(UserError, match=sentence), one_writer(folder):
            pytest.fail("two writers")
    finally:
        holder.kill()
        holder.wait()
    with one_writer(folder):  # the system let go of it when its process was killed
        pass
    assert not (tmp_path / "new" / ".s.lock").exists()


def test_a_lock_leaves_no_folder_where_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path / "a" / "b" / "s"):
        raise ZeroDivisionError
    assert not (tmp_path / "a").exists()


def test_a_manifest_signs_the_bytes_that_this_process_wrote_and_no_others(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ours")
    assert record_file(tmp_path, "a.txt").sha256 == digest_file(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("not ours")
    with pytest.raises(UserError, match=r"a.txt was changed by another program while it was being written"):
        record_file(tmp_path, "a.txt")


def test_an_unchanged_file_is_read_once_and_a_changed_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"1" * 1000)
    os.utime(path, ns=(1, 1))
    first = digest_file(path)
    path.write_bytes(b"2" * 1000)
    os.utime(path, ns=(1, 1))  # the same size and time of change; the inode's own time cannot be set
    assert digest_file(path) != first


@pytest.mark.parametrize("change", ["value", "other key", "shape", "older"])
def test_an_array_that_is_not_the_one_stored_under_its_key_is_computed_again_and_said(
    change: str, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []

    def get(key: str = "key") -> list[Any]:
        def compute() -> Any:
            made.append(key)
            return np.arange(12, dtype=np.int32)

        stored: list[Any] = cached_array("token_counts", key, "token counts", lambda a: a.size == 12, compute).tolist()
        return stored

    get()
    path = own_home / "cache" / "token_counts" / "key.npy"
    if change == "value":  # token counts of 1 would void every bound
        with path.open("r+b") as file:
            file.seek(-64 - 48, os.SEEK_END)
            file.write(np.ones(12, dtype=np.int32).tobytes())
    elif change == "shape":
        path.write_bytes(path.read_bytes().replace(b"(12,)", b"(6,2)"))
    elif change == "older":
        np.save(path, np.ones(12, dtype=np.int32))
    else:
        get("other")
        path.write_bytes(path.with_name("other.npy").read_bytes())
        made.remove("other")
    assert get() == list(range(12))
    assert "The cached token counts" in capsys.readouterr().err
    assert get() == list(range(12)) and made == ["key", "key"]


def test_a_line_of_a_cache_that_was_edited_swapped_or_has_no_seal_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_sealed(path, [{"row_id": "a", "nll": 0.1 + 0.2}, {"row_id": "b", "nll": 1e-300}], ["base"])
    append_sealed(path, {"row_id": "c", "text": "\ud800"}, ["base"])
    with path.open("ab") as file:
        file.write(b'{"row_id": "torn')
    assert read_sealed(path, ["base"]) == (
        [{"row_id": "a", "nll": 0.1 + 0.2}, {"row_id": "b", "nll": 1e-300}, {"row_id": "c", "text": "\ud800"}], 0,
    )  # fmt: skip
    assert read_sealed(path, ["tuned"]) == ([], 3)
    lines = read_jsonl(path, allow_torn_end=True)
    write_jsonl(path, [{**lines[0], "nll": 0.4}, {"row_id": "d"}, sealed({"row_id": "e"}, "other"), lines[1]])
    with path.open("ab") as file:
        file.write(b'{"row_id": NaN}\nnot json\n[1]\n')
    assert read_sealed(path, ["base"]) == ([{"row_id": "b", "nll": 1e-300}], 6)


@pytest.mark.parametrize("change", ["edited", "deleted", "marker", "other", None])
def test_a_folder_is_whole_only_while_every_file_is_as_it_was_sealed(change: str | None, tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        write_text(tmp_path / "f" / name, name)
    seal_folder(tmp_path / "f", "finished", best="x")
    if change == "edited":
        (tmp_path / "f" / "b" / "c").write_text("d")
    elif change == "deleted":
        (tmp_path / "f" / "a").unlink()
    elif change == "marker":
        (tmp_path / "f" / "finished").write_text("")
    elif change == "other":
        marker = tmp_path / "f" / "finished"
        marker.write_text(json.dumps({**json.loads(marker.read_text()), "best": "y"}))
    found = read_folder_seal(tmp_path / "f", "finished")
    assert (found is None) == (change is not None)
    assert found is None or (found["best"], sorted(found["files"])) == ("x", ["a", "b/c"])


def test_what_is_written_in_pieces_has_the_digest_of_the_whole(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "x") as file:
        file.write(b"a" * 5)
        file.write(memoryview(b"b"))
    assert file.sha256 == digest_file(tmp_path / "x")
