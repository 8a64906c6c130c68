"""Files on other file systems, through fsspec: the same pool as from a folder; errors in one line."""

from __future__ import annotations

import errno
import gzip
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
from fsspec.implementations.local import LocalFileSystem

from curate.config import SelectConfig, inputs_exist
from curate.decontamination import load_benchmarks
from curate.engines.local import LocalEngine
from curate.errors import UserError
from curate.sources import json_rows, load_rows, pieces
from curate.sources.target import load_target

RECORDS = [{"instruction": f"Say {n}.", "output": f"print({n})", "license": "MIT"} for n in range(300)]


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Path]:
    """A folder, and the same files at memory://bucket."""
    folder = tmp_path / "bucket"
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS[:100]), folder / "a.parquet", row_group_size=30)
    (folder / "b" / "rows.jsonl").write_bytes(lines(RECORDS[100:200]))
    (folder / "b" / "more.jsonl.gz").write_bytes(gzip.compress(lines(RECORDS[200:])))
    (folder / "notes.txt").write_text("no rows")
    (folder / ".hidden" / "x.jsonl").write_text("broken")
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket", recursive=True)
    yield folder
    memory.rm("/bucket", recursive=True)


def test_an_address_gives_the_pool_of_the_folder_with_the_same_files(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1_000)
    local, engine = load_rows(str(bucket)), LocalEngine(2, 1, few_blocks=0)
    for remote in (load_rows("memory://bucket"), load_rows("memory://bucket/", engine=engine)):
        assert list(remote.rows) == list(local.rows)
        assert (remote.digest, remote.inputs) == (local.digest, local.inputs)
    engine.close()
    assert [record.file for record in local.inputs] == ["a.parquet", "b/more.jsonl.gz", "b/rows.jsonl"]
    one = load_rows("memory://bucket/b/rows.jsonl")
    assert (len(one.rows), one.inputs[0].file, one.rows[0].source) == (100, "rows.jsonl", "rows.jsonl")


def test_an_error_in_a_remote_file_names_its_address_and_line(bucket: Path) -> None:
    fsspec.filesystem("memory").pipe("/bucket/b/rows.jsonl", lines(RECORDS[:2]) + b'{"instruction": \n{"x": 1}\n')
    with pytest.raises(UserError, match=r"^memory:///?bucket/b/rows\.jsonl:3: broken JSON"):
        load_rows("memory://bucket")


@pytest.mark.parametrize(
    ("name", "packed", "command"),
    [
        ("café rows.csv", False, "iconv -f WINDOWS-1252 -t UTF-8 'café rows.csv' > 'café rows.utf8.csv'"),
        ("rows.csv.gz", True, "gunzip -c rows.csv.gz | iconv -f WINDOWS-1252 -t UTF-8 > rows.utf8.csv"),
    ],
)
def test_a_remote_file_in_another_encoding_is_to_be_downloaded_before_it_is_converted(
    name: str, packed: bool, command: str, bucket: Path
) -> None:
    text = "instruction,output\nDéjà vu à la française,C’est un été très agréable\n".encode("cp1252")
    fsspec.filesystem("memory").pipe(f"/bucket/{name}", gzip.compress(text) if packed else text)
    with pytest.raises(UserError) as caught:
        load_rows(f"memory://bucket/{name}")
    assert caught.value.what.startswith(f"memory:///bucket/{name}:2: not UTF-8 (byte 0xe9 at offset 20)")
    assert caught.value.next_step == f"Download it first. Convert it and name the new file: {command}"


def test_a_command_for_a_remote_table_with_semicolons_reads_the_download(bucket: Path) -> None:
    fsspec.filesystem("memory").pipe("/bucket/rows.csv", b"instruction;output\nAdd.;x\n")
    with pytest.raises(UserError) as caught:
        load_rows("memory://bucket/rows.csv")
    assert caught.value.what == "memory:///bucket/rows.csv has semicolons between its columns, not commas."
    assert caught.value.next_step.startswith("Download it first. Write it with commas, and name the new file: ")
    assert 'read_csv("rows.csv", sep=";"' in caught.value.next_step
    assert 'to_csv("rows.commas.csv", index=False)' in caught.value.next_step


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://rows/a", r"s3:// needs a package that is not installed\. pip install 's3fs'"),
        ("gs://rows/a", r"gs:// needs a package that is not installed\. pip install 'gcsfs'"),
        ("ipfs9://rows", r"there is no file system ipfs9://\. Write s3://, gs://, hf://, or a path"),
        ("memory://nothing/here", r"memory://nothing/here does not exist\. Check the address"),
        ("http://127.0.0.1:9/a.jsonl", r"http://127\.0\.0\.1:9/a\.jsonl could not be read .* and the network"),
    ],
)
def test_what_an_address_lacks_is_one_line_with_the_next_step(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=said):
        load_rows(address)


class NoCredentialsError(Exception):
    """As botocore's."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError("Unable to locate credentials"), "credentials are missing or refused .*AWS_ACCESS_KEY_ID"),
        (PermissionError("Access Denied"), r"credentials are missing or refused .*FSSPEC_S3_ANON=true"),
        (FileNotFoundError("rows"), r"s3://rows/a does not exist\. Check the address"),
        (
            OSError("connection reset"),
            r"s3://rows/a could not be read .OSError: connection reset.. Check .*network",
        ),
    ],
)
def test_what_a_file_system_refuses_is_one_line_with_the_next_step(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> Any:
        raise error

    monkeypatch.setattr(fsspec, "url_to_fs", refuse)
    with pytest.raises(UserError, match=said):
        load_rows("s3://rows/a")


def test_a_folder_that_may_not_be_looked_into_is_an_error_of_the_whole_address(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = load_rows(str(bucket))
    assert load_rows(f"file://{bucket}").inputs == local.inputs
    listed = LocalFileSystem.ls

    def refusing(self: LocalFileSystem, path: str, detail: bool = False, **kwargs: Any) -> Any:
        if path.endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return listed(self, path, detail, **kwargs)

    monkeypatch.setattr(LocalFileSystem, "ls", refusing)
    said = r"^file:///.*/bucket/b may not be read: .*Permission denied.* It is listed below file:///.*/bucket: without"
    with pytest.raises(UserError, match=said):
        load_rows(f"file://{bucket}")


class Pages(SimpleHTTPRequestHandler):
    """A web server's pages of a folder. What is at `gone` is not there, what is at `silent` breaks off."""

    gone, silent = "/gone/", "/silent/"

    def do_GET(self) -> None:
        if self.path == self.silent:
            self.close_connection = True
        elif self.path == self.gone:
            self.send_error(404)
        else:
            super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def website(bucket: Path) -> Iterator[str]:
    """The address of a server that has the files of the bucket."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(bucket))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("end", ["", "/"])
def test_the_pages_of_a_web_server_give_the_pool_of_the_folder(bucket: Path, website: str, end: str) -> None:
    assert load_rows(website + end).inputs == load_rows(str(bucket)).inputs
    assert len(load_rows(f"{website}/b{end}").rows) == 200
    one = load_rows(f"{website}/b/rows.jsonl")
    assert (len(one.rows), one.inputs[0].file) == (100, "rows.jsonl")


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("gone", r"/gone/ does not exist\. Check the address\."),
        ("silent", r"/silent/ could not be read \(.*\)\. Check the address and the network, and run it again\."),
    ],
)
def test_a_folder_that_a_web_server_names_and_does_not_list_is_an_error(
    folder: str, said: str, bucket: Path, website: str
) -> None:
    (bucket / folder).mkdir()
    (bucket / folder / "rows.jsonl").write_bytes(lines(RECORDS[:3]))
    with pytest.raises(UserError, match=rf"^{website}{said} It is listed below {website}: without it, its rows would"):
        load_rows(website)


TASK = {"task_id": 1, "text": "Add.", "code": "def add(a, b):\n  return a + b", "test_list": []}


def test_a_target_and_benchmarks_may_be_at_an_address(bucket: Path) -> None:
    memory = fsspec.filesystem("memory")
    (bucket / "mbpp.jsonl.gz").write_bytes(gzip.compress(lines([TASK])))
    memory.put(str(bucket / "mbpp.jsonl.gz"), "/bucket/mbpp.jsonl.gz")
    address = "memory://bucket/mbpp.jsonl.gz"
    inputs_exist(SelectConfig(decontaminate=(address,)))
    assert load_benchmarks([address]) == load_benchmarks([str(bucket / "mbpp.jsonl.gz")])
    target, here = load_target("memory://bucket/b/rows.jsonl"), load_target(str(bucket / "b" / "rows.jsonl"))
    assert (target.digest, target.inputs) == (here.digest, here.inputs)


def test_errors_of_a_benchmark_at_an_address_name_the_address(bucket: Path) -> None:
    with pytest.raises(UserError, match=r"^memory://bucket/none\.jsonl does not exist\. Check the address\.$"):
        load_benchmarks(["memory://bucket/none.jsonl"])
    fsspec.filesystem("memory").pipe("/bucket/tasks.jsonl", lines([TASK, {"task": 2}]))
    with pytest.raises(UserError, match=r"^memory://bucket/tasks\.jsonl:2 has the fields task: no format we know"):
        load_benchmarks(["memory://bucket/tasks.jsonl"])


@pytest.mark.parametrize("option", ["vectors", "prompt_template"])
def test_a_file_that_must_be_on_this_machine_is_not_told_as_missing(option: str) -> None:
    said = f"^s3://bucket/file of --{option.replace('_', '-')} is an address, and a file of this machine is wanted."
    with pytest.raises(UserError, match=said):
        inputs_exist(SelectConfig(**{option: "s3://bucket/file"}))


def test_where_there_is_no_room_for_a_copy_the_place_is_told(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(bucket))
    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"no room for a copy of .*a\.parquet in .*bucket"),
    ):
        patch.setattr(type(fsspec.filesystem("memory")), "get_file", full)
        load_rows("memory://bucket")
    monkeypatch.setattr(tempfile, "tempdir", str(bucket / "gone"))
    with pytest.raises(UserError, match=r"^Could not write .*gone: No such file or directory"):
        load_rows("memory://bucket")


def test_json_lines_are_read_line_by_line_and_documents_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf\n" + lines(RECORDS[:9]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(RECORDS[9:20])))
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(record, indent=1) for record in RECORDS[20:30]))
    (tmp_path / "d.jsonl").write_bytes(lines(RECORDS[30:35]) + json.dumps(RECORDS[35], indent=1).encode())
    (tmp_path / "e.jsonl").write_text(json.dumps(RECORDS[36:40]))
    whole: list[str] = []
    real = json_rows.read_text
    monkeypatch.setattr(json_rows, "read_text", lambda file: whole.append(file.name) or real(file))
    assert [row.output for row in load_rows(str(tmp_path)).rows] == [record["output"] for record in RECORDS[:40]]
    assert whole == ["c.jsonl", "e.jsonl"]
